//! What a look at each machine finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::fs;

use outrigger_host::devices::{BlockDevice, Class, ClassNode, Devices, Roots, Scope, Seen, Transport, look};
use outrigger_host_tree::{HostTree, TREES};

fn seen(name: &str) -> Devices {
    let tree = HostTree::named(name);
    look(&Roots::below(tree.root()), &Scope::All)
}

fn disk<'d>(devices: &'d Devices, name: &str) -> &'d BlockDevice {
    devices.block.iter().find(|disk| disk.name == name).unwrap_or_else(|| panic!("no {name}: {devices:?}"))
}

fn node<'d>(devices: &'d Devices, name: &str) -> &'d ClassNode {
    devices.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no {name}: {devices:?}"))
}

#[test]
fn every_tree_says_what_it_was_modeled_on() {
    for (name, text) in TREES {
        assert!(text.starts_with("# ") && text.lines().next().unwrap().len() > 30, "{name}");
        HostTree::named(name);
    }
}

#[test]
fn disks_are_told_by_how_they_are_attached() {
    for (tree, name, transport) in [
        ("sata", "sda", Transport::Sata),
        ("sata", "sr0", Transport::Other),
        ("sas", "sdaa", Transport::Sas),
        ("nvme", "nvme0n2", Transport::Nvme),
        ("virtio", "vda", Transport::Virtio),
        ("virtio", "loop0", Transport::Loop),
        ("usb-stick", "sdc", Transport::Usb),
        ("remote-disks", "sdd", Transport::Iscsi),
        ("remote-disks", "sde", Transport::FibreChannel),
        ("multipath", "dm-0", Transport::DeviceMapper),
        ("md", "md0", Transport::Md),
    ] {
        assert_eq!(disk(&seen(tree), name).transport, transport, "{tree} {name}");
    }
}

#[test]
fn a_system_disk_shows_its_partitions_and_mounts() {
    let devices = seen("sata");
    let sda = disk(&devices, "sda");
    let partitions: Vec<&str> = sda.partitions.iter().map(|partition| partition.node.as_str()).collect();
    assert_eq!(partitions, ["/dev/sda1", "/dev/sda2"]);
    let second = &sda.partitions[1];
    assert_eq!(second.usage.kernel_file_system.as_deref(), Some("ext4"));
    assert_eq!(second.usage.signature, Seen::Known(Some("ext4".into())));
    let Seen::Known(mounts) = &devices.mounts else { panic!("{:?}", devices.mounts) };
    assert!(mounts.iter().any(|mount| mount.number == second.number && mount.target == "/"));
    assert!(devices.skipped.is_empty(), "{:?}", devices.skipped);
}

#[test]
fn a_free_disk_shows_what_it_is() {
    let devices = seen("sata");
    let sdb = disk(&devices, "sdb");
    assert!(sdb.partitions.is_empty() && sdb.holders.is_empty());
    assert_eq!((&*sdb.model, &*sdb.vendor), ("WDC WD40EFRX-68N", "ATA"));
    assert_eq!(sdb.serial.as_deref(), Some("WD-WCC4E0000002"), "of the page that the disk answers");
    assert_eq!(sdb.wwid.as_deref(), Some("naa.50014ee20c0ffee2"));
    assert_eq!(sdb.by_id, ["ata-WDC_WD40EFRX-68N_WD-WCC4E0000002"]);
    assert_eq!((sdb.size, sdb.diskseq, sdb.state.as_deref()), (4_000_787_030_016, Some(2), Some("running")));
    assert_eq!(sdb.controller, "0000:00:17.0");
    assert_eq!(sdb.usage.signature, Seen::Known(None), "udev has found nothing on it");
    assert!(sdb.rotational && !sdb.read_only && !sdb.removable);
}

#[test]
fn evidence_that_is_not_there_is_missing_and_not_empty() {
    let tree = HostTree::named("sas");
    fs::remove_file(tree.path("proc/1/mountinfo")).unwrap();
    fs::remove_file(tree.path("proc/swaps")).unwrap();
    let devices = look(&Roots::below(tree.root()), &Scope::All);
    assert!(matches!(devices.mounts, Seen::Missing(_)) && matches!(devices.swaps, Seen::Missing(_)));
    let signature = &disk(&devices, "sdaa").usage.signature;
    assert_eq!(*signature, Seen::Missing("there is no /run/udev/data".into()));
}

#[test]
fn what_is_stacked_is_told_in_both_directions() {
    let lvm = seen("lvm");
    assert_eq!(disk(&lvm, "sda").partitions[0].holders, ["dm-0"]);
    assert_eq!(disk(&lvm, "sdb").holders, ["dm-0"]);
    assert_eq!(disk(&lvm, "dm-0").slaves, ["sda3", "sdb"]);
    let paths = seen("multipath");
    assert_eq!(disk(&paths, "sde").wwid, disk(&paths, "sdf").wwid);
    assert_eq!(disk(&paths, "dm-0").wwid.as_deref(), Some("mpath-3624a9370a1b2c3d4e5f6071800011010"));
    let md = seen("md");
    assert_eq!(disk(&md, "sda").holders, ["md0"]);
    let Seen::Known(mounts) = &md.mounts else { panic!("{:?}", md.mounts) };
    assert_eq!(mounts[0].target, "/srv/my data");
}

