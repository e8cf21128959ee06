//! What makes a unit, and what its id is made of.

use outrigger_device_core::picture::{NodeKind, PathMatch, Picture};
use outrigger_device_core::rules::{
    Child, CountedRule, Dialect, Group, IdScheme, PathKind, PathPattern, PathRule, Resource, Rules, Select, SerialRule,
    TextPattern, UnitOf, UsbIdentity, UsbRule, VideoRule,
};
use outrigger_device_core::unit::Give;

use crate::values::{Host, child, first, found, group, ids, offered, one, paths, rules, stick, told, usb, why};

fn ports(sticks: &[(&str, u32, Option<&str>)]) -> Picture {
    let nodes = sticks.iter().map(|(port, device, _)| child(Child::Tty, &format!("ttyUSB{device}"), *device, port, 0));
    Picture {
        nodes: nodes.collect(),
        usb: sticks.iter().map(|(port, device, serial)| stick(port, *device, *serial)).collect(),
        ..Picture::default()
    }
}

fn tty() -> Rules {
    one(usb(UsbRule { vendor: Some(0x1a86), child: Some(Child::Tty), ..UsbRule::default() }))
}

fn nodes(decision: &outrigger_device_core::decide::Decision) -> Vec<(String, String)> {
    let parts = decision.lists.iter().flat_map(|list| list.listed.iter()).flat_map(|listed| &listed.unit.body.parts);
    let node = |give: &Give| match give {
        Give::Node { host_path, container_path, .. } => Some((host_path.clone(), container_path.clone())),
        _ => None,
    };
    let mut nodes: Vec<_> = parts.filter_map(|part| node(&part.give)).collect();
    nodes.sort();
    nodes
}

#[test]
fn a_radio_keeps_its_id_in_any_port_if_its_serial_number_is_its_own() {
    let here = ids(&first(&tty(), &ports(&[("1-1", 4, Some("A7"))])));
    let there = ids(&first(&tty(), &ports(&[("1-2.3", 9, Some("A7"))])));
    assert_eq!(here.values().collect::<Vec<_>>(), there.values().collect::<Vec<_>>());
    let none = ids(&first(&tty(), &ports(&[("1-1", 4, None)])));
    let other_port = ids(&first(&tty(), &ports(&[("1-2.3", 9, None)])));
    assert_ne!(
        none.values().collect::<Vec<_>>(),
        other_port.values().collect::<Vec<_>>(),
        "without one the port counts"
    );
}

#[test]
fn a_second_device_with_the_same_serial_number_gets_another_id_and_the_first_keeps_its_own() {
    let mut host = Host::default();
    let alone = ids(&host.decide(&tty(), &ports(&[("1-1", 4, Some("0001"))])));
    let both = ids(&host.decide(&tty(), &ports(&[("1-1", 4, Some("0001")), ("1-2", 5, Some("0001"))])));
    assert_eq!(both.len(), 2);
    assert_eq!(both["ttyUSB4"], alone["ttyUSB4"]);
    assert_ne!(both["ttyUSB5"], both["ttyUSB4"]);
    let late = ids(&host.decide(&tty(), &ports(&[("1-1", 4, Some("0001"))])));
    assert_eq!(late["ttyUSB4"], alone["ttyUSB4"]);
}

#[test]
fn an_id_stays_when_the_serial_number_is_read_late() {
    let mut host = Host::default();
    let before = ids(&host.decide(&tty(), &ports(&[("1-1", 4, None)])));
    assert_eq!(ids(&host.decide(&tty(), &ports(&[("1-1", 4, Some("A7"))]))), before);
}

#[test]
fn by_port_means_whatever_is_plugged_there() {
    let by_port = UsbRule { identity: UsbIdentity::Port, ..UsbRule::default() };
    let rules = one(usb(by_port));
    let before: Vec<String> = ids(&first(&rules, &ports(&[("1-1", 4, Some("A"))]))).into_values().collect();
    let after: Vec<String> = ids(&first(&rules, &ports(&[("1-1", 9, Some("B"))]))).into_values().collect();
    assert_eq!(before, after);
}

#[test]
fn all_matches_are_one_unit_where_that_is_asked_for_in_the_order_of_their_nodes() {
    let all = Group { unit: UnitOf::All, ..usb(UsbRule { vendor: Some(0x1a86), ..UsbRule::default() }) };
    let scheme = Rules { ids: IdScheme::Gdp, ..one(all) };
    let mut picture = ports(&[("1-2", 5, None), ("1-1", 4, None)]);
    let decision = first(&scheme, &picture);
    // SHA-1 of 0/dev/bus/usb/001/004/dev/bus/usb/001/005.
    assert_eq!(ids(&decision)["1-1, 1-2"], "72e5a9b7640eb38e62b90083dd2224c509fa1d46");
    picture.usb.reverse();
    assert_eq!(ids(&first(&scheme, &picture)), ids(&decision), "G4: whatever order they are read in");
}

