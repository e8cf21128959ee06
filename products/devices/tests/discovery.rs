//! From the files of a machine to what is offered: what simple-device-plugin made of the same disks stands beside each
//! (reference of the replaced project, its discovery by example, rows 1 to 8).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::time::Duration;

use harness::may_make_nodes;
use outrigger_device_core::decide::{Claims, Decision, Input, State, decide};
use outrigger_device_core::hold::Mode;
use outrigger_device_core::rules::{
    BlockRule, Child, EvidencePolicy, Group, PathRule, Resource, Rules, Select, SerialRule, Transport, UsbRule,
    VideoRule,
};
use outrigger_devices::survey::Survey;
use outrigger_host::devices::Roots;
use outrigger_host_tree::HostTree;
use rustix::fs::{CWD, FileType, Mode as FileMode, makedev, mknodat};

/// The rule of the program that takes simple-device-plugin's place: it sees neither the host's mounts nor its nodes.
fn drop_in() -> Rules {
    let rule = BlockRule {
        names: vec!["sd*".to_owned()],
        transport: vec![Transport::Sata, Transport::Sas, Transport::Scsi],
        ..BlockRule::default()
    };
    Rules { evidence: EvidencePolicy::Sysfs, ..one(Select::Block(rule)) }
}

fn one(select: Select) -> Rules {
    Rules { resources: vec![Resource::new("kubedev.org/sata", vec![Group::new(select)])], ..Rules::default() }
}

fn decision(tree: &HostTree, rules: &Rules) -> Decision {
    let survey = Survey { roots: Roots::below(tree.root()) };
    let picture = survey.picture(rules);
    let (claims, previous) = (Claims::default(), State::default());
    decide(Input { rules, picture: &picture, claims: &claims, previous: &previous, now: Duration::ZERO })
}

fn offered(decision: &Decision) -> Vec<String> {
    let listed = decision.lists.iter().flat_map(|list| list.listed.iter()).filter(|listed| listed.is_healthy());
    let mut names: Vec<String> = listed.map(|listed| listed.unit.name()).collect();
    names.sort();
    names
}

fn why(decision: &Decision, name: &str) -> String {
    let finding = decision.findings.iter().find(|finding| finding.name == name).unwrap();
    let reasons: Vec<String> = finding.reasons.iter().map(ToString::to_string).collect();
    format!("{}: {}", finding.status.word(), reasons.join("; "))
}

/// A second free disk of a machine, by its name.
fn with_disk(name: &str, more: &str) -> HostTree {
    let tree = HostTree::named("sas");
    let place = "sys/devices/pci0000:00/0000:00:17.0/ata9/host9/target9:0:0/9:0:0:0";
    tree.add(&format!(
        "{place}\n  state = running\n  block/{name}\n    :block\n    dev = 8:240\n    size = 8192\n    uevent = DEVNAME={name}\n{more}"
    ));
    tree
}

#[test]
fn a_partitioned_disk_is_withheld_and_the_free_one_offered() {
    // Row 1; original: /dev/sdb.
    let decision = decision(&HostTree::named("sata"), &drop_in());
    assert_eq!(offered(&decision), ["sdb"]);
    assert!(why(&decision, "sda").contains("partitioned: sda1, sda2"), "{}", why(&decision, "sda"));
    assert!(why(&decision, "sda").starts_with("withheld: system disk: / on sda2"), "{}", why(&decision, "sda"));
}

#[test]
fn a_disk_of_two_letters_is_one() {
    // Row 2; original: /dev/sdaa.
    assert_eq!(offered(&decision(&HostTree::named("sas"), &drop_in())), ["sdaa"]);
}

#[test]
fn other_kinds_of_disks_are_not_of_this_resource() {
    // Row 3; original: nothing.
    for tree in ["nvme", "virtio"] {
        assert!(offered(&decision(&HostTree::named(tree), &drop_in())).is_empty(), "{tree}");
    }
    let with_drive = decision(&HostTree::named("sata"), &drop_in());
    assert!(!offered(&with_drive).contains(&"sr0".to_owned()));
}

