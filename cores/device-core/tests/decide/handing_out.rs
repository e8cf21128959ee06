//! The last look before a device is handed out, and what the container gets.

use std::collections::BTreeMap;

use outrigger_device_core::answer::answer;
use outrigger_device_core::picture::{BlockDevice, NodeKind, PathMatch, Picture, Seen};
use outrigger_device_core::refuse::{Refusal, When, refuse};
use outrigger_device_core::rules::{
    Child, CountedRule, Dialect, Group, MountTemplate, PathPattern, Resource, Rules, Select, UsbRule,
};
use outrigger_device_core::unit::Unit;

use crate::values::{any_disk, child, disk, disks, first, found, group, mount, one, paths, rules, stick, usb};

fn units(rules: &Rules, picture: &Picture) -> Vec<Unit> {
    first(rules, picture).lists.iter().flat_map(|list| list.listed.iter()).map(|listed| listed.unit.clone()).collect()
}

fn refusals(rules: &Rules, unit: &Unit, fresh: &Picture, when: When) -> Vec<String> {
    refuse(rules, unit, fresh, when).iter().map(ToString::to_string).collect()
}

#[test]
fn another_disk_at_the_same_name_is_refused() {
    let rules = one(any_disk());
    let before = disks(vec![disk("sdb")]);
    let unit = &units(&rules, &before)[0];
    let with = |change: fn(&mut BlockDevice)| {
        let mut sdb = disk("sdb");
        change(&mut sdb);
        disks(vec![sdb])
    };
    for when in [When::Allocate, When::Start] {
        assert!(refusals(&rules, unit, &before, when).is_empty());
        assert_eq!(refusals(&rules, unit, &disks(Vec::new()), when), ["sdb: vanished"]);
        let other = with(|it| it.wwid = Some("naa.other".into()));
        let expected = ["sdb: another device is at its place: its wwid is naa.other, was naa.sdb"];
        assert_eq!(refusals(&rules, unit, &other, when), expected);
        for other in [with(|it| it.diskseq = Some(7)), with(|it| it.number.minor = 1)] {
            assert_eq!(refusals(&rules, unit, &other, when).len(), 1);
        }
        assert!(
            refusals(&rules, unit, &with(|it| it.diskseq = None), when).is_empty(),
            "what is not known cannot differ"
        );
    }
    assert!(refuse(&rules, unit, &disks(Vec::new()), When::Allocate)[0].may_pass());
}

#[test]
fn a_disk_that_was_mounted_a_moment_ago_is_refused_to_a_new_pod_and_not_to_the_one_that_has_it() {
    let rules = one(any_disk());
    let unit = &units(&rules, &disks(vec![disk("sdb")]))[0];
    let sdb = disk("sdb");
    let mounts = Seen::Known(vec![mount(sdb.number, "/dev/sdb", "/srv")]);
    let mounted = Picture { mounts, ..disks(vec![sdb]) };
    assert_eq!(refusals(&rules, unit, &mounted, When::Allocate), ["sdb: mounted at /srv (ext4)"]);
    assert!(refusals(&rules, unit, &mounted, When::Start).is_empty());
}

#[test]
fn another_stick_in_the_same_port_is_refused() {
    let rules = one(usb(UsbRule { child: Some(Child::Tty), ..UsbRule::default() }));
    let plugged = |device, serial| Picture {
        usb: vec![stick("1-1", device, Some(serial))],
        nodes: vec![child(Child::Tty, "ttyUSB0", 0, "1-1", 0)],
        ..Picture::default()
    };
    let unit = &units(&rules, &plugged(4, "A"))[0];
    assert!(refusals(&rules, unit, &plugged(9, "A"), When::Allocate).is_empty(), "the same one, plugged again");
    let expected = ["ttyUSB0: another device is at its place: its serial is B, was A"];
    assert_eq!(refusals(&rules, unit, &plugged(9, "B"), When::Start), expected);
}

#[test]
fn a_stick_that_was_plugged_again_is_not_given_by_the_node_that_it_had() {
    let rules = one(usb(UsbRule::default()));
    let plugged = |device, serial| Picture { usb: vec![stick("1-1", device, serial)], ..Picture::default() };
    for serial in [Some("A"), None] {
        let unit = &units(&rules, &plugged(4, serial))[0];
        assert!(refusals(&rules, unit, &plugged(4, serial), When::Allocate).is_empty());
        let refused = refuse(&rules, unit, &plugged(9, serial), When::Allocate);
        assert!(!refused.is_empty() && refused.iter().all(Refusal::may_pass), "{refused:?}");
    }
    let unit = &units(&rules, &plugged(4, Some("A")))[0];
    let refused = refuse(&rules, unit, &plugged(9, Some("B")), When::Allocate);
    assert!(!refused.iter().all(Refusal::may_pass), "{refused:?}");
}