#[test]
fn a_usb_device_without_the_child_says_so() {
    let mut picture = ports(&[("1-1", 4, None)]);
    picture.nodes.clear();
    assert_eq!(why(&first(&tty(), &picture), "1-1"), "withheld: child is none, wanted is tty");
}

#[test]
fn several_nodes_of_one_device_are_one_unit_with_paths_of_their_own() {
    let mut picture = ports(&[("1-1", 4, None)]);
    picture.nodes.push(child(Child::Tty, "ttyUSB9", 9, "1-1", 2));
    let radio = Group { mount_path: Some("/dev/radio".into()), ..tty().resources[0].groups[0].clone() };
    let decision = first(&one(radio), &picture);
    assert_eq!(told(&decision, "a.b/c").len(), 1);
    let expected = [("/dev/ttyUSB4", "/dev/radio"), ("/dev/ttyUSB9", "/dev/radio1")];
    assert_eq!(nodes(&decision), expected.map(|(host, container)| (host.to_owned(), container.to_owned())));
}

#[test]
fn one_camera_with_four_nodes_is_one_unit_of_its_capture_nodes() {
    let mut picture = Picture { usb: vec![stick("1-4", 4, None)], ..Picture::default() };
    for (number, interface, index) in [(0, 0, 0), (1, 0, 1), (2, 2, 0), (3, 2, 1)] {
        let mut node = child(Child::Video, &format!("video{number}"), number, "1-4", interface);
        node.index = Some(index);
        picture.nodes.push(node);
    }
    let decision = first(&one(group(Select::Video(VideoRule::default()))), &picture);
    assert_eq!(offered(&decision), ["video0, video2"]);
    assert_eq!(why(&decision, "video1"), "", "a node of an offered camera is not told by itself");
}

#[test]
fn serial_ports_are_those_with_hardware_behind_them() {
    let mut picture = ports(&[("1-1", 4, Some("A7"))]);
    let mut board = child(Child::Tty, "ttyS0", 64, "", 0);
    (board.usb, board.interface, board.position) = (None, None, "/devices/pnp0/00:05".into());
    let mut absent = board.clone();
    (absent.name, absent.is_present) = ("ttyS1".into(), false);
    picture.nodes.extend([board, absent]);
    let all = first(&one(group(Select::Serial(SerialRule::default()))), &picture);
    assert_eq!(offered(&all), ["ttyS0", "ttyUSB4"]);
    let by_serial = SerialRule { serial: Some(TextPattern::Glob("A*".into())), ..SerialRule::default() };
    assert_eq!(offered(&first(&one(group(Select::Serial(by_serial))), &picture)), ["ttyUSB4"]);
}

#[test]
fn paths_give_the_resolved_node_under_the_name_that_was_asked_for() {
    let link = PathMatch {
        path: "/dev/serial/by-id/radio".into(),
        resolved: "/dev/ttyUSB0".into(),
        kind: NodeKind::Character(crate::values::number(188, 0)),
    };
    let glob = "/dev/serial/by-id/*";
    let picture = Picture { found: [(PathPattern::Glob(glob.into()), vec![link])].into(), ..Picture::default() };
    let decision = first(&one(paths(&[glob])), &picture);
    assert_eq!(nodes(&decision), [("/dev/ttyUSB0".to_owned(), "/dev/serial/by-id/radio".to_owned())]);
}

