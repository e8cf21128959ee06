//! What more than one rule matches, what others have, what does not fit.

use outrigger_device_core::decide::{Status, wire_size};
use outrigger_device_core::picture::Picture;
use outrigger_device_core::rules::{CountedRule, Dialect, Group, IdScheme, PathRule, Resource, Rules, Select, UsbRule};

use crate::values::{
    Host, any_disk, child, disk, disks, first, found, group, ids, offered, one, paths, rules, stick, told, usb, why,
};

fn two(share: [bool; 2], dialect: Dialect) -> outrigger_device_core::rules::Rules {
    let resource =
        |(name, share): (&str, bool)| Resource { share, dialect, ..Resource::new(name, vec![paths(&["/dev/a*"])]) };
    rules(["x.y/first", "x.y/second"].into_iter().zip(share).map(resource).collect())
}

fn one_path() -> Picture {
    Picture { found: [found("/dev/a*", &[("/dev/a0", 0)])].into(), ..Picture::default() }
}

#[test]
fn the_earlier_resource_has_what_two_match_unless_both_share() {
    for (share, count) in [([false, false], 1), ([true, false], 1), ([false, true], 1), ([true, true], 2)] {
        let decision = first(&two(share, Dialect::Own), &one_path());
        assert_eq!(offered(&decision).len(), count, "{share:?}");
        assert_eq!(told(&decision, "x.y/first").len(), 1);
    }
    let decision = first(&two([false, false], Dialect::Own), &one_path());
    assert_eq!(why(&decision, "/dev/a0"), "offered | withheld: also matched by x.y/first");
}

/// Two paths in one group: their combinations change as matches come and go.
fn pairs(lights: &[(&str, u32)]) -> (Group, Picture) {
    let ports = found("/dev/port*", &[("/dev/port0", 10), ("/dev/port1", 11)]);
    let light = PathRule::new("/dev/light*");
    let picture = Picture { found: [ports, found("/dev/light*", lights)].into(), ..Picture::default() };
    (group(Select::Paths(vec![PathRule::new("/dev/port*"), light])), picture)
}

#[test]
fn g05_what_a_pod_has_is_not_given_again_in_another_combination() {
    for scheme in [IdScheme::Short, IdScheme::Gdp] {
        let mut host = Host::default();
        let (group, both) = pairs(&[("/dev/light0", 0), ("/dev/light1", 1)]);
        let rules = Rules { ids: scheme, ..one(group) };
        let id = ids(&host.decide(&rules, &both))["/dev/port1, /dev/light1"].clone();
        host.claim("a.b/c", &id);
        let decision = host.decide(&rules, &pairs(&[("/dev/light1", 1)]).1);
        assert_eq!(
            why(&decision, "/dev/port0, /dev/light1"),
            "withheld: in use elsewhere: default/pod/container",
            "{scheme:?}"
        );
        assert!(told(&decision, "a.b/c").iter().all(|(_, status)| *status == Status::Vanished), "{decision:#?}");
        host.claims.held.clear();
        assert_eq!(offered(&host.decide(&rules, &pairs(&[("/dev/light1", 1)]).1)), ["/dev/port0, /dev/light1"]);
    }
}

#[test]
fn g05_an_id_stays_while_an_optional_path_comes_and_goes() {
    let light = |path: &str| PathRule { optional: true, ..PathRule::new(path) };
    let seen = |glob: &str, lights: &[(&str, u32)]| Picture {
        found: [found("/dev/port*", &[("/dev/port0", 10)]), found(glob, lights)].into(),
        ..Picture::default()
    };
    // A light that is one of several may come to stand beside another port: then the id must tell it.
    for (glob, stays) in [("/dev/light", true), ("/dev/ligh*", false)] {
        let mut host = Host::default();
        let rules = one(group(Select::Paths(vec![PathRule::new("/dev/port*"), light(glob)])));
        let before = ids(&host.decide(&rules, &seen(glob, &[])));
        let after = ids(&host.decide(&rules, &seen(glob, &[("/dev/light", 0)])));
        assert_eq!(before["/dev/port0"] == after["/dev/port0, /dev/light"], stays, "{glob}");
    }
}

