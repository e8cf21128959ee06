//! What goes wrong around the node agent: another device at the same name, a list that is too large, a sysfs that cannot be
//! read. In doubt it refuses, and says why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use harness::{DISK, DISKS, Node, PATIENCE, machine, plug_disk, unplug_disk};
use outrigger_device_core::decide::{Claims, Decision, Input, State, decide};
use outrigger_device_core::rules::{BlockRule, Group, Resource, Rules, Select, Transport};
use outrigger_devices::survey::Survey;
use outrigger_host::devices::Roots;
use outrigger_host_tree::HostTree;
use outrigger_kubelet_api::device_plugin::PreStartContainerRequest;
use outrigger_kubelet_api::{Code, MAX_MESSAGE, Status};

async fn pre_start(node: &Node, resource: &str, id: &str) -> Result<(), Status> {
    let request = PreStartContainerRequest { device_ids: vec![id.to_owned()] };
    node.client(resource).await.pre_start_container(request).await.map(drop)
}

/// Puts another disk in the place of `sdc`.
type Exchange = fn(&HostTree);

/// Done means 7: nothing announces the exchange, so that only the last look before the answer can see it.
#[tokio::test]
async fn another_disk_at_the_same_name_is_refused_at_allocate_and_before_the_start() {
    // By what the kernel numbers for good, and by each thing that a disk is known by.
    let is_mute = DISKS.replace("every: 20ms", "every: 1h");
    let exchanged: [(&str, Exchange); 4] = [
        ("another wwid", |machine| machine.write("sys/block/sdc/device/wwid", "naa.other\n")),
        ("another number", |machine| machine.write("sys/block/sdc/dev", "8:64\n")),
        ("another incarnation", |machine| machine.write("sys/block/sdc/diskseq", "123\n")),
        ("pulled, and another plugged", |machine| {
            unplug_disk(machine, "sdc");
            plug_disk(machine, "sdc", "stranger");
        }),
    ];
    for (what, exchange) in exchanged {
        let machine = machine(&["sdc"]);
        let mut node = Node::new(&is_mute).await;
        node.start_with_audit(machine.root(), "1h");
        let ids = node.offered(DISK, 1).await;
        node.admit("a", DISK, 1).await.unwrap();
        node.kubelet.start_container("a", "app").await.unwrap();
        exchange(&machine);
        let refused = node.kubelet.start_container("a", "app").await.unwrap_err().to_string();
        assert!(
            refused.contains("another device is at its place") || refused.contains("vanished"),
            "{what}: {refused}"
        );
        let refused = pre_start(&node, DISK, &ids[0]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{what}: {refused}");
        let refused = node.allocate(DISK, &[&[&ids[0]]]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{what}: {refused}");
        assert!(refused.message().contains(&ids[0]) && refused.message().contains("sdc"), "{what}: {refused}");
        let refused = node.admit("b", DISK, 1).await.unwrap_err().to_string();
        assert!(refused.contains("unavailable") || refused.contains("cannot be given"), "{what}: {refused}");
    }
}

#[tokio::test]
async fn another_stick_in_the_same_port_is_refused() {
    let text = "devices: [{resource: example.com/radio, preStart: verify, \
                groups: [{usb: [{vendor: 0403, product: 6001, child: tty}]}]}]";
    let machine = HostTree::named("serial-twins");
    let stick = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.3";
    machine.write(&format!("{stick}/serial"), "MINE\n"); // Else it is one of two twins, which are known by their ports.
    let mut node = Node::new(text).await;
    node.start_with_audit(machine.root(), "1h");
    let radio = "example.com/radio";
    let ids = node.offered(radio, 2).await;
    for id in &ids {
        node.allocate(radio, &[&[id]]).await.unwrap();
    }
    machine.write(&format!("{stick}/serial"), "OTHER\n");
    machine.write(&format!("{stick}/devnum"), "99\n");
    let mut refusals = Vec::new();
    for id in &ids {
        refusals.extend(node.allocate(radio, &[&[id]]).await.err());
        refusals.extend(pre_start(&node, radio, id).await.err());
    }
    assert_eq!(refusals.len(), 2, "one of the two is another one: {refusals:?}");
    for refused in refusals {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(
            refused.message().contains("another device is at its place: its serial is OTHER, was MINE"),
            "{refused}"
        );
    }
}

/// The codes of refusals tell the kubelet's user what is the matter, and one bad id of several gives none of them.
#[tokio::test]
async fn ids_that_are_unhealthy_or_withheld_are_refused_and_several_containers_answered_each() {
    let machine = machine(&["sdc", "sdd", "sde"]);
    let mut node = Node::new(DISKS).await;
    node.start_at(machine.root());
    let ids = node.offered(DISK, 3).await;
    let [a, b, c] = &ids[..] else { panic!("{ids:?}") };
    let answers = node.allocate(DISK, &[&[b], &[c, a]]).await.unwrap().container_responses;
    assert_eq!(answers.iter().map(|answer| answer.devices.len()).collect::<Vec<_>>(), [1, 2]);
    let first: Vec<&str> = answers[0].devices.iter().map(|device| device.host_path.as_str()).collect();
    assert!(answers[1].devices.iter().all(|device| !first.contains(&device.host_path.as_str())));

    machine.write("sys/block/sdd/device/state", "offline\n");
    node.offered(DISK, 2).await;
    let view = node.kubelet.view();
    let ill = view.resources[DISK].devices.iter().find(|(_, device)| device.health != "Healthy").unwrap().0;
    for containers in [&[&[ill.as_str()][..]][..], &[&[a, ill]], &[&[a], &[ill]]] {
        let refused = node.allocate(DISK, containers).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(ill.as_str()) && refused.message().contains("offline"), "{refused}");
    }
    machine.write("sys/block/sdd/device/state", "running\n");
    node.offered(DISK, 3).await;
}

/// Done means 8: what no check can foresee, because it depends on what is there, is withheld, always the same, and told once.
#[tokio::test]
async fn what_does_not_fit_into_a_message_is_withheld_in_an_order_that_lasts() {
    // On the real machine, whose tables of mounts tell of changes: nothing is looked at by the clock.
    let mut node = Node::new("").await;
    let ports = node.path("host/dev");
    let text = format!(
        "devices: [{{name: many, groups: [{{count: 39000, paths: [{{path: '{}/port*'}}]}}]}}]",
        ports.display()
    );
    fs::write(&node.file, format!("ids: gdp\ndomain: v.io\n{text}")).unwrap();
    for port in ["port1", "port2"] {
        fs::write(ports.join(port), "").unwrap();
    }
    node.start_with_audit(Path::new("/"), "1h");
    let many = "v.io/many";
    let view = node.kubelet.until(|view| view.allocatable(many) > 0).await;
    let listed = view.resources[many].devices.clone();
    // Bytes of an id of 40 characters, at the worst: 55.
    assert_eq!(listed.len(), MAX_MESSAGE / 55, "of 78,000");
    // A name that comes before the others takes nobody's place.
    fs::write(ports.join("port0"), "").unwrap();
    fs::remove_file(ports.join("port2")).unwrap();
    let view = node.kubelet.until(|view| (1..39_001).contains(&view.allocatable(many))).await;
    let seen = &view.resources[many];
    assert!(seen.devices.keys().eq(listed.keys()), "what was listed stays, and what vanished is unhealthy for a while");
    assert!(seen.largest <= MAX_MESSAGE && seen.largest > MAX_MESSAGE / 55 * 53, "{} bytes", seen.largest);
    assert!(seen.last_end.is_none(), "{:?}", seen.last_end);
}

/// A rule for every disk, for what sysfs shows.
fn every_disk() -> Rules {
    let rule = BlockRule { transport: vec![Transport::Sata], ..BlockRule::default() };
    let resource = Resource::new("v.io/disk", vec![Group::new(Select::Block(rule))]);
    Rules { resources: vec![resource], ..Rules::default() }
}

fn decided(root: &Path) -> Decision {
    let rules = every_disk();
    let picture = Survey { roots: Roots::below(root) }.whole(&rules);
    let (claims, previous) = (Claims::default(), State::default());
    let input = Input {
        rules: &rules,
        picture: &picture,
        claims: &claims,
        previous: &previous,
        now: std::time::Duration::ZERO,
    };
    decide(input)
}

fn offered(decision: &Decision) -> Vec<String> {
    let listed = decision.lists.iter().flat_map(|list| list.listed.iter()).filter(|listed| listed.is_healthy());
    listed.map(|listed| listed.unit.name()).collect()
}

fn why(decision: &Decision, name: &str) -> String {
    let finding = decision.findings.iter().find(|finding| finding.name == name).unwrap();
    finding.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A file that answers every read with an input/output error: the memory of this process at the address 0.
const BROKEN: &str = "/proc/self/mem";

#[test]
fn a_disk_of_which_something_cannot_be_read_is_withheld_with_the_reason_and_the_others_offered() {
    let partition = "sys/block/sdc/sdc1\n  partition = 1\n  dev = 8:33\n  size = 8\n  ro = 0\n  holders\n";
    for (path, more, told) in [
        ("sys/block/sdc/ro", "", "ro: Input/output error"),
        ("sys/block/sdc/device/wwid", "", "device/wwid: Input/output error"),
        ("sys/block/sdc/size", "", "size: Input/output error"),
        ("sys/block/sdc/sdc1/dev", partition, "sdc1/dev: Input/output error"),
        ("sys/block/sdc/sdc1/ro", partition, "sdc1/ro: Input/output error"),
        ("sys/block/sdc/holders", "", "holders: Too many levels of symbolic links"),
        ("sys/block/sdc/sdc1/holders", partition, "sdc1/holders: Too many levels of symbolic links"),
    ] {
        let machine = machine(&["sdb", "sdc"]);
        machine.add(more);
        let at = machine.path(path);
        let is_directory = at.is_dir();
        if is_directory { fs::remove_dir(&at) } else { fs::remove_file(&at) }.unwrap();
        // A link to itself, or a file that cannot be read.
        symlink(if is_directory { at.as_path() } else { Path::new(BROKEN) }, &at).unwrap();
        let decision = decided(machine.root());
        assert_eq!(offered(&decision), ["sdb"], "{path}");
        assert!(
            why(&decision, "sdc").contains(&format!("cannot be read: {told}")),
            "{path}: {}",
            why(&decision, "sdc")
        );
    }
}

#[test]
fn a_disk_without_a_number_is_skipped_and_names_that_are_no_text_are_survived() {
    use std::os::unix::ffi::OsStrExt;
    let machine = machine(&["sdb", "sdc", "sdd"]);
    fs::remove_file(machine.path("sys/block/sdc/dev")).unwrap();
    symlink(BROKEN, machine.path("sys/block/sdc/dev")).unwrap();
    let strange = std::ffi::OsStr::from_bytes(b"sd\xff\xfe");
    symlink("../block/sdb", machine.path("sys/block").join(strange)).unwrap();
    symlink("circle", machine.path("sys/block/circle")).unwrap();
    machine.write("sys/block/sdd/device/model", b"\xff\xfe\xfd\n");
    assert_eq!(offered(&decided(machine.root())), ["sdb", "sdd"]);
}

/// While one thread pulls and plugs, another looks: no look fails, and what stays is seen by each.
#[test]
fn a_sysfs_that_vanishes_while_it_is_read_ends_no_look() {
    let machine = machine(&["sdb", "sdc"]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                unplug_disk(&machine, "sdc");
                plug_disk(&machine, "sdc", "sdc");
            }
        });
        let mut seen = [0; 2];
        let looks = if std::env::var_os("OUTRIGGER_SOAK").is_some() { 20_000 } else { 300 };
        let begun = Instant::now();
        // It may take more of them on a machine where the other thread has no turn.
        while seen.iter().sum::<u32>() < looks || (seen.contains(&0) && begun.elapsed() < PATIENCE) {
            let offered = offered(&decided(machine.root()));
            assert!(offered.contains(&"sdb".to_owned()), "{offered:?}");
            seen[usize::from(offered.len() == 2)] += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        println!("without it {}, with it {}", seen[0], seen[1]);
        assert!(!seen.contains(&0), "{seen:?}");
    });
    assert_eq!(offered(&decided(machine.root())), ["sdb", "sdc"]);
}
