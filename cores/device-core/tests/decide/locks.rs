//! One physical device, one holder, whatever rule, file or process names it.

use std::collections::BTreeSet;

use outrigger_device_core::decide::Status;
use outrigger_device_core::hold::{Mode, Node};
use outrigger_device_core::picture::{NodeKind, PathMatch, Picture, UsbDevice};
use outrigger_device_core::rules::{
    BlockRule, Child, CountedRule, Dialect, Group, PathKind, PathPattern, PathRule, Resource, Select, SerialRule,
    Transport, UsbRule, VideoRule,
};
use outrigger_device_core::unit::Unit;

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

/// Every way in which a device can be named, for one and for two.
fn every_group() -> Vec<Group> {
    let paths = ATOMS.iter().map(|(path, _)| *path).chain(["/dev/disk/by-id/x"]);
    let limited = paths.flat_map(|path| [1, 2].map(|limit| PathRule { limit, ..PathRule::new(path) }));
    let by_path = limited.map(|path| group(Select::Paths(vec![path])));
    let usb = |child| group(Select::Usb(vec![UsbRule { child, ..UsbRule::default() }]));
    let others = [
        any_disk(),
        group(Select::Block(BlockRule { partitions: true, ..BlockRule::default() })),
        usb(None),
        usb(Some(Child::Tty)),
        usb(Some(Child::Block)),
        group(Select::Serial(SerialRule::default())),
        group(Select::Video(VideoRule::default())),
        group(Select::Counted(CountedRule::Count { count: 2, env: None })),
    ];
    by_path.chain(others).flat_map(|group| [1, 2].map(|count| Group { count, ..group.clone() })).collect()
}

/// The units of one group alone, as a process sees them that knows these rules.
fn units(group: Group, name: &str, learned: bool) -> Vec<Unit> {
    // Whoever replaces generic-device-plugin withholds nothing that rules share.
    let resource = Resource { dialect: Dialect::Gdp, ..Resource::new(name, vec![group]) };
    let decision = first(&rules(vec![resource]), &machine(learned));
    decision.lists.iter().flat_map(|list| list.listed.iter()).map(|listed| listed.unit.clone()).collect()
}

fn atoms(unit: &Unit) -> BTreeSet<&'static str> {
    let of_path = |path: &str| ATOMS.iter().find(|(node, _)| *node == path).map_or(&[][..], |(_, atoms)| atoms);
    let paths = unit.body.parts.iter().filter_map(|part| part.give.host_path());
    paths.flat_map(of_path).copied().collect()
}

/// What keeps a unit from whoever wants it while somebody has another one: a file that one of them locks exclusively
/// (`flock(2)`), and what of the holder's is seen by its name.
fn conflicts(had: &Unit, wanted: &Unit) -> Vec<String> {
    let (had, wanted) = (had.modes(), wanted.modes());
    let is_alone = |mode: &Mode| *mode == Mode::Alone;
    let locked = |(name, mode): &(&String, &Mode)| wanted.get(*name).is_some_and(|it| is_alone(it) || is_alone(mode));
    let is_part = |name: &str, whole: &str, mode: Mode| {
        name.strip_prefix(whole).and_then(|rest| rest.strip_prefix('+')).is_some_and(|part| mode.meets(part))
    };
    let seen = |(name, mode): &(&String, &Mode)| {
        is_alone(mode) && wanted.iter().any(|(whole, mode)| is_part(name, whole, *mode))
    };
    had.iter().filter(|lock| locked(lock) || seen(lock)).map(|(name, _)| name.clone()).collect()
}

/// Whether its rule gives it to several.
fn is_for_several(unit: &Unit) -> bool {
    let turns = unit.body.parts.iter().map(|part| part.hold.turn.1).max().unwrap_or(1);
    unit.body.count * turns > 1
}

