//! Typed configuration from file, environment and flags, with every fault in our own words.

use std::collections::BTreeMap;

use outrigger_config::{Address, ByteSize, Duration, Kind, Layers, Verbatim, scalars, schema};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A configuration with one of everything.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Run")]
struct Run {
    /// Which launcher starts the
    /// containers.
    #[serde(default)]
    launcher: Launcher,
    /// Where pods are kept.
    state_dir: String,
    /// How long.
    #[serde(default)]
    keep: Duration,
    #[serde(default)]
    logs: Logs,
    listen: Option<Address>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    workers: Option<u16>,
    ratio: Option<f64>,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    pools: Vec<Pool>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    user: Option<User>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Launcher {
    #[default]
    Auto,
    Host,
    Apptainer,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Logs {
    /// The size at which a log is rotated.
    max_size: ByteSize,
    files: u32,
}

impl Default for Logs {
    fn default() -> Self {
        Self { max_size: ByteSize::from(10 << 20), files: 5 }
    }
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Pool {
    name: String,
    source: Source,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Source {
    Path { path: String },
    Usb { vendor_id: u16, product_id: Option<u16> },
    Serial(Serial),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Serial {
    baud_rate: u32,
}

/// A type whose reading the schema cannot describe.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct User(String);

impl TryFrom<String> for User {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name == "root" { Err("root is not allowed here".to_owned()) } else { Ok(Self(name)) }
    }
}

fn layers(text: &str) -> Layers {
    Layers::new("OUTRIGGER_RUN").file("run.yaml", text)
}

fn faults(layers: &Layers) -> String {
    layers.load::<Run>().map_or_else(|faults| faults.to_string(), |(_, warnings)| warnings.to_string())
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_file_fills_the_whole_struct() {
    let text = "\
launcher: host
stateDir: /var/lib/outrigger
keep: 7d
logs: {maxSize: 1Mi}
listen: unix:///run/x.sock
workers: 0x10
ratio: 1e-1
strict: on
pools:
- name: serial
  source: {kind: path, path: /dev/ttyUSB0}
- name: keys
  source:
    kind: usb
    vendorId: 0x1050
- {name: gps, source: {kind: serial, baudRate: 9600}}
labels: {a: b}
user:
";
    let (run, warnings) = layers(text).load::<Run>().unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(
        run,
        Run {
            launcher: Launcher::Host,
            state_dir: "/var/lib/outrigger".to_owned(),
            keep: "7d".parse().unwrap(),
            logs: Logs { max_size: ByteSize::from(1 << 20), files: 5 },
            listen: Some(Address::Unix("/run/x.sock".into())),
            workers: Some(16),
            ratio: Some(0.1),
            strict: true,
            pools: vec![
                Pool { name: "serial".to_owned(), source: Source::Path { path: "/dev/ttyUSB0".to_owned() } },
                Pool { name: "keys".to_owned(), source: Source::Usb { vendor_id: 0x1050, product_id: None } },
                Pool { name: "gps".to_owned(), source: Source::Serial(Serial { baud_rate: 9600 }) },
            ],
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            user: None,
        }
    );
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let all = layers("stateDir: /file\nkeep: 1s\nlogs: {files: 1}\n")
        .environment(variables(&[
            ("OUTRIGGER_RUN_KEEP", "2s"),
            ("OUTRIGGER_RUN_LOGS_FILES", "2"),
            ("OUTRIGGER_RUN_SERVICE_HOST", "10.0.0.1"),
            ("HOME", "/home/user"),
        ]))
        .flag("logs.files", "3")
        .flag("strict", "true");
    let (run, warnings) = all.load::<Run>().unwrap();
    assert_eq!(
        (run.state_dir.as_str(), run.keep.to_string().as_str(), run.logs.files, run.strict),
        ("/file", "2s", 3, true)
    );
    assert!(warnings.is_empty(), "{warnings}");
    let (run, _) = Layers::new("OUTRIGGER_RUN").flag("stateDir", "12").load::<Run>().unwrap();
    assert_eq!(run.state_dir, "12");
}

#[test]
fn everything_wrong_in_a_file_is_said_at_once_with_its_place() {
    let text = "\
launcher: hst
statDir: /var/lib/outrigger
keep: 30
logs:
  maxSize: 10mi
  files: '5'
listen: 9410
workers: 65
strict: 'yes'
pools:
- name: yes
  source: {kind: usb, vendorId: 70000, port: 1}
- source: {kind: pth, path: x}
- name: x
  source: {kind: path}
- {name: y, source: {kind: serial, baudrate: 9600}}
labels: {a: 1e3}
";
    let expected = "\
run.yaml: stateDir: this key is missing, set it here, by --state-dir or by OUTRIGGER_RUN_STATE_DIR
run.yaml:1:11: launcher: expected auto, host or apptainer, found \"hst\", did you mean \"host\"?
run.yaml:2:1: statDir: unknown key, did you mean \"stateDir\"?
run.yaml:3:7: keep: \"30\" needs a unit, such as \"30s\" for seconds
run.yaml:5:12: logs.maxSize: \"10mi\" is no size such as 4096, 10Mi, 10MiB or 1G
run.yaml:6:10: logs.files: expected a whole number, found the text \"5\", leave out the quotes: 5
run.yaml:7:9: listen: \"9410\" is no address such as 127.0.0.1:9410, [::1]:9410 or unix:///run/outrigger/x.sock
run.yaml:8:10: workers: 65 is out of bounds, it must be at most 64
run.yaml:9:9: strict: expected true or false, found the text \"yes\"
run.yaml:11:9: pools[0].name: expected text, found the boolean true (written yes), put it in quotes: \"yes\"
run.yaml:12:33: pools[0].source.vendorId: 70000 is out of bounds, it must be at most 65535
run.yaml:12:40: pools[0].source.port: unknown key, known here: kind, productId, vendorId
run.yaml:13:3: pools[1].name: this key is missing
run.yaml:13:18: pools[1].source.kind: expected path, usb or serial, found \"pth\", did you mean \"path\"?
run.yaml:15:11: pools[2].source.path: this key is missing
run.yaml:16:10: pools[3].name: expected text, found the boolean true (written y), put it in quotes: \"y\"
run.yaml:16:21: pools[3].source.baudRate: this key is missing
run.yaml:16:36: pools[3].source.baudrate: unknown key, did you mean \"baudRate\"?
run.yaml:17:13: labels.a: expected text, found the number 1000 (written 1e3), put it in quotes: \"1e3\"";
    assert_eq!(faults(&layers(text)), expected);
}

#[test]
fn what_comes_by_flag_or_environment_is_named_as_it_was_given() {
    let all = layers("stateDir: /x\nlogs: {files: 1}\n")
        .environment(variables(&[
            ("OUTRIGGER_RUN_KEEP", "soon"),
            ("OUTRIGGER_RUN_STRICT", "yes"),
            ("OUTRIGGER_RUN_STATEDIR", "/y"),
        ]))
        .flag("launcher", "docker")
        .flag("workers", "many")
        .flag("nothing", "1");
    let expected = "\
--launcher: expected auto, host or apptainer, found \"docker\"
--nothing: no such setting
--workers: expected a whole number, found \"many\"
OUTRIGGER_RUN_KEEP: keep: \"soon\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d
OUTRIGGER_RUN_STATEDIR: warning: no such setting, did you mean OUTRIGGER_RUN_STATE_DIR?
OUTRIGGER_RUN_STRICT: strict: expected true or false, found \"yes\"";
    assert_eq!(faults(&all), expected);
}

#[test]
fn what_only_a_type_can_refuse_has_its_place_too() {
    let refused = layers("stateDir: /x\nuser: root\n");
    assert_eq!(faults(&refused), "run.yaml:2:7: user: root is not allowed here");
    let refused = layers("stateDir: /x\n").flag("user", "root");
    assert_eq!(faults(&refused), "--user: root is not allowed here");
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    for (text, expected) in [
        ("- a\n", "run.yaml:1:1: a configuration is a map of keys and values"),
        (
            "stateDir: /x\n---\nstateDir: /y\n",
            "run.yaml:3:1: a second document begins here, a configuration is one document",
        ),
        ("a: [", "run.yaml:1:5: a[0]: a value is missing here, close what is open above, or quote the value"),
        ("", "run.yaml: stateDir: this key is missing, set it here, by --state-dir or by OUTRIGGER_RUN_STATE_DIR"),
    ] {
        assert_eq!(faults(&layers(text)), expected);
    }
}

#[test]
fn every_scalar_outside_lists_is_a_setting() {
    let settings = scalars(&schema::<Run>(), "OUTRIGGER_RUN");
    let shown: Vec<_> =
        settings.iter().map(|setting| (setting.flag.as_str(), setting.env.as_str(), setting.kind)).collect();
    assert_eq!(
        shown,
        [
            ("keep", "OUTRIGGER_RUN_KEEP", Kind::Text),
            ("launcher", "OUTRIGGER_RUN_LAUNCHER", Kind::Text),
            ("listen", "OUTRIGGER_RUN_LISTEN", Kind::Text),
            ("logs-files", "OUTRIGGER_RUN_LOGS_FILES", Kind::Integer),
            ("logs-max-size", "OUTRIGGER_RUN_LOGS_MAX_SIZE", Kind::Text),
            ("ratio", "OUTRIGGER_RUN_RATIO", Kind::Number),
            ("state-dir", "OUTRIGGER_RUN_STATE_DIR", Kind::Text),
            ("strict", "OUTRIGGER_RUN_STRICT", Kind::Boolean),
            ("user", "OUTRIGGER_RUN_USER", Kind::Text),
            ("workers", "OUTRIGGER_RUN_WORKERS", Kind::Integer),
        ]
    );
    let of = |flag: &str| settings.iter().find(|setting| setting.flag == flag).unwrap();
    assert_eq!(of("launcher").description, "Which launcher starts the containers.");
    assert_eq!(of("launcher").words, ["auto", "host", "apptainer"]);
    assert_eq!(of("launcher").default, Some(json!("auto")));
    assert_eq!(of("logs-max-size").default, Some(json!("10Mi")));
    assert_eq!(of("logs-files").default, Some(json!(5)));
}

#[test]
fn the_schema_is_stable_and_closed() {
    let first = schema::<Run>();
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&schema::<Run>()).unwrap());
    assert_eq!(first["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(first["$id"], "urn:outrigger:schema:run");
    assert_eq!(first["title"], "Run");
    assert_eq!(first["$defs"]["Pool"]["additionalProperties"], false);
    assert_eq!(first["properties"]["keep"]["format"], "outrigger-duration");
}

proptest! {
    #[test]
    fn no_file_is_too_strange(keys in prop::collection::vec((
        prop::sample::select(vec!["launcher", "stateDir", "keep", "logs", "pools", "labels", "user", "x", "listen", "workers"]),
        prop::sample::select(vec!["1", "yes", "[]", "{}", "~", "host", "[{name: a}]", "{kind: usb}", "5m", "-1", "{files: 1}",
            "1e3", "[{source: {kind: usb, vendorId: 1}, name: b}]", "[[]]", "x:1", "{host: 1}", "99999999999999999999"])), 0..8)) {
        let text: String = keys.iter().map(|(key, value)| [key, ": ", value, "\n"].concat()).collect();
        if let Err(faults) = layers(&text).load::<Run>() {
            prop_assert!(faults.has_errors());
        }
    }

    #[test]
    fn no_variable_is_too_strange(value in ".*") {
        for setting in scalars(&schema::<Run>(), "OUTRIGGER_RUN") {
            let _ = layers("stateDir: /x").environment([(setting.env, value.clone())]).load::<Run>();
        }
    }
}

#[test]
fn text_that_is_taken_as_it_stands_needs_no_quotes_wherever_it_is() {
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Rules {
        rules: Vec<Rule>,
        top: Option<Verbatim>,
    }
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Rule {
        vendor: Verbatim,
    }
    let text = "rules: [{vendor: 0403}, {vendor: '0403'}, {vendor: 00000001}, &y {vendor: yes}, *y, {vendor: 1e3}]\n";
    let (rules, _) = Layers::new("X").file("x.yaml", text).flag("top", "0403").load::<Rules>().unwrap();
    let vendors: Vec<&str> = rules.rules.iter().map(|rule| &*rule.vendor).collect();
    assert_eq!(vendors, ["0403", "0403", "00000001", "yes", "yes", "1e3"]);
    assert_eq!(rules.top, Some(Verbatim::from("0403")));
    let faults = Layers::new("X").file("x.yaml", "rules: [{vendor: [1]}]").load::<Rules>().unwrap_err();
    assert!(faults.to_string().starts_with("x.yaml:1:18: rules[0].vendor: expected "), "{faults}");
}