#[test]
fn a_stick_with_a_serial_number_in_the_port_of_one_without_is_refused_unless_it_was_only_read_late() {
    let rules = one(usb(UsbRule { child: Some(Child::Tty), ..UsbRule::default() }));
    let plugged = |device, serial| Picture {
        usb: vec![stick("1-1", device, serial)],
        nodes: vec![child(Child::Tty, "ttyUSB0", 0, "1-1", 0)],
        ..Picture::default()
    };
    let unit = &units(&rules, &plugged(4, None))[0];
    assert!(refusals(&rules, unit, &plugged(4, Some("A")), When::Allocate).is_empty(), "read late");
    assert!(refusals(&rules, unit, &plugged(9, None), When::Allocate).is_empty(), "as far as anybody can tell");
    let expected = ["ttyUSB0: another device is at its place: its serial is A, was none"];
    assert_eq!(refusals(&rules, unit, &plugged(9, Some("A")), When::Allocate), expected);
}

#[test]
fn a_path_is_whatever_is_there_of_its_sort() {
    let rules = one(paths(&["/dev/a"]));
    let at = |kind| {
        let found = PathMatch { path: "/dev/a".into(), resolved: "/dev/a".into(), kind };
        Picture { found: [(PathPattern::Glob("/dev/a".into()), vec![found])].into(), ..Picture::default() }
    };
    let number = |minor| crate::values::number(1, minor);
    let unit = &units(&rules, &at(NodeKind::Character(number(3))))[0];
    assert!(refusals(&rules, unit, &at(NodeKind::Character(number(5))), When::Allocate).is_empty());
    assert_eq!(refusals(&rules, unit, &at(NodeKind::Nothing), When::Allocate), ["/dev/a: vanished"]);
    let expected = ["/dev/a: another device is at its place: it is a directory, was a character device"];
    assert_eq!(refusals(&rules, unit, &at(NodeKind::Directory), When::Allocate), expected);
}

#[test]
fn a_container_gets_node_size_serial_and_id() {
    let mut sdb = disk("sdb");
    sdb.serial = Some("S{id}1".into());
    let templates = [("DISK".to_owned(), "{path}={serial}".to_owned())].into();
    let mounts =
        vec![MountTemplate { host_path: "/etc/{id}".into(), container_path: "/etc/disk".into(), read_only: true }];
    let resource = Resource { env: templates, mounts, ..Resource::new("a.b/c", vec![any_disk()]) };
    let rules = rules(vec![resource]);
    let unit = units(&rules, &disks(vec![sdb])).remove(0);
    let given = answer(&rules.resources[0], &[&unit]);
    let name = unit.id.to_uppercase();
    let expected: BTreeMap<String, String> = [
        ("DISK".to_owned(), "/dev/sdb=S{id}1".to_owned()),
        (format!("OUTRIGGER_DEVICE_{name}_RESOURCE"), "a.b/c".to_owned()),
        (format!("OUTRIGGER_DEVICE_{name}_ID"), unit.id.to_string()),
        (format!("OUTRIGGER_DEVICE_{name}_PATH"), "/dev/sdb".to_owned()),
        (format!("OUTRIGGER_DEVICE_{name}_SERIAL"), "S{id}1".to_owned()),
        (format!("OUTRIGGER_DEVICE_{name}_SIZE"), (4_u64 << 30).to_string()),
    ]
    .into();
    assert_eq!(given.env, expected);
    let node = given.nodes.first().unwrap();
    assert_eq!((&*node.host_path, &*node.container_path, &*node.permissions), ("/dev/sdb", "/dev/sdb", "rwm"));
    assert_eq!(given.mounts.first().unwrap().host_path, format!("/etc/{}", unit.id));
}

#[test]
fn generic_device_plugin_tells_a_container_nothing_and_neither_do_we_for_its_files() {
    let picture = Picture { found: [found("/dev/a", &[("/dev/a", 0)])].into(), ..Picture::default() };
    let gdp = rules(vec![Resource { dialect: Dialect::Gdp, ..Resource::new("a.b/c", vec![paths(&["/dev/a"])]) }]);
    let unit = units(&gdp, &picture).remove(0);
    assert!(answer(&gdp.resources[0], &[&unit]).env.is_empty());
}

#[test]
fn the_answer_to_two_is_the_union_of_the_answers_to_each_in_any_order() {
    let rules = one(Group { mount_path: Some("/dev/disks/".into()), ..any_disk() });
    let all = units(&rules, &disks(vec![disk("sdb"), disk("sdc")]));
    let of = |units: &[&Unit]| answer(&rules.resources[0], units);
    let (one, other) = (of(&[&all[0]]), of(&[&all[1]]));
    let both = of(&[&all[1], &all[0]]);
    assert_eq!(both, of(&[&all[0], &all[1]]));
    assert_eq!(both.nodes, one.nodes.union(&other.nodes).cloned().collect());
    assert_eq!(both.env, one.env.into_iter().chain(other.env).collect());
}

