//! One physical device, one holder, whatever rule, file or process names it.

use std::collections::BTreeSet;

use outrigger_device_core::hold::{Mode, Node};
use outrigger_device_core::picture::{NodeKind, PathMatch, Picture};
use outrigger_device_core::rules::{
    BlockRule, Child, CountedRule, Dialect, Group, PathPattern, PathRule, Resource, Select, SerialRule, Transport,
    UsbRule, VideoRule,
};
use outrigger_device_core::unit::Unit;
use proptest::prelude::*;

use crate::values::{Host, any_disk, child, disk, first, group, number, partition, rules, stick};

/// What each node of the host stands for, down to what cannot be divided.
const ATOMS: [(&str, &[&str]); 11] = [
    ("/dev/sdb", &["sdb", "sdb1", "sdb2"]),
    ("/dev/sdb1", &["sdb1"]),
    ("/dev/sdb2", &["sdb2"]),
    ("/srv/copy", &["sdb", "sdb1", "sdb2"]),
    ("/dev/sdc", &["sdc"]),
    ("/dev/ttyUSB0", &["tty"]),
    ("/dev/bus/usb/001/004", &["stick", "sdc", "tty"]),
    ("/dev/video0", &["camera"]),
    ("/dev/snd", &["control", "pcm"]),
    ("/dev/snd/control", &["control"]),
    ("/dev/fuse", &["fuse"]),
];

/// A machine with a partitioned disk, a stick with a port and a disk, a camera and sound; `learned` once all its ids are read.
fn machine(learned: bool) -> Picture {
    let mut sdb = disk("sdb");
    sdb.partitions = vec![partition(&sdb, 1), partition(&sdb, 2)];
    let mut sdc = disk("sdc");
    (sdc.transport, sdc.position) = (Transport::Usb, "/devices/pci0000:00/usb1/1-2/1-2:1.1/host4/4:0:0:0".into());
    let mut control = child(Child::Sound, "control", 7, "", 0);
    (control.node, control.usb) = ("/dev/snd/control".into(), None);
    let mut camera = child(Child::Video, "video0", 9, "1-3", 0);
    camera.usb = None;
    let mut picture = Picture {
        block: vec![sdb, sdc],
        usb: vec![stick("1-2", 4, learned.then_some("A7"))],
        nodes: vec![child(Child::Tty, "ttyUSB0", 0, "1-2", 0), control, camera],
        ..Picture::default()
    };
    if !learned {
        picture.block.iter_mut().for_each(|disk| disk.wwid = None);
    }
    let paths = ATOMS.map(|(path, _)| (path, path)).into_iter().chain([("/dev/disk/by-id/x", "/dev/sdb")]);
    let found = paths.map(|(path, resolved)| {
        let kind = kind(&picture, resolved);
        (PathPattern::Glob(path.into()), vec![PathMatch { path: path.into(), resolved: resolved.into(), kind }])
    });
    picture.found = found.collect();
    picture
}

fn kind(picture: &Picture, path: &str) -> NodeKind {
    let sdb = &picture.block[0];
    match path {
        "/dev/sdb" | "/srv/copy" => NodeKind::Block(sdb.number),
        "/dev/sdb1" => NodeKind::Block(sdb.partitions[0].number),
        "/dev/sdb2" => NodeKind::Block(sdb.partitions[1].number),
        "/dev/sdc" => NodeKind::Block(picture.block[1].number),
        "/dev/bus/usb/001/004" => NodeKind::Character(number(189, 3)),
        "/dev/snd" => NodeKind::Directory,
        "/dev/fuse" => NodeKind::Character(number(10, 229)),
        of_class => {
            let node = picture.nodes.iter().find(|node| node.node == of_class);
            NodeKind::Character(node.unwrap().number)
        }
    }
}

/// A group in one of the ways in which a device can be named.
fn some_group() -> impl Strategy<Value = Group> {
    let paths = ATOMS.map(|(path, _)| path).into_iter().chain(["/dev/disk/by-id/x"]).collect::<Vec<_>>();
    let by_path = (proptest::sample::select(paths), 1..3_u32)
        .prop_map(|(path, limit)| group(Select::Paths(vec![PathRule { limit, ..PathRule::new(path) }])));
    let usb = |child| group(Select::Usb(vec![UsbRule { child, ..UsbRule::default() }]));
    let partitions = BlockRule { partitions: true, ..BlockRule::default() };
    let kind = prop_oneof![
        4 => by_path,
        1 => Just(any_disk()),
        1 => Just(group(Select::Block(partitions))),
        1 => Just(usb(None)),
        1 => Just(usb(Some(Child::Tty))),
        1 => Just(usb(Some(Child::Block))),
        1 => Just(group(Select::Serial(SerialRule::default()))),
        1 => Just(group(Select::Video(VideoRule::default()))),
        1 => Just(group(Select::Counted(CountedRule::Count { count: 2, env: None }))),
    ];
    (kind, 1..3_u32).prop_map(|(group, count)| Group { count, ..group })
}

/// The units of one group alone, as a process sees them that knows these rules.
fn units(group: Group, name: &str, learned: bool) -> Vec<Unit> {
    // Whoever replaces generic-device-plugin withholds nothing that rules share.
    let resource = Resource { dialect: Dialect::Gdp, ..Resource::new(name, vec![group]) };
    let decision = first(&rules(vec![resource]), &machine(learned));
    decision.lists.iter().flat_map(|list| &list.listed).map(|listed| listed.unit.clone()).collect()
}

