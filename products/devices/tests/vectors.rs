//! What the generic-device-plugin makes of its descriptions, unit by unit and id by id: the same descriptions under its name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

use std::fs;

use clap::Parser;
use outrigger_device_core::decide::{Claims, Decision};
use outrigger_device_core::unit::Give;
use outrigger_devices::gdp::command::{GdpArgs, load};
use outrigger_devices::inventory::Inventory;
use outrigger_devices::settings::Surroundings;

/// Decides over these files (a name that ends with `/` is a directory), for one group of a device.
fn decided(files: &[&str], group: &str) -> Decision {
    let machine = tempfile::tempdir().unwrap();
    for file in files {
        let path = machine.path().join(file.trim_start_matches('/'));
        fs::create_dir_all(if file.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !file.ends_with('/') {
            fs::write(path, "").unwrap();
        }
    }
    let root = machine.path().display().to_string();
    let environment = [("OUTRIGGER_DEVICES_HOST_ROOT".to_owned(), root)].into();
    let around = Surroundings { environment, ..Surroundings::default() };
    let device = format!("{{name: device, groups: [{group}]}}");
    let args = GdpArgs::parse_from(["generic-device-plugin", "--device", &device]);
    let read = load(&args, &around).unwrap_or_else(|faults| panic!("{group}: {faults}"));
    let (inventory, _) = Inventory::of(&read.configuration).unwrap_or_else(|faults| panic!("{group}: {faults}"));
    inventory.decide_once(&Claims::default()).1
}

fn ids(decision: &Decision) -> Vec<&str> {
    decision.lists[0].listed.iter().map(|listed| &*listed.unit.id).collect()
}

/// What the containers of the units get, by host and container path.
fn nodes(decision: &Decision) -> Vec<(String, String)> {
    let units = decision.lists[0].listed.iter().map(|listed| &listed.unit);
    let mut nodes: Vec<(String, String)> = units
        .flat_map(|unit| &unit.body.parts)
        .filter_map(|part| match &part.give {
            Give::Node { host_path, container_path, .. } | Give::Mount { host_path, container_path, .. } => {
                Some((host_path.clone(), container_path.clone()))
            }
            Give::Value { .. } => None,
        })
        .collect();
    nodes.sort();
    nodes
}

#[test]
fn units_and_ids_are_those_of_the_generic_device_plugin() {
    let usb = &["/dev/ttyUSB0", "/dev/ttyUSB1"][..];
    let video = &["/dev/video0", "/dev/video1", "/dev/video2", "/dev/snd/"][..];
    let pairs = &["/dev/a0", "/dev/a1", "/dev/a2", "/dev/a3", "/dev/a4", "/dev/b0", "/dev/b1"][..];
    for (number, files, group, count, some) in [
        (
            1,
            usb,
            "{paths: [{path: /dev/ttyUSB*}]}",
            2,
            &["244c4eb967dd5fcfdc3d774106a9b1a20992aa12", "3ad960f592ac6c2e3cf7bbaa81d0c0c01af40060"][..],
        ),
        (
            2,
            usb,
            "{count: 2, paths: [{path: /dev/ttyUSB*}]}",
            4,
            &["ec099ded7c33914c2c8146a7e7bff5b24eb166b8", "0ad30bcd3e8888d76755eb8084e2a6277442abb5"],
        ),
        (
            3,
            &["/dev/fuse"],
            "{count: 10, paths: [{path: /dev/fuse}]}",
            10,
            &["a68db766f638034740111848aafee2d2dcd6b642", "bd6ee27a4355ad16a10fab1ffbeb436b0d07000f"],
        ),
        (
            4,
            &["/dev/snd/controlC0", "/dev/snd/pcmC0D0c"],
            "{paths: [{path: /dev/snd/controlC0}, {path: /dev/snd/pcmC0D0c}]}",
            1,
            &["8e312365c4c43caed695c0e3bad2b52cb3dd6fa4"],
        ),
        (5, video, "{paths: [{path: /dev/video*}, {path: /dev/snd}]}", 1, &[]),
        (
            6,
            video,
            "{paths: [{path: /dev/video*}, {path: /dev/snd, limit: 10}]}",
            3,
            &["0e33bb60a6e4160ffdae8fde0394ec3563844f87"],
        ),
        (7, &["/dev/fuse"], "{paths: [{path: /dev/fuse, limit: 10}]}", 1, &[]),
        (8, &pairs[..4], "{paths: [{path: /dev/a*}]}", 4, &[]),
        (9, pairs, "{paths: [{path: /dev/a*}, {path: /dev/b*, limit: 2}]}", 4, &[]),
        (10, &["/dev/ttyS0"], "{paths: [{path: /dev/ttyS0}, {path: /dev/nothing}]}", 0, &[]),
        (
            11,
            &["/dev/ttyS0"],
            "{paths: [{path: /dev/ttyS0}, {path: /dev/nothing, optional: true}]}",
            1,
            &["aec998cdd92f8b6cafdc80889f24c8cd435500f5"],
        ),
        (12, &[], "{paths: [{path: /dev/nothing, optional: true}]}", 0, &[]),
        (14, usb, "{paths: [{path: /dev/ttyUSB*, mountPath: /dev/serial}]}", 2, &[]),
    ] {
        let decision = decided(files, group);
        let found = ids(&decision);
        assert_eq!(found.len(), count, "vector {number}: {:#?}", decision.findings);
        assert!(some.iter().all(|id| found.contains(id)), "vector {number}: {found:?}");
    }
}

/// What the generic-device-plugin makes the id of: a number, and the paths of the unit.
fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_ids_of_every_vector_are_the_digests_of_these_texts_and_there_are_no_others() {
    assert_eq!(digest("0/dev/ttyUSB0"), "244c4eb967dd5fcfdc3d774106a9b1a20992aa12", "as the reference has it");
    let usb = &["/dev/ttyUSB0", "/dev/ttyUSB1"][..];
    let video = &["/dev/video0", "/dev/video1", "/dev/video2", "/dev/snd/"][..];
    let pairs = &["/dev/a0", "/dev/a1", "/dev/a2", "/dev/a3", "/dev/b0", "/dev/b1"][..];
    let five = &["/dev/a0", "/dev/a1", "/dev/a2", "/dev/a3", "/dev/a4", "/dev/b0", "/dev/b1"][..];
    let four_pairs = "0/dev/a0/dev/b0 0/dev/a1/dev/b1 0/dev/a2/dev/b0 0/dev/a3/dev/b1";
    let fuses: Vec<String> = (0..10).map(|number| format!("{number}/dev/fuse")).collect();
    let ports = "0/dev/ttyUSB0 0/dev/ttyUSB1";
    for (vector, files, group, texts) in [
        (1, usb, "{paths: [{path: /dev/ttyUSB*}]}", ports),
        (2, usb, "{count: 2, paths: [{path: /dev/ttyUSB*}]}", &format!("{ports} 1/dev/ttyUSB0 1/dev/ttyUSB1")),
        (3, &["/dev/fuse"], "{count: 10, paths: [{path: /dev/fuse}]}", &fuses.join(" ")),
        (
            4,
            &["/dev/snd/controlC0", "/dev/snd/pcmC0D0c"],
            "{paths: [{path: /dev/snd/controlC0}, {path: /dev/snd/pcmC0D0c}]}",
            "0/dev/snd/controlC0/dev/snd/pcmC0D0c",
        ),
        (5, video, "{paths: [{path: /dev/video*}, {path: /dev/snd}]}", "0/dev/video0/dev/snd"),
        (
            6,
            video,
            "{paths: [{path: /dev/video*}, {path: /dev/snd, limit: 10}]}",
            "0/dev/video0/dev/snd 0/dev/video1/dev/snd 0/dev/video2/dev/snd",
        ),
        (7, &["/dev/fuse"], "{paths: [{path: /dev/fuse, limit: 10}]}", "0/dev/fuse"),
        (8, pairs, "{paths: [{path: /dev/a*}, {path: /dev/b*, limit: 3}]}", four_pairs),
        (9, five, "{paths: [{path: /dev/a*}, {path: /dev/b*, limit: 2}]}", four_pairs),
        (10, &["/dev/ttyS0"], "{paths: [{path: /dev/ttyS0}, {path: /dev/nothing}]}", ""),
        (11, &["/dev/ttyS0"], "{paths: [{path: /dev/ttyS0}, {path: /dev/nothing, optional: true}]}", "0/dev/ttyS0"),
        (12, &[], "{paths: [{path: /dev/nothing, optional: true}]}", ""),
        (13, &usb[..1], "{paths: [{path: /dev/ttyUSB*, mountPath: /dev/serial/}]}", "0/dev/ttyUSB0"),
        (14, usb, "{paths: [{path: /dev/ttyUSB*, mountPath: /dev/serial}]}", ports),
        (15, &["/opt/x/"], "{paths: [{path: /opt/x, type: Mount, readOnly: true}]}", "0/opt/x"),
    ] {
        let decision = decided(files, group);
        let mut expected: Vec<String> = texts.split_whitespace().map(digest).collect();
        expected.sort();
        assert_eq!(ids(&decision), expected, "vector {vector}, sorted");
    }
}

#[test]
fn permissions_are_those_of_the_generic_device_plugin() {
    for (group, permissions) in [
        ("{paths: [{path: /dev/fuse}]}", "mrw"),
        ("{paths: [{path: /dev/fuse, permissions: r}]}", "r"),
        ("{count: 2, paths: [{path: /dev/fuse, permissions: rw, limit: 3}]}", "rw"),
    ] {
        for listed in decided(&["/dev/fuse"], group).lists[0].listed.iter() {
            let Give::Node { permissions: given, .. } = &listed.unit.body.parts[0].give else { panic!("{listed:?}") };
            assert_eq!(given, permissions, "{group}");
        }
    }
}

#[test]
fn pairs_of_paths_are_those_of_the_generic_device_plugin() {
    let files = ["/dev/a0", "/dev/a1", "/dev/a2", "/dev/a3", "/dev/b0", "/dev/b1"];
    let decision = decided(&files, "{paths: [{path: /dev/a*}, {path: /dev/b*, limit: 3}]}");
    let mut pairs: Vec<Vec<String>> = Vec::new();
    for listed in decision.lists[0].listed.iter() {
        pairs.push(listed.unit.body.parts.iter().filter_map(|part| part.give.host_path().map(str::to_owned)).collect());
    }
    pairs.sort();
    assert_eq!(pairs, [["/dev/a0", "/dev/b0"], ["/dev/a1", "/dev/b1"], ["/dev/a2", "/dev/b0"], ["/dev/a3", "/dev/b1"]]);
}

#[test]
fn container_paths_and_mounts_are_those_of_the_generic_device_plugin() {
    for (files, group, expected) in [
        (
            &["/dev/ttyUSB0"][..],
            "{paths: [{path: /dev/ttyUSB*, mountPath: /dev/serial/}]}",
            &[("/dev/ttyUSB0", "/dev/serial/ttyUSB0")][..],
        ),
        (
            &["/dev/ttyUSB0", "/dev/ttyUSB1"],
            "{paths: [{path: /dev/ttyUSB*, mountPath: /dev/serial}]}",
            &[("/dev/ttyUSB0", "/dev/serial"), ("/dev/ttyUSB1", "/dev/serial")],
        ),
        (&["/opt/x/"], "{paths: [{path: /opt/x, type: Mount, readOnly: true}]}", &[("/opt/x", "/opt/x")]),
    ] {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(host, inside)| ((*host).to_owned(), (*inside).to_owned())).collect();
        assert_eq!(nodes(&decided(files, group)), expected, "{group}");
    }
}