#[test]
fn values_of_several_slots_stand_in_one_variable() {
    let values = ["b", "a"].map(str::to_owned).to_vec();
    let slots = one(group(Select::Counted(CountedRule::Values { values, env: Some("SLOT_ID".into()) })));
    let all = units(&slots, &Picture::default());
    let given = answer(&slots.resources[0], &[&all[0], &all[1]]);
    let mut told: Vec<&str> = given.env["SLOT_ID"].split(',').collect();
    told.sort_unstable();
    assert_eq!(told, ["a", "b"]);
}

/// Tried with units in the order in which they are asked for.
#[test]
fn values_of_several_units_stand_in_the_order_of_their_ids_and_an_index_counts_the_units_of_one_device() {
    let values = ["d", "c", "b", "a"].map(str::to_owned).to_vec();
    let select = Select::Counted(CountedRule::Values { values, env: Some("SLOT_ID".into()) });
    let mut slots = one(Group { count: 2, ..group(select) });
    slots.resources[0].env = [("WHICH".to_owned(), "{id}={index}".to_owned())].into();
    let mut all = units(&slots, &Picture::default());
    assert_eq!(all.len(), 8);
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let by_id: Vec<String> =
        all.iter().map(|unit| format!("{}={}", unit.id, unit.id.rsplit_once('-').unwrap().1)).collect();
    all.reverse();
    let given = answer(&slots.resources[0], &all.iter().collect::<Vec<_>>());
    assert_eq!(given.env["WHICH"], by_id.join(","));
    let mut slots: Vec<&str> = by_id.iter().map(|text| text.split('-').next().unwrap()).collect();
    slots.dedup();
    let value = |id: &&str| all.iter().find(|unit| unit.id.starts_with(*id)).unwrap().body.parts[0].name.clone();
    assert_eq!(given.env["SLOT_ID"], slots.iter().map(value).collect::<Vec<_>>().join(","));
}

/// The disks of these world-wide ids, each at its node.
fn disks_at(places: &[(&str, &str)]) -> Picture {
    let at = |&(name, wwid): &(&str, &str)| BlockDevice { wwid: Some(format!("naa.{wwid}")), ..disk(name) };
    disks(places.iter().map(at).collect())
}

/// By their places: what was given at `before`, lost at `now`, as node and the unit that moved, by its name now.
fn lost(resource: &Resource, before: &[(&str, &str)], now: &[(&str, &str)]) -> Option<(String, String)> {
    let rules = rules(vec![resource.clone()]);
    let (given, all) = (units(&rules, &disks_at(before)), units(&rules, &disks_at(now)));
    let answer = answer(resource, &given.iter().collect::<Vec<_>>());
    let is_given = |unit: &&Unit| given.iter().any(|given| given.id == unit.id);
    let (unit, node) = answer.lost(&all.iter().filter(is_given).collect::<Vec<_>>())?;
    Some((node.to_owned(), unit.name()))
}

/// Tried with a comparison of all nodes together alone, and with one by variables alone.
#[test]
fn what_an_answer_of_before_gave_is_lost_when_its_unit_is_elsewhere() {
    let ours = Resource::new("a.b/c", vec![any_disk()]);
    let gdp = Resource { dialect: Dialect::Gdp, ..ours.clone() };
    let one = [("sdb", "one"), ("sdc", "two")];
    for resource in [&ours, &gdp] {
        assert_eq!(lost(resource, &one, &one), None);
        assert_eq!(lost(resource, &one, &[("sdb", "one"), ("sdc", "two"), ("sdd", "three")]), None);
        let moved = Some(("/dev/sdc".to_owned(), "sdd".to_owned()));
        assert_eq!(lost(resource, &one, &[("sdb", "one"), ("sdd", "two")]), moved);
        let stranger = [("sdb", "one"), ("sdc", "three"), ("sdd", "two")];
        assert_eq!(lost(resource, &one, &stranger), moved, "another has its node");
    }
    let swapped = [("sdb", "two"), ("sdc", "one")];
    assert!(lost(&ours, &one, &swapped).is_some(), "the container was told which is which");
    assert_eq!(lost(&gdp, &one, &swapped), None, "it has the same two");
}

#[test]
fn a_node_of_an_answer_is_its_units_wherever_the_container_sees_it() {
    let before = Resource::new("a.b/c", vec![Group { mount_path: Some("/dev/disks/".into()), ..any_disk() }]);
    let one = [("sdb", "one"), ("sdc", "two")];
    assert_eq!(lost(&before, &one, &one), None);
    assert!(lost(&before, &one, &[("sdb", "two"), ("sdc", "one")]).is_some());
}