#[test]
fn the_numa_node_is_that_of_the_nearest_ancestor_and_of_all_parts() {
    let devices = seen("two-sockets");
    let numa = |name: &str| disk(&devices, name).numa.clone();
    assert_eq!((numa("sda"), numa("nvme0n1"), numa("md0")), (vec![0], vec![1], vec![0, 1]));
    assert!(devices.usb[0].numa.is_empty(), "-1 is none");
    assert_eq!(disk(&seen("lvm"), "dm-0").numa, [0], "through a partition");
}

#[test]
fn namespaces_of_one_drive_are_told_apart() {
    let devices = seen("nvme");
    let (one, two) = (disk(&devices, "nvme0n1"), disk(&devices, "nvme0n2"));
    assert_ne!(one.position, two.position);
    assert_ne!(one.wwid, two.wwid);
    assert_eq!((one.serial.as_deref(), &*one.model), (Some("S64HNE0R000001"), "SAMSUNG MZQL23T8HCLS-00A07"));
    assert_eq!((one.state.as_deref(), one.controller.as_str()), (Some("live"), "0000:5e:00.0"));
}

#[test]
fn serial_ports_know_their_usb_device_and_ports_without_hardware_are_not_there() {
    let devices = seen("serial-twins");
    let known: Vec<(&str, Option<&str>)> =
        devices.usb.iter().map(|usb| (usb.name.as_str(), usb.serial.as_deref())).collect();
    let twin = Some("A50285BI");
    assert_eq!(known, [("1-4.1", None), ("1-4.2", None), ("1-4.3", twin), ("1-4.4", twin)]);
    let port = node(&devices, "ttyUSB3");
    assert_eq!((port.class, port.usb.as_deref(), port.interface), (Class::Tty, Some("1-4.4"), Some(0)));
    assert_eq!(port.by_id, ["usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"]);
    let present: Vec<&str> =
        ["ttyS0", "ttyS1", "tty1"].into_iter().filter(|name| node(&devices, name).is_present).collect();
    assert_eq!(present, ["ttyS0"]);
}

#[test]
fn children_are_told_with_their_interface_and_index() {
    let radio = seen("composite-radio");
    assert_eq!(node(&radio, "ttyACM1").interface, Some(2));
    assert_eq!((node(&radio, "hidraw0").class, node(&radio, "hidraw0").interface), (Class::Hidraw, Some(4)));
    assert_eq!(radio.usb[0].interfaces, [(0, 2), (2, 2), (4, 3)]);
    let camera = seen("camera");
    let indexes = ["video0", "video1", "video2", "video3"].map(|name| node(&camera, name).index.unwrap());
    assert_eq!(indexes, [0, 1, 0, 1]);
    let microphone = node(&camera, "pcmC1D0c");
    assert_eq!((&*microphone.node, microphone.usb.as_deref()), ("/dev/snd/pcmC1D0c", Some("1-5")));
    assert!(!camera.nodes.iter().any(|node| node.name == "card1"), "a card has no node");
}

#[test]
fn after_a_re_plug_the_port_is_the_same_and_all_numbers_are_others() {
    let (before, after) = (seen("hub-before"), seen("hub-after"));
    assert_eq!(before.usb[0].name, after.usb[0].name);
    assert_ne!(before.usb[0].node, after.usb[0].node);
    assert_eq!(node(&before, "ttyUSB0").usb, node(&after, "ttyUSB1").usb);
}

#[test]
fn oddities_are_survived_and_said() {
    let devices = seen("odd-names");
    let names: Vec<&str> = devices.block.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["cciss!c0d0", "dm-1"], "the volume vg-sdata is dm-1, and no path /dev/vg-sdata");
    assert_eq!(disk(&devices, "cciss!c0d0").node, "/dev/cciss/c0d0");
    let stick = &devices.usb[0];
    assert_eq!((devices.usb.len(), stick.serial.as_deref()), (1, Some("caf\u{fffd}\u{fffd}")));
    assert_eq!(stick.manufacturer.as_deref(), Some(" spaces stay "), "as the device tells it");
    let skipped: Vec<&str> =
        devices.skipped.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(skipped, ["loop", "out"], "{:?}", devices.skipped);
}

#[test]
fn twenty_thousand_disks_are_seen() {
    let tree = HostTree::of("");
    for number in 0..20_000 {
        let place = format!("sys/devices/virtual/block/zram{number}");
        tree.write(&format!("{place}/dev"), format!("252:{number}\n"));
        tree.write(&format!("{place}/size"), "8\n");
    }
    std::os::unix::fs::symlink("devices/virtual/block", tree.path("sys/block")).unwrap();
    let devices = look(&Roots::below(tree.root()), &Scope::All);
    assert_eq!(devices.block.len(), 20_000);
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let tree = HostTree::named("sata");
    let scope = Scope::Only { disks: vec!["sdb".into(), "gone".into()], usb: Vec::new(), nodes: Vec::new() };
    let devices = look(&Roots::below(tree.root()), &scope);
    let names: Vec<&str> = devices.block.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!((names, devices.usb.len(), devices.nodes.len()), (vec!["sdb"], 0, 0));
    assert!(matches!(devices.mounts, Seen::Known(mounts) if mounts.len() == 2));
}