#[test]
fn g08_wrong_patterns_paths_and_permissions_are_refused_at_the_start() {
    for path in ["dev/null", "/dev/[", ""] {
        let device = format!("{{name: device, groups: [{{paths: [{{path: '{path}'}}]}}]}}");
        let args = GdpArgs::parse_from(["generic-device-plugin", "--device", &device]);
        let read = load(&args, &Surroundings::default()).unwrap();
        assert!(Inventory::of(&read.configuration).is_err(), "{path}");
    }
    let device = "{name: device, groups: [{paths: [{path: /dev/null, permissions: rx}]}]}";
    let read = load(&GdpArgs::parse_from(["generic-device-plugin", "--device", device]), &Surroundings::default());
    assert!(Inventory::of(&read.unwrap().configuration).is_err());
}

#[test]
fn g07_long_resource_names_work() {
    let domain = "devices.platform.example-company.internal";
    let args = [
        "generic-device-plugin",
        "--domain",
        domain,
        "--device",
        "{name: serial, groups: [{paths: [{path: /dev/null}]}]}",
    ];
    let read = load(&GdpArgs::parse_from(args), &Surroundings::default()).unwrap();
    let (inventory, odd) = Inventory::of(&read.configuration).unwrap();
    assert_eq!(inventory.rules.resources[0].name, format!("{domain}/serial"));
    assert!(odd.is_empty(), "{odd}");
}