fn atoms(unit: &Unit) -> BTreeSet<&'static str> {
    let of_path = |path: &str| ATOMS.iter().find(|(node, _)| *node == path).map_or(&[][..], |(_, atoms)| atoms);
    let paths = unit.body.parts.iter().filter_map(|part| part.give.host_path());
    paths.flat_map(of_path).copied().collect()
}

/// What keeps two units from being held at once.
fn conflicts(one: &Unit, other: &Unit) -> Vec<String> {
    let (one, other) = (one.modes(), other.modes());
    let is_in_the_way = |(name, mode): &(String, Mode)| other.get(name).is_some_and(|other| !mode.goes_with(*other));
    one.into_iter().filter(is_in_the_way).map(|(name, _)| name).collect()
}

/// Whether its rule gives it to several.
fn is_for_several(unit: &Unit) -> bool {
    let turns = unit.body.parts.iter().map(|part| part.hold.turn.1).max().unwrap_or(1);
    unit.body.count * turns > 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    // Found when it was put in: locks by the unit's own id; no lock of what a partition or port is a part of.
    #[test]
    fn two_rules_over_one_device_have_a_lock_in_common(
        (one, other) in (some_group(), some_group()),
        learned in any::<[bool; 2]>(),
    ) {
        for one in units(one, "a.b/one", learned[0]) {
            for other in units(other.clone(), "a.b/other", learned[1]) {
                let meets = !atoms(&one).is_disjoint(&atoms(&other));
                let found = conflicts(&one, &other);
                let names = other.modes();
                let common = one.locks().any(|name| names.contains_key(&name));
                prop_assert!(!meets || common, "{} and {}: {:?}, {:?}", one.name(), other.name(), one.modes(), names);
                if !(is_for_several(&one) && is_for_several(&other)) {
                    prop_assert_eq!(meets, !found.is_empty(), "{} and {}: {:?}", one.name(), other.name(), found);
                }
            }
        }
    }

    // Found when it was put in: a lock for each id that leaves out how often a path may be used.
    #[test]
    fn units_of_one_rule_are_for_as_many_as_it_says(group in some_group()) {
        let units = units(group, "a.b/c", true);
        for (place, one) in units.iter().enumerate() {
            for other in &units[place + 1..] {
                prop_assert!(conflicts(one, other).is_empty(), "{:?} and {:?}", one.modes(), other.modes());
            }
        }
    }
}

#[test]
fn a_path_that_many_units_use_in_turn_is_held_by_as_many() {
    let found = |glob: &str, names: &[&str], major| {
        let at = |(place, name): (usize, &&str)| PathMatch {
            path: (*name).into(),
            resolved: (*name).into(),
            kind: NodeKind::Character(number(major, u32::try_from(place).unwrap())),
        };
        (PathPattern::Glob(glob.into()), names.iter().enumerate().map(at).collect())
    };
    let picture = Picture {
        found: [found("/dev/a*", &["/dev/a0", "/dev/a1", "/dev/a2"], 1), found("/dev/b*", &["/dev/b"], 2)].into(),
        ..Picture::default()
    };
    let limited = PathRule { limit: 2, ..PathRule::new("/dev/b*") };
    let group = group(Select::Paths(vec![PathRule::new("/dev/a*"), limited]));
    let decision = first(&rules(vec![Resource::new("a.b/c", vec![group])]), &picture);
    let units: Vec<&Unit> = decision.lists[0].listed.iter().map(|listed| &listed.unit).collect();
    assert_eq!(units.len(), 2);
    assert!(conflicts(units[0], units[1]).is_empty());
}

#[test]
fn a_disk_is_withheld_while_another_door_has_a_partition_of_it_and_the_other_way_round() {
    let (disk, part) = ("/dev/sdb", "/dev/sdb1");
    let picture = machine(true);
    for (mine, theirs) in [(disk, part), (part, disk), (disk, "/dev/disk/by-id/x"), ("/srv/copy", disk)] {
        let by_path = |path: &str| group(Select::Paths(vec![PathRule::new(path)]));
        let mut host = Host::default();
        let held = units(by_path(theirs), "a.b/theirs", false);
        let exclusive = held[0].modes().into_iter().filter(|(_, mode)| *mode == Mode::Alone);
        host.claims.elsewhere = exclusive.map(|(name, _)| (name, "pod default/a".to_owned())).collect();
        let rules = rules(vec![Resource::new("a.b/mine", vec![by_path(mine)])]);
        let decision = host.decide(&rules, &picture);
        let finding = decision.findings.iter().find(|finding| finding.name == mine).unwrap();
        assert_eq!(finding.reasons[0].to_string(), "in use elsewhere: pod default/a", "{mine} while {theirs} is held");
    }
    assert_eq!(Node::of(kind(&picture, disk)), Node::of(kind(&picture, "/srv/copy")));
}

#[test]
fn a_disk_and_its_partitions_by_one_glob_are_the_disk_alone() {
    let picture = machine(true);
    let all = |name: &str| picture.found[&PathPattern::Glob(name.into())].clone();
    let found = ["/dev/sdb", "/dev/sdb1", "/dev/sdb2"].into_iter().flat_map(all).collect();
    let picture = Picture { found: [(PathPattern::Glob("/dev/sdb*".into()), found)].into(), ..picture.clone() };
    let group = group(Select::Paths(vec![PathRule::new("/dev/sdb*")]));
    let decision = first(&rules(vec![Resource::new("a.b/c", vec![group])]), &picture);
    assert_eq!(crate::values::offered(&decision), ["/dev/sdb"]);
    assert_eq!(crate::values::why(&decision, "/dev/sdb1"), "withheld: also matched by a.b/c");
}