/// Found when it was put in: locks by the unit's own id; no lock of what a partition or port is a part of; a node that shows
/// nobody of which directory it is a part.
#[test]
fn two_rules_over_one_device_have_a_lock_in_common() {
    let of = |name: &str| -> Vec<Unit> {
        let groups = every_group().into_iter();
        groups.flat_map(|group| [true, false].map(|learned| units(group.clone(), name, learned))).flatten().collect()
    };
    let others = of("a.b/other");
    for one in of("a.b/one") {
        for other in &others {
            let meets = !atoms(&one).is_disjoint(&atoms(other));
            let found = conflicts(&one, other);
            let names = other.modes();
            let common = one.locks().any(|name| names.contains_key(&name));
            assert!(!meets || common, "{} and {}: {:?}, {names:?}", one.name(), other.name(), one.modes());
            if !(is_for_several(&one) && is_for_several(other)) {
                assert_eq!(meets, !found.is_empty(), "{} and {}: {found:?}", one.name(), other.name());
            }
        }
    }
}

/// Found when it was put in: a lock for each id that leaves out how often a path may be used.
#[test]
fn units_of_one_rule_are_for_as_many_as_it_says() {
    for group in every_group() {
        let units = units(group, "a.b/c", true);
        for (place, one) in units.iter().enumerate() {
            for other in &units[place + 1..] {
                assert!(conflicts(one, other).is_empty(), "{:?} and {:?}", one.modes(), other.modes());
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

/// The pod's container still has the node of that number.
#[test]
fn what_comes_to_have_the_number_of_what_a_pod_lost_is_withheld_until_the_pod_gives_that_back() {
    let (a, b) = (stick("1-2", 4, Some("A7")), stick("1-3", 5, Some("B8")));
    let port = |usb: &str| child(Child::Tty, "ttyUSB0", 0, usb, 0);
    let with = |usb: &[&UsbDevice], node: &str| Picture {
        usb: usb.iter().map(|usb| (*usb).clone()).collect(),
        nodes: vec![port(node)],
        ..Picture::default()
    };
    for count in [1, 2] {
        let group = Group { count, ..group(Select::Serial(SerialRule::default())) };
        let rules = rules(vec![Resource::new("a.b/c", vec![group])]);
        let mut host = Host::default();
        let first = host.decide(&rules, &with(&[&a], "1-2"));
        let held = first.lists[0].listed[0].unit.clone();
        host.claim("a.b/c", &held.id);
        let swapped = host.decide(&rules, &with(&[&b], "1-3"));
        let others = swapped.lists[0].listed.iter().filter(|listed| listed.is_healthy());
        let others: Vec<u32> = others.map(|listed| listed.unit.replica).collect();
        assert_eq!(others, (1..count).collect::<Vec<_>>(), "as many as may use the number, with the pod");
        let withheld = swapped.findings.iter().find(|finding| finding.status == Status::Withheld).unwrap();
        assert_eq!(withheld.reasons[0].to_string(), "in use elsewhere: default/pod/container");
        host.claims.held.clear();
        let free = host.decide(&rules, &with(&[&b], "1-3"));
        assert_eq!(free.lists[0].listed.iter().filter(|listed| listed.is_healthy()).count(), count as usize);
    }
}

#[test]
fn two_resources_may_have_one_mount_and_not_one_file() {
    let (path, kind) = ("/srv/file", NodeKind::Other);
    let found = PathMatch { path: path.into(), resolved: path.into(), kind };
    let picture = Picture { found: [(PathPattern::Glob(path.into()), vec![found])].into(), ..Picture::default() };
    let of = |kind: PathKind| {
        let path = PathRule { kind, ..PathRule::new(path) };
        let resource = |name: &str| Resource::new(name, vec![group(Select::Paths(vec![path.clone()]))]);
        first(&rules(vec![resource("a.b/one"), resource("a.b/other")]), &picture)
    };
    let mount = of(PathKind::Mount);
    let units: Vec<&Unit> = mount.lists.iter().flat_map(|list| list.listed.iter()).map(|listed| &listed.unit).collect();
    assert_eq!(units.len(), 2);
    assert!(conflicts(units[0], units[1]).is_empty(), "{:?}", units[0].modes());
    assert!(!conflicts(units[0], units[0]).is_empty(), "each is for one pod");
    assert!(of(PathKind::Device).lists[1].listed.is_empty(), "as it is locked by one name");
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