#[test]
fn k06_a_volume_whose_name_looks_like_a_disk_is_none() {
    // Row 4; original: /dev/vg-sdata, which does not exist.
    assert!(offered(&decision(&HostTree::named("odd-names"), &drop_in())).is_empty());
}

#[test]
fn a_disk_without_partitions_is_one() {
    // Row 5; original: /dev/sdb.
    assert_eq!(offered(&decision(&with_disk("sdz", ""), &drop_in())), ["sdaa", "sdz"]);
}

#[test]
fn a_mounted_whole_disk_is_withheld_though_no_mount_table_is_seen() {
    // Row 6; original: offered.
    let tree = with_disk("sdz", "sys/fs/ext4/sdz\n");
    std::fs::remove_file(tree.path("proc/1/mountinfo")).unwrap();
    let decision = decision(&tree, &drop_in());
    assert_eq!(offered(&decision), ["sdaa"]);
    assert_eq!(why(&decision, "sdz"), "withheld: mounted somewhere, perhaps in a container (ext4)");
    assert!(decision.missing.contains("mounts"));
}

#[test]
fn k05_sticks_and_remote_disks_are_withheld_with_the_reason() {
    // Row 7; original: offered.
    for (tree, name, transport) in
        [("usb-stick", "sdc", "usb"), ("remote-disks", "sdd", "iscsi"), ("remote-disks", "sde", "fc")]
    {
        let decision = decision(&HostTree::named(tree), &drop_in());
        assert!(offered(&decision).is_empty());
        assert_eq!(why(&decision, name), format!("withheld: transport is {transport}, wanted is sata, sas, scsi"));
    }
}

#[test]
fn a_machine_without_disks_has_an_empty_list() {
    // Row 8; original: an empty list.
    let decision = decision(&HostTree::of(""), &drop_in());
    assert_eq!((decision.lists.len(), offered(&decision).len()), (1, 0));
}

#[test]
fn what_is_under_a_volume_a_mirror_or_several_paths_is_held() {
    let any = one(Select::Block(BlockRule::default()));
    for (tree, name, reason) in [
        ("lvm", "sda", "withheld: system disk: / on dm-0; held by dm-0; partitioned: sda3"),
        ("lvm", "sdb", "withheld: system disk: / on dm-0; held by dm-0"),
        ("md", "sdb", "withheld: held by md0"),
        ("multipath", "sdf", "withheld: held by dm-0"),
    ] {
        let decision = decision(&HostTree::named(tree), &any);
        assert!(offered(&decision).is_empty(), "{tree}: {:?}", offered(&decision));
        assert_eq!(why(&decision, name), reason);
    }
}