#[test]
fn resources_of_generic_device_plugin_may_overlap_as_its_own_manifest_does() {
    assert_eq!(offered(&first(&two([false, false], Dialect::Gdp), &one_path())).len(), 2);
}

#[test]
fn what_a_pod_has_stays_with_its_resource_when_the_rules_are_turned_around() {
    let mut host = Host::default();
    let rules = two([false, false], Dialect::Own);
    let id = ids(&host.decide(&rules, &one_path()))["/dev/a0"].clone();
    host.claim("x.y/first", &id);
    let mut turned = rules;
    turned.resources.reverse();
    let decision = host.decide(&turned, &one_path());
    assert_eq!(told(&decision, "x.y/first"), [("/dev/a0".to_owned(), Status::Offered)]);
    assert!(told(&decision, "x.y/second").is_empty());
}

#[test]
fn what_a_pod_has_is_not_given_under_another_name_until_it_is_given_back() {
    let named = |name: &str, share| rules(vec![Resource { share, ..Resource::new(name, vec![paths(&["/dev/a*"])]) }]);
    let mut host = Host::default();
    let id = ids(&host.decide(&named("x.y/first", false), &one_path()))["/dev/a0"].clone();
    host.claim("x.y/first", &id);
    let started_again = Host { claims: host.claims.clone(), ..Host::default() };
    for mut host in [host, started_again] {
        let decision = host.decide(&named("x.y/second", false), &one_path());
        assert!(offered(&decision).is_empty());
        assert_eq!(why(&decision, "/dev/a0"), "withheld: in use elsewhere: default/pod/container");
        assert_eq!(offered(&host.decide(&named("x.y/second", true), &one_path())), ["/dev/a0"], "it may be shared");
        host.claims.held.clear();
        assert_eq!(offered(&host.decide(&named("x.y/second", false), &one_path())), ["/dev/a0"]);
    }
}

#[test]
fn a_claim_from_before_the_count_was_changed_takes_one_of_the_replicas() {
    let counted = |count| one(Group { count, ..paths(&["/dev/a*"]) });
    for (before, now, left) in [(1, 2, 1), (1, 3, 2), (2, 1, 0), (2, 2, 2)] {
        let mut host = Host::default();
        let decision = host.decide(&counted(before), &one_path());
        host.claim("a.b/c", &decision.lists[0].listed[0].unit.id);
        let decision = host.decide(&counted(now), &one_path());
        assert_eq!(offered(&decision).len(), left, "{before} to {now}");
    }
}

#[test]
fn a_claim_on_a_slot_takes_none_of_another_resource_and_stays_with_its_own() {
    let slots = |name: &str, count, group| {
        let rule = CountedRule::Count { count, env: None };
        Resource::new(name, vec![Group { count: group, ..Group::new(Select::Counted(rule)) }])
    };
    let mut host = Host::default();
    let both = rules(vec![slots("x.y/first", 2, 1), slots("x.y/second", 2, 1)]);
    let id = host.decide(&both, &Picture::default()).lists[0].listed[0].unit.id.clone();
    host.claim("x.y/first", &id);
    let left = host.decide(&rules(vec![slots("x.y/second", 2, 1)]), &Picture::default());
    assert_eq!(offered(&left), ["0", "1"], "the other resource is gone, and its slots with it");
    let doubled = host.decide(&rules(vec![slots("x.y/first", 2, 2)]), &Picture::default());
    assert_eq!(offered(&doubled).len(), 3, "one of four is the pod's");
}