#[test]
fn mount_paths_and_mounts_are_as_in_the_vectors() {
    let ports = found("/dev/ttyUSB*", &[("/dev/ttyUSB0", 0), ("/dev/ttyUSB1", 1)]);
    let with = |mount_path: &str| {
        let rule = PathRule { mount_path: Some(mount_path.into()), ..PathRule::new("/dev/ttyUSB*") };
        one(group(Select::Paths(vec![rule])))
    };
    let picture = Picture { found: [ports].into(), ..Picture::default() };
    let in_container =
        |rules: &Rules| nodes(&first(rules, &picture)).into_iter().map(|(_, path)| path).collect::<Vec<_>>();
    assert_eq!(in_container(&with("/dev/serial/")), ["/dev/serial/ttyUSB0", "/dev/serial/ttyUSB1"], "vector 13");
    assert_eq!(in_container(&with("/dev/serial")), ["/dev/serial", "/dev/serial"], "vector 14");

    let directory = PathMatch { path: "/opt/x".into(), resolved: "/opt/x".into(), kind: NodeKind::Directory };
    let picture =
        Picture { found: [(PathPattern::Glob("/opt/x".into()), vec![directory])].into(), ..Picture::default() };
    let rule = PathRule { kind: PathKind::Mount, read_only: true, ..PathRule::new("/opt/x") };
    let decision = first(&one(group(Select::Paths(vec![rule]))), &picture);
    let give = &decision.lists[0].listed[0].unit.body.parts[0].give;
    let expected = Give::Mount { host_path: "/opt/x".into(), container_path: "/opt/x".into(), read_only: true };
    assert_eq!(*give, expected, "vector 15");
}

/// As a kubelet gives such units to several pods at once.
#[test]
fn a_path_that_a_limit_gives_to_several_units_is_locked_by_each_for_itself() {
    let found =
        [found("/dev/v*", &[("/dev/v0", 0), ("/dev/v1", 1), ("/dev/v2", 2)]), found("/dev/s", &[("/dev/s", 3)])];
    let picture = Picture { found: found.into(), ..Picture::default() };
    let shared = PathRule { limit: 10, ..PathRule::new("/dev/s") };
    let decision = first(&one(group(Select::Paths(vec![PathRule::new("/dev/v*"), shared]))), &picture);
    let units = decision.lists[0].listed.iter().map(|listed| &listed.unit);
    let alone = units.flat_map(|unit| unit.locks().filter(|lock| !unit.shares(lock)));
    let locks: Vec<String> = alone.collect();
    let different: std::collections::BTreeSet<&String> = locks.iter().collect();
    assert_eq!((locks.len(), different.len()), (6, 6), "{locks:?}");
}

#[test]
fn ids_of_generic_device_plugin_are_byte_equal_through_the_whole_decision() {
    let picture = Picture { found: [found("/dev/fuse", &[("/dev/fuse", 229)])].into(), ..Picture::default() };
    let resource = Resource {
        dialect: Dialect::Gdp,
        ..Resource::new("squat.ai/fuse", vec![Group { count: 10, ..paths(&["/dev/fuse"]) }])
    };
    let decision = first(&Rules { ids: IdScheme::Gdp, ..rules(vec![resource]) }, &picture);
    let ids: Vec<&str> = decision.lists[0].listed.iter().map(|listed| &*listed.unit.id).collect();
    assert_eq!(ids.len(), 10);
    assert!(ids.contains(&"a68db766f638034740111848aafee2d2dcd6b642"));
    assert!(ids.contains(&"bd6ee27a4355ad16a10fab1ffbeb436b0d07000f"));
}

#[test]
fn a_group_that_is_not_whole_says_what_it_lacks() {
    let picture = Picture { found: [found("/dev/ttyS0", &[("/dev/ttyS0", 64)])].into(), ..Picture::default() };
    let decision = first(&one(paths(&["/dev/ttyS0", "/dev/nothing"])), &picture);
    assert_eq!(why(&decision, "/dev/ttyS0"), "withheld: group is not whole, wanted is /dev/nothing");
}

#[test]
fn each_match_can_be_a_resource_of_its_own() {
    let picture = Picture {
        found: [found("/dev/tty*", &[("/dev/ttyS0", 64), ("/dev/tty/x", 65), ("/dev/tty-", 66)])].into(),
        ..Picture::default()
    };
    let resource = Resource { per_match: true, ..Resource::new("smarter-devices/{path}", vec![paths(&["/dev/tty*"])]) };
    let decision = first(&rules(vec![resource]), &picture);
    let names: Vec<&str> = decision.lists.iter().map(|list| &*list.resource).collect();
    assert_eq!(names, ["smarter-devices/ttyS0", "smarter-devices/tty_x"]);
    assert!(why(&decision, "/dev/tty-").contains("smarter-devices/tty-, which is no name"));
}

#[test]
fn slots_have_their_values_and_their_ids_stay_when_values_come() {
    let slots = |values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        one(group(Select::Counted(CountedRule::Values { values, env: Some("SLOT_ID".into()) })))
    };
    let two = ids(&first(&slots(&["a", "b"]), &Picture::default()));
    let three = ids(&first(&slots(&["c", "a", "b"]), &Picture::default()));
    assert!(two.iter().all(|(name, id)| three[name] == *id));
}