#[test]
fn twins_are_two_units_with_ids_that_last() {
    let tty = one(Select::Usb(vec![UsbRule { child: Some(Child::Tty), ..UsbRule::default() }]));
    let ids = |tree: &str| {
        let decision = decision(&HostTree::named(tree), &tty);
        let listed = decision.lists.iter().flat_map(|list| list.listed.iter());
        listed.map(|listed| listed.unit.id.to_string()).collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(ids("serial-twins").len(), 4);
    assert_eq!(ids("hub-before"), ids("hub-after"), "whatever the numbers are after the re-plug");
}

#[test]
fn ports_and_cameras_are_found_by_their_short_rules() {
    let ports = decision(&HostTree::named("serial-twins"), &one(Select::Serial(SerialRule::default())));
    assert_eq!(offered(&ports), ["ttyS0", "ttyUSB0", "ttyUSB1", "ttyUSB2", "ttyUSB3"]);
    let cameras = decision(&HostTree::named("camera"), &one(Select::Video(VideoRule::default())));
    assert_eq!(offered(&cameras), ["video0, video2"]);
    let second_port = UsbRule { child: Some(Child::Tty), interface: Some(2), ..UsbRule::default() };
    let radio = decision(&HostTree::named("composite-radio"), &one(Select::Usb(vec![second_port])));
    assert_eq!(offered(&radio), ["ttyACM1"]);
}

#[test]
fn a_unit_is_near_to_all_that_it_is_made_of() {
    let any = one(Select::Block(BlockRule { transport: vec![Transport::Md], ..BlockRule::default() }));
    let decision = decision(&HostTree::named("two-sockets"), &any);
    assert_eq!(decision.lists[0].listed[0].unit.body.numa, [0, 1]);
}

#[test]
fn rules_that_know_different_things_of_a_stick_lock_the_same() {
    let tree = HostTree::named("usb-stick");
    let locks = |select: Select| decision(&tree, &one(select)).lists[0].listed[0].unit.modes();
    let disk = locks(Select::Block(BlockRule { transport: vec![Transport::Usb], ..BlockRule::default() }));
    let stick = locks(Select::Usb(vec![UsbRule { vendor: Some(0x0781), ..UsbRule::default() }]));
    let keeps_away = |(name, mode): (&String, &Mode)| stick.get(name).is_some_and(|stick| !stick.goes_with(*mode));
    assert!(disk.iter().any(keeps_away), "{disk:?} and {stick:?}");
}

#[test]
fn a_generic_node_of_a_disk_and_a_printers_of_a_usb_device_are_parts_of_these() {
    if !may_make_nodes() {
        return;
    }
    let tree = HostTree::named("usb-stick");
    let interface = "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0";
    let generic = format!("{interface}/host6/target6:0:0/6:0:0:0/scsi_generic/sg0");
    for (node, major, directory) in [("sg0", 21, &*generic), ("lp0", 180, &format!("{interface}/usbmisc/lp0"))] {
        tree.add(&format!("dev\nsys/{directory}\n  dev = {major}:0\nsys/dev/char/{major}:0 -> ../../{directory}\n"));
        mknodat(CWD, tree.path(&format!("dev/{node}")), FileType::CharacterDevice, FileMode::RUSR, makedev(major, 0))
            .unwrap();
    }
    let stick = || Select::Usb(vec![UsbRule { vendor: Some(0x0781), ..UsbRule::default() }]);
    let disk = || Select::Block(BlockRule { transport: vec![Transport::Usb], ..BlockRule::default() });
    let path = |path: &str| Select::Paths(vec![PathRule::new(path)]);
    for (whole, node) in [(disk(), "/dev/sg0"), (stick(), "/dev/sg0"), (stick(), "/dev/lp0")] {
        let whole = Resource::new("a.b/whole", vec![Group::new(whole)]);
        let both = vec![whole, Resource::new("a.b/node", vec![Group::new(path(node))])];
        let alone = both.iter().map(|resource| {
            let rules = Rules { resources: vec![resource.clone()], ..one(path(node)) };
            decision(&tree, &rules).lists[0].listed[0].unit.modes()
        });
        let [whole, part] = <[_; 2]>::try_from(alone.collect::<Vec<_>>()).unwrap();
        let keeps_away = |(name, mode): (&String, &Mode)| part.get(name).is_some_and(|part| !part.goes_with(*mode));
        assert!(whole.iter().any(keeps_away), "{node}: {whole:?} and {part:?}");
        let both = Rules { resources: both, ..one(path(node)) };
        assert_eq!(why(&decision(&tree, &both), node), "withheld: also matched by a.b/whole");
    }
    let printer = decision(&tree, &one(path("/dev/lp0"))).lists[0].listed[0].unit.modes();
    let free = decision(&tree, &one(disk())).lists[0].listed[0].unit.modes();
    assert!(printer.iter().all(|(name, mode)| free.get(name).is_none_or(|other| other.goes_with(*mode))));
}
