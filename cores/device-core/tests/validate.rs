//! Every fault of a configuration, by field path, all at once.

use outrigger_device_core::rules::{
    BlockRule, CountedRule, Group, Owner, PathRule, Resource, Rules, Select, Severity, TextPattern, UsbRule, validate,
};

fn faults(resource: Resource) -> Vec<String> {
    of(&Rules { resources: vec![resource], ..Rules::default() })
}

fn of(rules: &Rules) -> Vec<String> {
    validate(rules).iter().map(ToString::to_string).collect()
}

fn paths(rules: Vec<PathRule>) -> Group {
    Group::new(Select::Paths(rules))
}

fn good() -> Resource {
    Resource::new("a.b/c", vec![paths(vec![PathRule::new("/dev/ttyUSB*")])])
}

/// The only fault of a resource, without its place.
fn check(resource: Resource, path: &str, words: &str) {
    let found = faults(resource);
    let is_it = |fault: &String| fault.starts_with(&format!("devices[0]{path}: ")) && fault.contains(words);
    assert!(found.len() == 1 && is_it(&found[0]), "{path} {words}: {found:?}");
}

#[test]
fn a_good_configuration_has_no_faults() {
    assert_eq!(faults(good()), Vec::<String>::new());
}

#[test]
fn names_sockets_and_kinds() {
    for name in ["sata", "kubernetes.io/x", "A.b/c", "a.b/", "requests.a/b"] {
        check(Resource { name: name.into(), ..good() }, ".name", "is no name for a resource");
    }
    check(Resource { name: "a.b/4g".into(), cdi: true, ..good() }, ".cdi", "begin with a letter");
    check(Resource { socket: Some("a/b.sock".into()), ..good() }, ".socket", "no file name");
    check(Resource { socket: Some("kubelet.sock".into()), ..good() }, ".socket", "the kubelet's own");
    let long = Resource { socket: Some("x".repeat(76)), ..good() };
    check(long, ".socket", "has 108 bytes as the kubelet sees it; 107 are possible");
    assert!(faults(Resource { socket: Some("x".repeat(75)), ..good() }).is_empty());
    check(Resource { per_match: true, ..good() }, ".name", "{path}");
    let far = Rules { plugin_directory: format!("/{}", "d".repeat(81)), resources: vec![good()], ..Rules::default() };
    assert!(of(&far)[0].contains("a path of 109 bytes"), "{:?}", of(&far));
}

#[test]
fn paths_that_are_not() {
    let with = |path: PathRule| Resource::new("a.b/c", vec![paths(vec![path])]);
    let at = ".groups[0].paths[0]";
    check(with(PathRule::new("dev/null")), &format!("{at}.path"), "no absolute path");
    check(with(PathRule::new("/dev/../etc")), &format!("{at}.path"), "leads through ..");
    for bad in ["/dev/[", "/dev/[a/b]", "/dev/a\\"] {
        check(with(PathRule::new(bad)), &format!("{at}.path"), "not a pattern");
    }
    for bad in ["", "x", "rr", "rwmr"] {
        let path = PathRule { permissions: bad.into(), ..PathRule::new("/dev/a") };
        check(with(path), &format!("{at}.permissions"), "are no permissions");
    }
    check(with(PathRule { limit: 0, ..PathRule::new("/dev/a") }), &format!("{at}.limit"), "at least 1");
    check(with(PathRule { read_only: true, ..PathRule::new("/dev/a") }), &format!("{at}.readOnly"), "only a mount");
    check(Resource::new("a.b/c", vec![paths(Vec::new())]), ".groups[0].paths", "empty");
}

#[test]
fn other_kinds() {
    let with = |select: Select| Resource::new("a.b/c", vec![Group::new(select)]);
    let usb = |rule: UsbRule| with(Select::Usb(vec![rule]));
    let glob = TextPattern::Glob("[".into());
    check(usb(UsbRule { serial: Some(glob), ..UsbRule::default() }), ".groups[0].usb[0].serial", "not a pattern");
    check(usb(UsbRule { interface: Some(1), ..UsbRule::default() }), ".groups[0].usb[0].interface", "which child");
    let block = |rule: BlockRule| with(Select::Block(rule));
    let sizes = BlockRule { min_size: Some(2), max_size: Some(1), ..BlockRule::default() };
    check(block(sizes), ".groups[0].block.minSize", "fit no disk");
    let names = BlockRule { names: vec!["sda".into(), "/dev/sdb".into()], ..BlockRule::default() };
    check(block(names), ".groups[0].block.names[1]", "no kernel name");
    let counted = |values: &[&str], env: &str| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        with(Select::Counted(CountedRule::Values { values, env: Some(env.into()) }))
    };
    check(counted(&["a", "a"], "SLOT"), ".groups[0].counted.values[1]", "twice");
    check(counted(&["a"], "1SLOT"), ".groups[0].counted.env", "no name for a variable");
}

#[test]
fn owners_need_cdi() {
    let owner = Some(Owner { gid: Some(20), ..Owner::default() });
    let group = Group { owner, additional_gids: vec![20], ..good().groups.remove(0) };
    let found = faults(Resource::new("a.b/c", vec![group.clone()]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(faults(Resource { cdi: true, ..Resource::new("a.b/c", vec![group]) }).is_empty());
}

#[test]
fn templates() {
    let env = |name: &str, value: &str| Resource { env: [(name.to_owned(), value.to_owned())].into(), ..good() };
    assert!(faults(env("DISK", "{path}:{serial}")).is_empty());
    check(env("DISK", "{wwn}"), ".env.DISK", "{wwn} is not known");
    check(env("DISK", "{path"), ".env.DISK", "without its }");
    check(env("OUTRIGGER_DEVICE_X", "a"), ".env.OUTRIGGER_DEVICE_X", "set by outrigger itself");
}

#[test]
fn counts_that_no_kubelet_takes_are_refused_with_the_arithmetic() {
    let count = |count| Resource::new("a.b/c", vec![Group { count, ..good().groups.remove(0) }]);
    assert!(faults(count(100_000)).is_empty());
    check(count(200_000), "", "200000 devices take");
    let slots =
        Resource::new("a.b/c", vec![Group::new(Select::Counted(CountedRule::Count { count: 200_000, env: None }))]);
    check(slots, "", "a kubelet takes at most 4194304 bytes in one list");
}

#[test]
fn all_faults_come_at_once_and_a_name_is_had_once() {
    let twice =
        Rules { resources: vec![good(), Resource { name: "bad".into(), ..good() }, good()], ..Rules::default() };
    let found = of(&twice);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("devices[0] has the name a.b/c already"));
    let nothing = validate(&Rules::default());
    assert_eq!((nothing.len(), nothing[0].severity), (1, Severity::Warning));
}