#[test]
fn a_usb_device_and_its_children_are_not_handed_out_twice_but_two_children_may_be() {
    let picture = Picture {
        usb: vec![stick("1-2", 4, None)],
        nodes: vec![
            child(outrigger_device_core::rules::Child::Tty, "ttyUSB0", 0, "1-2", 0),
            child(outrigger_device_core::rules::Child::Tty, "ttyUSB1", 1, "1-2", 1),
        ],
        ..Picture::default()
    };
    let whole = || usb(UsbRule::default());
    let tty = |interface| {
        let child = Some(outrigger_device_core::rules::Child::Tty);
        usb(UsbRule { child, interface: Some(interface), ..UsbRule::default() })
    };
    let offered_by = |groups: Vec<Group>| {
        let named = groups.into_iter().enumerate();
        let resources = named.map(|(number, group)| Resource::new(format!("x.y/r{number}"), vec![group])).collect();
        offered(&first(&rules(resources), &picture))
    };
    assert_eq!(offered_by(vec![whole(), tty(0)]), ["1-2"]);
    assert_eq!(offered_by(vec![tty(0), whole()]), ["ttyUSB0"]);
    assert_eq!(offered_by(vec![tty(0), tty(1)]), ["ttyUSB0", "ttyUSB1"]);
}

#[test]
fn a_disk_is_not_handed_out_whole_and_by_its_path() {
    let mut picture = disks(vec![disk("sdb")]);
    let number = picture.block[0].number;
    let (pattern, mut matches) = found("/dev/sdb", &[("/dev/sdb", 0)]);
    matches[0].kind = outrigger_device_core::picture::NodeKind::Block(number);
    picture.found = [(pattern, matches)].into();
    let both =
        rules(vec![Resource::new("x.y/disk", vec![any_disk()]), Resource::new("x.y/path", vec![paths(&["/dev/sdb"])])]);
    let decision = first(&both, &picture);
    assert_eq!(told(&decision, "x.y/disk").len() + told(&decision, "x.y/path").len(), 1);
}

#[test]
fn of_two_devices_with_one_identity_the_first_keeps_the_id() {
    let mut host = Host::default();
    let mut twin = disk("sda");
    twin.wwid.clone_from(&disk("sdb").wwid);
    let rules = one(any_disk());
    let alone = host.decide(&rules, &disks(vec![disk("sdb")]));
    let both = host.decide(&rules, &disks(vec![twin, disk("sdb")]));
    assert_eq!(offered(&both), ["sdb"]);
    assert_eq!(why(&both, "sda"), "withheld: duplicate id: sdb has the same");
    assert_eq!(ids(&alone), ids(&both));
}

#[test]
fn what_another_door_has_is_withheld_replica_by_replica() {
    let mut host = Host::default();
    let rules = one(Group { count: 2, ..any_disk() });
    let picture = disks(vec![disk("sdb")]);
    let listed = host.decide(&rules, &picture);
    let unit = &listed.lists[0].listed[1].unit;
    let lock = unit.locks().find(|lock| !unit.shares(lock)).unwrap();
    host.claims.elsewhere.insert(lock, "pod default/a".to_owned());
    let decision = host.decide(&rules, &picture);
    assert_eq!(offered(&decision).len(), 1);
    assert!(why(&decision, "sdb").contains("withheld: in use elsewhere: pod default/a"), "{}", why(&decision, "sdb"));
}

#[test]
fn a_list_that_a_kubelet_would_refuse_is_cut_and_what_was_listed_stays() {
    let mut host = Host::default();
    let slots = |count| one(group(Select::Counted(CountedRule::Count { count, env: None })));
    let before = host.decide(&slots(10), &Picture::default());
    let decision = host.decide(&slots(170_000), &Picture::default());
    let listed = &decision.lists[0].listed;
    let bytes: usize = listed.iter().map(|listed| wire_size(listed.unit.id.len(), &[])).sum();
    assert!(bytes <= 4 << 20 && bytes > (4 << 20) - 100, "{bytes}");
    assert!(listed.windows(2).all(|pair| pair[0].unit.id < pair[1].unit.id));
    let kept = ids(&decision);
    assert!(ids(&before).iter().all(|(name, id)| kept.get(name) == Some(id)));
    assert!(why(&decision, "169999").contains("list full") || kept.contains_key("169999"));
}
