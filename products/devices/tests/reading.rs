//! What `devices.yaml`, flags and variables are read as, in both dialects, and what is said where they are wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use outrigger_config::{Address, Faults, Verbatim};
use outrigger_devices::args::SettingsArgs;
use outrigger_devices::file::{Child, DevicesFile, IdScheme, PathKind, Prefer, Transport};
use outrigger_devices::gdp::command::{self, GdpArgs};
use outrigger_devices::inventory::Inventory;
use outrigger_devices::settings::{Configuration, Surroundings, load};
use tempfile::TempDir;

/// A directory with a configuration, and nothing else around.
struct Case {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Case {
    fn new(file: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(file), text).unwrap();
        Self { directory, environment: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            environment: self.environment.iter().cloned().collect(),
            machine: self.directory.path().to_owned(),
            foreign: vec![self.directory.path().to_owned()],
        }
    }

    fn ours(&self, args: &SettingsArgs) -> Result<Configuration, Faults> {
        load(args, &self.around())
    }

    fn theirs(&self, args: &[&str]) -> Result<command::Read, Faults> {
        let args = GdpArgs::parse_from(["generic-device-plugin"].iter().chain(args));
        command::load(&args, &self.around())
    }

    /// What is said, without the directory.
    fn told(&self, faults: &Faults) -> String {
        faults.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn yaml(text: &str) -> Configuration {
    Case::new("devices.yaml", text).ours(&SettingsArgs::default()).unwrap()
}

const CONTRACT: &str = r#"
domain: example.com
ids: short
devices:
- name: serial
  groups: [{count: 1, paths: [{path: "/dev/ttyUSB*", mountPath: /dev/serial/, permissions: rw, optional: true}]}]
- name: zigbee
  groups: [{usb: [{vendor: 10c4, product: 0403, serial: "*", child: tty}], mountPath: /dev/zigbee}]
- name: disk
  groups: [{block: {transport: [sata, nvme], minSize: 100GiB, empty: true}}]
  prefer: packed
- resource: kubedev.org/sata
  socket: sata.sock
  groups: [{block: {names: ["sd*"], transport: [sata, sas, scsi]}}]
- name: kvm
  groups: [{count: 1000, paths: [{path: /dev/kvm}]}]
- name: slot
  groups: [{counted: {values: [a, 1, 0644], env: SLOT_ID}}]
"#;

#[test]
fn the_agreed_file_is_read_whole() {
    let read = yaml(CONTRACT);
    assert!(read.warnings.is_empty(), "{}", read.warnings);
    let [serial, zigbee, disk, sata, kvm, slot] = &read.resources[..] else { panic!("{:?}", read.resources) };
    let path = &serial.resource.groups[0].paths.as_ref().unwrap()[0];
    assert_eq!((path.path.as_deref(), path.optional), (Some("/dev/ttyUSB*"), Some(true)));
    let usb = &zigbee.resource.groups[0].usb.as_ref().unwrap()[0];
    assert_eq!(
        (usb.vendor.as_deref(), usb.product.as_deref(), usb.child),
        (Some("10c4"), Some("0403"), Some(Child::Tty))
    );
    let block = disk.resource.groups[0].block.as_ref().unwrap();
    assert_eq!(
        (&block.transport[..], block.min_size.unwrap().bytes()),
        (&[Transport::Sata, Transport::Nvme][..], 100 << 30)
    );
    assert_eq!(disk.resource.prefer, Some(Prefer::Packed));
    assert_eq!(sata.resource.socket.as_deref(), Some("sata.sock"));
    assert_eq!(kvm.resource.groups[0].count, Some(1000));
    let values = &slot.resource.groups[0].counted.as_ref().unwrap().values;
    assert_eq!(values, &["a", "1", "0644"].map(Verbatim::from));
    assert!(!serial.gdp);
    assert!(Inventory::of(&read).is_ok());
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let case = Case::new("devices.yaml", "domain: file\naudit: 1s\nids: gdp\nkubeletDirectory: /k\n")
        .with("OUTRIGGER_DEVICES_DOMAIN", "environment")
        .with("OUTRIGGER_DEVICES_AUDIT", "2s");
    let args = SettingsArgs { domain: Some("flag".into()), ..SettingsArgs::default() };
    let read = case.ours(&args).unwrap().settings;
    assert_eq!((read.domain.as_deref(), read.audit, read.ids), (Some("flag"), Duration::from_secs(2), IdScheme::Gdp));
    assert_eq!((read.kubelet_directory.as_path(), read.host_root.as_path()), (Path::new("/k"), Path::new("/")));
    assert_eq!(read.admin, Some(Address::Tcp { host: "127.0.0.1".into(), port: 9412 }));
}

#[test]
fn every_scalar_outside_lists_is_a_flag() {
    let command = <outrigger_devices::args::ListArgs as clap::Args>::augment_args(clap::Command::new("list"));
    let known: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    for setting in outrigger_config::scalars(&outrigger_config::schema::<DevicesFile>(), "OUTRIGGER_DEVICES") {
        assert!(known.contains(&setting.flag.as_str()), "--{} is missing", setting.flag);
    }
}

#[test]
fn everything_wrong_is_said_at_once_with_line_and_key() {
    let text = "\
domian: example.com
audit: 30
devices:
- name: [a]
  groups:
  - block: {transport: [stat], minSize: 5 GB}
  - {usb: [{vendor: {}, chlid: tty}]}
";
    let case = Case::new("devices.yaml", text);
    let args = SettingsArgs {
        ids: Some("long".into()),
        devices: vec!["{name: x, grps: []}".into(), String::new()],
        ..SettingsArgs::default()
    };
    let told = case.told(&case.ours(&args).unwrap_err());
    let expected = "\
--ids: expected short or gdp, found \"long\"
devices.yaml:1:1: domian: unknown key, did you mean \"domain\"?
devices.yaml:2:8: audit: \"30\" needs a unit, such as \"30s\" for seconds
devices.yaml:4:9: devices[0].name: expected text, found a list
devices.yaml:6:25: devices[0].groups[0].block.transport[0]: expected sata, sas, scsi, nvme, nvme-fabric, virtio, mmc, usb, iscsi, fc, loop, dm, md, nbd or ram, found \"stat\"
devices.yaml:6:41: devices[0].groups[0].block.minSize: \"5 GB\" is no size such as 4096, 10Mi, 10MiB or 1G
devices.yaml:7:21: devices[0].groups[1].usb[0].vendor: expected text or a number or true or false, found a map
devices.yaml:7:25: devices[0].groups[1].usb[0].chlid: unknown key, did you mean \"child\"?
--device 1:1:11: warning: grps: unknown key, passed over as the generic-device-plugin does
--device 1:1:8: name: \"x\" is no name of a device: small letters, digits and inner dashes, at least two
--device 2: no device is described here, write it as YAML: {name: serial, groups: [{paths: [{path: /dev/ttyS0}]}]}";
    assert_eq!(told, expected);
}

#[test]
fn what_would_be_looked_at_without_a_pause_is_refused_with_its_place() {
    let text = "domain: example.com\naudit: 0s\ndevices:\n- name: kvm\n  health: {every: 9ms}\n  groups: [{paths: \
                [{path: /dev/kvm}]}]\n";
    let told = |text: &str| {
        let case = Case::new("devices.yaml", text);
        Inventory::of(&case.ours(&SettingsArgs::default()).unwrap()).map(|_| ()).map_err(|faults| case.told(&faults))
    };
    let expected = "\
devices.yaml: audit: 0s is too often, it must be at least 10ms
devices.yaml:5:19: devices[0].health.every: 9ms is too often, it must be at least 10ms";
    assert_eq!(told(text), Err(expected.to_owned()));
    assert_eq!(told(&text.replace("0s", "10ms").replace("9ms", "10ms")), Ok(()));
}

#[test]
fn a_flag_describes_a_device_in_either_dialect_and_replaces_the_files() {
    let case = Case::new("devices.yaml", CONTRACT);
    let theirs = "{NAME: fuse, groups: [{count: 10, Paths: [{path: ' /dev/fuse '}]}], color: red}";
    let ours = "{name: radio, groups: [{usb: [{vendor: 0403, child: tty}]}]}";
    let args = SettingsArgs { devices: vec![theirs.into(), ours.into()], ..SettingsArgs::default() };
    let read = case.ours(&args).unwrap();
    let names: Vec<&str> = read.resources.iter().filter_map(|resource| resource.resource.name.as_deref()).collect();
    assert_eq!(names, ["fuse", "radio"]);
    assert_eq!(read.resources[0].resource.groups[0].paths.as_ref().unwrap()[0].path.as_deref(), Some("/dev/fuse"));
    assert_eq!(
        read.warnings.to_string(),
        "--device 1:1:69: warning: color: unknown key, passed over as the generic-device-plugin does"
    );
    let fault = read.resources[0].place.fault(&"name".parse().unwrap(), "wrong");
    assert_eq!(fault.to_string(), "--device 1:1:8: NAME: wrong");
}

#[test]
fn a_file_with_their_keys_alone_is_read_as_they_read_it_under_either_name() {
    let text = "\
Domain: x.org
log-level: warn
listen: ':9090'
color: red
device:
- name: ' camera '
  groups:
  - Count: 0
    paths: [{Path: /dev/video0, MOUNTPATH: /dev/cam, limit: 0, type: Mount, readonly: true, Optional: false}]
  - usb: [{vendor: 0403, product: '6001', serial: 00000001}, {vendor: 1209}]
";
    let ours = Case::new("devices.yaml", text).ours(&SettingsArgs::default()).unwrap();
    let theirs = Case::new("config.yaml", text).theirs(&[]).unwrap();
    assert_eq!(theirs.log_level, "warn");
    for read in [&ours, &theirs.configuration] {
        assert!(read.resources[0].gdp);
        assert_eq!(read.settings.domain.as_deref(), Some("x.org"));
        assert_eq!(read.settings.admin, Some(Address::Tcp { host: "::".into(), port: 9090 }));
        let [camera] = &read.resources[..] else { panic!("{:?}", read.resources) };
        let groups = &camera.resource.groups;
        assert_eq!((camera.resource.name.as_deref(), groups[0].count), (Some("camera"), None));
        let path = &groups[0].paths.as_ref().unwrap()[0];
        assert_eq!(
            (path.mount_path.as_deref(), path.limit, path.kind),
            (Some("/dev/cam"), None, Some(PathKind::Mount))
        );
        assert_eq!((path.read_only, path.optional), (Some(true), Some(false)));
        let usb = groups[1].usb.as_ref().unwrap();
        let told: Vec<_> =
            usb.iter().map(|it| (it.vendor.as_deref(), it.product.as_deref(), it.serial.as_deref())).collect();
        assert_eq!(told, [(Some("0403"), Some("6001"), Some("00000001")), (Some("1209"), Some("0000"), None)]);
        let told = read.warnings.to_string();
        assert!(
            told.contains(":4:1: warning: color: unknown key, passed over as the generic-device-plugin does"),
            "{told}"
        );
        let fault = camera.place.fault(&"groups[0].paths[0].mountPath".parse().unwrap(), "wrong").to_string();
        assert!(fault.ends_with(":9:44: device[0].groups[0].paths[0].MOUNTPATH: wrong"), "{fault}");
    }
    // Under our own command it is said once whose file it is, and how it becomes ours.
    let said = |warnings: &outrigger_config::Faults| warnings.to_string().matches("set `ids: short`").count();
    assert_eq!((said(&ours.warnings), said(&theirs.configuration.warnings)), (1, 0));
    assert_eq!((ours.settings.ids, theirs.configuration.settings.ids), (IdScheme::Short, IdScheme::Gdp));
}

#[test]
fn g11_numbers_as_usb_ids_are_hexadecimal_in_every_route() {
    for (vendor, read) in [("1209", "1209"), ("0403", "0403"), ("'0403'", "0403"), ("10c4", "10c4"), ("1e3", "1e3")] {
        let text = format!("{{name: usb, groups: [{{usb: [{{vendor: {vendor}, product: 1}}]}}]}}");
        let file = Case::new("config.yaml", &format!("devices: [{text}]"));
        let flag = Case::new("other", "");
        for (case, args) in [(&file, &[][..]), (&flag, &["--device", &text][..])] {
            let configuration = case.theirs(args).unwrap().configuration;
            let usb = &configuration.resources[0].resource.groups[0].usb.as_ref().unwrap()[0];
            assert_eq!(usb.vendor.as_deref(), Some(read), "{vendor}");
        }
        let ours = Case::new("devices.yaml", &format!("ids: short\ndevices: [{text}]")).ours(&SettingsArgs::default());
        let usb = ours.unwrap().resources[0].resource.groups[0].usb.clone().unwrap();
        assert_eq!(usb[0].vendor.as_deref(), Some(read), "{vendor}");
    }
}

#[test]
fn g09_an_empty_device_and_a_null_group_are_refused_with_their_place() {
    let case = Case::new("other", "");
    for (device, told) in [
        (
            "",
            "--device: no device is described here, write it as YAML: {name: serial, groups: [{paths: [{path: /dev/ttyS0}]}]}",
        ),
        (
            "# nothing",
            "--device: no device is described here, write it as YAML: {name: serial, groups: [{paths: [{path: /dev/ttyS0}]}]}",
        ),
        ("[]", "--device:1:1: expected a device: a map with the keys name and groups, found a list"),
        ("{groups: []}", "--device:1:1: name: this key is missing"),
        (
            "{name: a}",
            "--device:1:8: name: \"a\" is no name of a device: small letters, digits and inner dashes, at least two",
        ),
        (
            "{name: ab, groups: [null]}",
            "--device:1:21: groups[0]: expected a group: a map with the keys paths or usb, found nothing",
        ),
        (
            "{name: ab, groups: [{}]}",
            "--device:1:21: groups[0]: nothing is given that it selects by: paths or usb, or of ours block, serial, video or counted",
        ),
    ] {
        let faults = case.theirs(&["--device", device]).unwrap_err();
        assert_eq!(faults.to_string(), told, "{device}");
    }
}

#[test]
fn g08_what_they_accept_and_then_fail_at_is_refused() {
    let case = Case::new("other", "");
    let device = "{name: ab, groups: [{count: x, paths: [{path: 1, type: Foo, limit: -1, optional: 1}, {}]}, \
                  {usb: [{vendor: wxyz}], paths: [{path: /a}]}]}";
    let faults = case.theirs(&["--device", device]).unwrap_err().to_string();
    for told in [
        "groups[0].count: expected a whole number from 0 to 4294967295, found the text \"x\"",
        "groups[0].paths[0].path: expected text, found the number 1",
        "groups[0].paths[0].type: expected Device or Mount, found \"Foo\"",
        "groups[0].paths[0].limit: expected a whole number from 0 to 4294967295, found the number -1",
        "groups[0].paths[0].optional: expected true or false, found the number 1",
        "groups[0].paths[1].path: this key is missing",
        "groups[1]: paths and usb cannot stand in one group",
    ] {
        assert!(faults.contains(told), "{told}\nis missing in\n{faults}");
    }
    let usb = case.theirs(&["--device", "{name: ab, groups: [{usb: [{vendor: wxyz}]}]}"]).unwrap_err().to_string();
    assert!(usb.contains("\"wxyz\" is no hexadecimal number of 16 bits such as 1209"), "{usb}");
}

#[test]
fn g10_foreign_variables_hold_only_under_the_foreign_name_and_version_and_device_never() {
    let case = Case::new("config.yaml", "domain: file.org\nplugin-directory: /file\n")
        .with("DOMAIN", "environment.org")
        .with("LISTEN", "127.0.0.1:1")
        .with("LOG_LEVEL", "")
        .with("VERSION", "1")
        .with("DEVICE", "x");
    let read = case.theirs(&["--listen=:2"]).unwrap();
    let settings = &read.configuration.settings;
    assert_eq!(settings.domain.as_deref(), Some("environment.org"));
    assert_eq!(settings.plugin_directory, Path::new("/file"));
    assert_eq!(settings.admin, Some(Address::Tcp { host: "::".into(), port: 2 }));
    assert_eq!(read.log_level, "info");
    assert_eq!(
        read.configuration.warnings.to_string(),
        "VERSION: warning: this variable is passed over: other programs set it too\n\
         DEVICE: warning: this variable is passed over: other programs set it too"
    );
    let ours = case.ours(&SettingsArgs::default()).unwrap();
    assert_eq!(ours.settings.domain, None);
}

#[test]
fn their_file_is_found_where_they_look_and_a_named_one_must_be_there() {
    let case = Case::new("config.json", "{\"domain\": \"json.org\"}");
    std::fs::write(case.path("config.yaml"), "domain: yaml.org").unwrap();
    let read = case.theirs(&[]).unwrap().configuration;
    assert_eq!((read.settings.domain.as_deref(), read.file), (Some("json.org"), Some(case.path("config.json"))));
    let named = case.theirs(&["--config", case.path("config.yaml").to_str().unwrap()]).unwrap().configuration;
    assert_eq!(named.settings.domain.as_deref(), Some("yaml.org"));
    let faults = case.theirs(&["--config", "/nonexistent"]).unwrap_err();
    assert!(faults.to_string().starts_with("/nonexistent: cannot be read: "), "{faults}");
    let none = Case::new("other", "").theirs(&[]).unwrap().configuration;
    assert_eq!((none.settings.domain.as_deref(), none.settings.ids), (Some("squat.ai"), IdScheme::Gdp));
}

#[test]
fn keys_of_ours_hold_under_their_name_too() {
    let case = Case::new("config.yaml", CONTRACT);
    let read = case.theirs(&[]).unwrap().configuration;
    assert_eq!((read.resources.len(), read.settings.domain.as_deref()), (6, Some("example.com")));
    let wrong = Case::new("config.yaml", "ids: gdp\ncolor: red\n").theirs(&[]).unwrap_err();
    assert!(wrong.to_string().contains(":2:1: color: unknown key"), "{wrong}");
}

#[test]
fn a_file_that_is_hostile_is_refused_without_harm() {
    let deep = format!("devices: {}", "[".repeat(10_000));
    let aliases =
        (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
    let long = format!("domain: {}", "x".repeat(17 << 20));
    for text in [deep, aliases, long, "\u{0}".to_owned(), "a: b: c".to_owned(), "- a".to_owned()] {
        let faults = Case::new("devices.yaml", &text).ours(&SettingsArgs::default()).unwrap_err();
        assert!(faults.has_errors());
    }
}

#[test]
fn every_configuration_in_the_guide_is_without_a_fault() {
    let guide = include_str!("../../../docs/guides/devices.md");
    let blocks: Vec<&str> = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let read = yaml(block);
        let (inventory, odd) = Inventory::of(&read).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(
            !inventory.rules.resources.is_empty() && odd.is_empty() && read.warnings.is_empty(),
            "{odd}{}",
            read.warnings
        );
    }
}