#[test]
fn g09_two_devices_of_one_name_are_refused_with_their_place() {
    let device = "{name: ab, groups: [{paths: [{path: /dev/null}]}]}";
    let args = GdpArgs::parse_from(["generic-device-plugin", "--device", device, "--device", device]);
    let read = load(&args, &Surroundings::default()).unwrap();
    let faults = Inventory::of(&read.configuration).unwrap_err().to_string();
    assert!(faults.starts_with("--device 2:1:8: name: "), "{faults}");
}

#[test]
fn its_own_manifest_overlaps_on_purpose_and_is_offered_whole() {
    let machine = tempfile::tempdir().unwrap();
    fs::create_dir_all(machine.path().join("dev/snd")).unwrap();
    for name in ["controlC0", "pcmC0D0c"] {
        fs::write(machine.path().join("dev/snd").join(name), "").unwrap();
    }
    let environment = [("OUTRIGGER_DEVICES_HOST_ROOT".to_owned(), machine.path().display().to_string())].into();
    let around = Surroundings { environment, ..Surroundings::default() };
    let audio = "name: audio\ngroups:\n  - count: 10\n    paths:\n      - path: /dev/snd\n";
    let capture =
        "name: capture\ngroups:\n  - paths:\n      - path: /dev/snd/controlC0\n      - path: /dev/snd/pcmC0D0c\n";
    let args = GdpArgs::parse_from(["generic-device-plugin", "--device", audio, "--device", capture]);
    let (inventory, _) = Inventory::of(&load(&args, &around).unwrap().configuration).unwrap();
    let decision = inventory.decide_once(&Claims::default()).1;
    let healthy = |at: usize| decision.lists[at].listed.iter().filter(|listed| listed.is_healthy()).count();
    assert_eq!((healthy(0), healthy(1)), (10, 1), "{:#?}", decision.findings);
}

#[test]
fn g04_g15_usb_matches_are_one_unit_whose_id_does_not_depend_on_chance() {
    let machine = tempfile::tempdir().unwrap();
    let plug = |port: &str, number: u32, serial: Option<&str>| {
        let device = machine.path().join("sys/bus/usb/devices").join(port);
        fs::create_dir_all(&device).unwrap();
        let number = number.to_string();
        for (name, text) in [("idVendor", "0403"), ("idProduct", "6001"), ("busnum", "1"), ("devnum", &number)] {
            fs::write(device.join(name), format!("{text}\n")).unwrap();
        }
        if let Some(serial) = serial {
            fs::write(device.join("serial"), format!("{serial}\n")).unwrap();
        }
    };
    let environment = [("OUTRIGGER_DEVICES_HOST_ROOT".to_owned(), machine.path().display().to_string())].into();
    let around = Surroundings { environment, ..Surroundings::default() };
    let decided = |usb: &str| {
        let device = format!("{{name: radio, groups: [{{count: 2, usb: [{usb}]}}]}}");
        let args = GdpArgs::parse_from(["generic-device-plugin", "--device", &device]);
        let (inventory, _) = Inventory::of(&load(&args, &around).unwrap().configuration).unwrap();
        inventory.decide_once(&Claims::default()).1
    };
    let all = "{vendor: 0403, product: 6001}";
    assert_eq!(ids(&decided(all)), Vec::<&str>::new());
    plug("1-1", 4, Some("00000001"));
    assert!(ids(&decided(all)).contains(&"2896e346db9677b8c2aa3f5b25a426ee4efeaa65"));
    plug("1-2", 5, None);
    let decision = decided(all);
    assert_eq!(decision.lists[0].listed.len(), 2, "all matches are one unit, twice");
    assert!(ids(&decision).contains(&"72e5a9b7640eb38e62b90083dd2224c509fa1d46"), "{:?}", ids(&decision));
    let decision = decided("{vendor: 0403, product: 6001, serial: 00000001}");
    let path = "/dev/bus/usb/001/004";
    assert_eq!(nodes(&decision)[0], (path.to_owned(), path.to_owned()));
    let give = &decision.lists[0].listed[0].unit.body.parts[0].give;
    assert!(matches!(give, Give::Node { permissions, .. } if permissions == "rw"), "{give:?}");
    assert_eq!(decision.lists[0].listed[0].unit.body.parts.len(), 1);
    assert_eq!(ids(&decided("{vendor: 1209, product: 6001}")), Vec::<&str>::new());
}
