//! The node agent from end to end: a machine, a kubelet that speaks the real protocol, and what pods get.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use harness::{Node, may_make_nodes};
use outrigger_host::{Attempt, Locks, MachineLock};
use outrigger_host_tree::HostTree;
use outrigger_kubelet_api::Code;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse};

const SERIAL: &str = "example.com/serial";

const PORTS: &str = "\
domain: example.com
ids: short
devices:
- name: serial
  groups: [{paths: [{path: '/dev/ttyUSB*', mountPath: /dev/serial/, permissions: rw}]}]
";

/// The nodes of the machine that a container got.
fn nodes(answer: &ContainerAllocateResponse) -> Vec<&str> {
    answer.devices.iter().map(|device| device.host_path.as_str()).collect()
}

#[tokio::test]
async fn a_list_arrives_and_a_pod_gets_the_node_of_its_id() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    let ids = node.offered(SERIAL, 1).await;
    let admitted = node.admit("a", SERIAL, 1).await.unwrap();
    let (given, answer) = &admitted[SERIAL];
    assert_eq!(given, &ids.iter().cloned().collect());
    let device = &answer.devices[0];
    assert_eq!(
        (device.host_path.as_str(), device.container_path.as_str(), device.permissions.as_str()),
        ("/dev/ttyUSB0", "/dev/serial/ttyUSB0", "rw")
    );
    let name = format!("OUTRIGGER_DEVICE_{}_PATH", ids[0].to_uppercase());
    assert_eq!(answer.envs.get(&name).map(String::as_str), Some("/dev/serial/ttyUSB0"));
}

#[tokio::test]
async fn g06_what_vanishes_is_unhealthy_and_back_under_the_same_id() {
    if !may_make_nodes() {
        return;
    }
    let node = Node::started(&format!("{PORTS}  health: {{healthyAfter: 50ms}}\n")).await;
    node.offered(SERIAL, 0).await;
    node.plug("ttyUSB0");
    let before = node.offered(SERIAL, 1).await;
    node.unplug("ttyUSB0");
    let after = node.offered(SERIAL, 0).await;
    assert_eq!(before, after, "it stays listed, unhealthy");
    assert!(node.admit("a", SERIAL, 1).await.is_err());
    node.plug("ttyUSB0");
    node.kubelet.until(|view| view.allocatable(SERIAL) == 1).await;
    node.admit("a", SERIAL, 1).await.unwrap();
}

#[tokio::test]
async fn k01_each_pod_gets_exactly_the_node_of_its_id_in_any_order() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    for port in 0..4 {
        node.plug(&format!("ttyUSB{port}"));
    }
    node.start();
    node.offered(SERIAL, 4).await;
    let mut of_id = std::collections::BTreeMap::new();
    for round in 0..25 {
        if round == 12 {
            node.stop().await;
            node.start();
            node.kubelet.until(|view| view.allocatable(SERIAL) == 4).await;
        }
        let mut seen = BTreeSet::new();
        for pod in 0..4 {
            let admitted = node.admit(&format!("{round}-{pod}"), SERIAL, 1).await.unwrap();
            let (ids, answer) = &admitted[SERIAL];
            let id = ids.first().unwrap().clone();
            let path = nodes(answer)[0].to_owned();
            assert_eq!(of_id.entry(id).or_insert(path.clone()), &path);
            assert!(seen.insert(path), "one node went to two pods");
        }
        for pod in 0..4 {
            node.kubelet.remove_pod(&format!("{round}-{pod}"));
        }
    }
}

#[tokio::test]
async fn g01_k09_a_kubelets_restart_is_one_registration_and_no_wait() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    node.offered(SERIAL, 1).await;
    for restart in 1..=5 {
        node.kubelet.restart().await.unwrap();
        let begun = Instant::now();
        node.offered(SERIAL, 1).await;
        eprintln!("listed again after {:?}", begun.elapsed());
        assert_eq!(node.kubelet.view().registrations_of(SERIAL), 1 + restart);
    }
    node.plug("ttyUSB1");
    node.offered(SERIAL, 2).await;
}

#[tokio::test]
async fn g16_a_changed_file_changes_its_resources_alone_and_a_wrong_one_nothing() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new("").await;
    node.plug("ttyUSB0");
    node.plug("fuse");
    // As a ConfigMap is mounted: the file is a link through `..data`, which is swapped.
    let publish = |name: &str, text: &str| {
        let version = node.path("etc").join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("devices.yaml"), text).unwrap();
        symlink(name, node.path("etc/..new")).unwrap();
        fs::rename(node.path("etc/..new"), node.path("etc/..data")).unwrap();
    };
    fs::remove_file(&node.file).unwrap();
    publish("..1", PORTS);
    symlink("..data/devices.yaml", &node.file).unwrap();
    node.start_at(&node.path("host"));
    node.offered(SERIAL, 1).await;
    let publish = |name: &str, text: &str| {
        let version = node.path("etc").join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("devices.yaml"), text).unwrap();
        symlink(name, node.path("etc/..new")).unwrap();
        fs::rename(node.path("etc/..new"), node.path("etc/..data")).unwrap();
    };
    let more = format!("{PORTS}- name: fuse\n  groups: [{{count: 3, paths: [{{path: /dev/fuse}}]}}]\n");
    publish("..2", &more);
    node.offered("example.com/fuse", 3).await;
    publish("..3", "domain: example.com\ndevices: [{name: serial, groups: [{block: 1}]}]");
    publish("..4", &more.replace("count: 3", "count: 5"));
    node.offered("example.com/fuse", 5).await;
    let view = node.kubelet.view();
    assert_eq!(view.registrations_of(SERIAL), 1, "its stream was not touched");
    assert_eq!(view.allocatable(SERIAL), 1);
    publish("..5", PORTS);
    node.kubelet.until(|view| view.resources["example.com/fuse"].streams == 0).await;
    assert_eq!(node.kubelet.view().resources[SERIAL].streams, 1);
}

#[tokio::test]
async fn a_stop_is_in_order_and_leaves_no_socket() {
    let mut node = Node::started(PORTS).await;
    node.kubelet.until(|view| view.resources.get(SERIAL).is_some_and(|resource| resource.streams == 1)).await;
    let begun = Instant::now();
    node.stop().await;
    eprintln!("stopped after {:?}", begun.elapsed());
    let left: Vec<_> =
        fs::read_dir(node.path("kubelet/device-plugins")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("or-")), "{left:?}");
}

/// Whether somebody has the only lock that there is.
fn is_locked(node: &Node) -> bool {
    let locks = Locks::at(node.path("lock"));
    let names = fs::read_dir(node.path("lock/devices")).into_iter().flatten();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .any(|name| matches!(locks.try_lock("devices", &name, "a test").unwrap(), Attempt::Held(_)))
}

/// A lock that nobody has: an agent may look at it for longer than is waited, where its thread has no turn.
async fn locked(node: &Node, name: &str) -> MachineLock {
    let begun = Instant::now();
    loop {
        match Locks::at(node.path("lock")).try_lock("devices", name, "pod default/other").unwrap() {
            Attempt::Locked(lock) => return lock,
            Attempt::Held(holder) => assert!(begun.elapsed() < harness::PATIENCE, "{holder:?} has it"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_device_is_locked_from_allocate_until_the_kubelet_no_longer_names_it_also_over_a_restart() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    node.offered(SERIAL, 1).await;
    node.admit("a", SERIAL, 1).await.unwrap();
    assert!(is_locked(&node));
    node.stop().await;
    assert!(!is_locked(&node));
    node.start();
    let is_so = async |locked: bool| {
        let begun = Instant::now();
        while is_locked(&node) != locked {
            assert!(begun.elapsed() < harness::PATIENCE, "in vain: locked should be {locked}");
            tokio::task::yield_now().await;
        }
    };
    is_so(true).await;
    node.kubelet.remove_pod("a");
    is_so(false).await;
}

#[tokio::test]
async fn a_device_that_another_door_has_is_refused_with_its_name() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    node.offered(SERIAL, 1).await;
    node.admit("a", SERIAL, 1).await.unwrap();
    let name = fs::read_dir(node.path("lock/devices")).unwrap().next().unwrap().unwrap().file_name();
    node.stop().await;
    node.kubelet.remove_pod("a");
    let held = locked(&node, name.to_str().unwrap()).await;
    node.start();
    node.kubelet.until(|view| view.resources.get(SERIAL).is_some_and(|serial| serial.lists > 0)).await;
    assert_eq!(node.kubelet.view().allocatable(SERIAL), 0, "the scheduler is not told of it");
    drop(held);
    let ids = node.offered(SERIAL, 1).await;
    let _held = locked(&node, name.to_str().unwrap()).await;
    let refused = node.allocate(SERIAL, &[&[&ids[0]]]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("in use elsewhere: pod default/other"), "{refused}");
}

/// A request for these ids in one container.
fn request(ids: &[&str]) -> AllocateRequest {
    let device_ids = ids.iter().map(|&id| id.to_owned()).collect();
    AllocateRequest { container_requests: vec![ContainerAllocateRequest { device_ids }] }
}

#[tokio::test]
async fn a_device_that_is_gone_and_back_within_a_second_is_given() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    let ids = node.offered(SERIAL, 1).await;
    let mut client = node.client(SERIAL).await;
    let begun = Instant::now();
    loop {
        node.unplug("ttyUSB0");
        // The kubelet is mostly told that it is gone; where it is told late, the call does not wait for it beyond its second.
        let back = async {
            let told = node.kubelet.until(|view| view.allocatable(SERIAL) == 0);
            let _ = tokio::time::timeout(Duration::from_millis(200), told).await;
            node.plug("ttyUSB0");
        };
        let (given, ()) = tokio::join!(client.allocate(request(&[&ids[0]])), back);
        match given {
            Ok(given) => return assert_eq!(nodes(&given.into_inner().container_responses[0]), ["/dev/ttyUSB0"]),
            // A busy machine may need more than that second to see it.
            Err(refused) => assert!(begun.elapsed() < harness::PATIENCE, "{refused}"),
        }
        node.offered(SERIAL, 1).await;
    }
}

#[tokio::test]
async fn k02_what_cannot_be_given_is_refused_with_its_code_and_the_process_lives() {
    if !may_make_nodes() {
        return;
    }
    let mut node = Node::new(PORTS).await;
    node.plug("ttyUSB0");
    node.start();
    let ids = node.offered(SERIAL, 1).await;
    let id = ids[0].as_str();
    let mut client = node.client(SERIAL).await;
    for (ids, code) in [
        (&["nothing"][..], Code::NotFound),
        (&[id, "nothing", "more"], Code::NotFound),
        (&[id, id], Code::InvalidArgument),
        (&[], Code::InvalidArgument),
    ] {
        assert_eq!(client.allocate(request(ids)).await.unwrap_err().code(), code, "{ids:?}");
    }
    let many: Vec<String> = (0..100_000).map(|number| format!("id-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(client.allocate(request(&many)).await.unwrap_err().code(), Code::NotFound);
    node.unplug("ttyUSB0");
    let begun = Instant::now();
    let refused = client.allocate(request(&[id])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(id) && refused.message().contains("vanished"), "{refused}");
    assert!(begun.elapsed() >= Duration::from_millis(900), "it had a second to come back");
}

const SATA: &str = "\
devices:
- resource: kubedev.org/sata
  health: {unhealthyAfter: 2, healthyAfter: 50ms, every: 20ms}
  groups: [{block: {transport: [sata]}}]
";

#[tokio::test]
async fn k05_k08_a_disk_whose_driver_gives_up_is_unhealthy_and_well_again_though_nothing_announces_it() {
    let machine = HostTree::named("sata");
    let mut node = Node::new(SATA).await;
    node.start_at(machine.root());
    let sata = "kubedev.org/sata";
    let ids = node.offered(sata, 1).await;
    assert_eq!(ids.len(), 1, "the system disk is not listed");
    let state = "sys/devices/pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/state";
    machine.write(state, "offline\n");
    assert_eq!(node.offered(sata, 0).await, ids);
    machine.write(state, "running\n");
    assert_eq!(node.offered(sata, 1).await, ids);
    let admitted = node.admit("a", sata, 1).await;
    // The tree's node is a plain file, so that it is looked at but cannot be opened as a disk.
    assert_eq!(nodes(&admitted.unwrap()[sata].1), ["/dev/sdb"]);
}

#[tokio::test]
async fn k03_two_radios_with_one_serial_number_have_ids_of_their_own_that_stay() {
    let machine = HostTree::named("serial-twins");
    let text = "\
devices:
- resource: example.com/radio
  health: {healthyAfter: 20ms}
  groups: [{usb: [{vendor: 0403, product: 6001, child: tty}], mountPath: /dev/radio}]
";
    let mut node = Node::new(text).await;
    node.start_at(machine.root());
    let radio = "example.com/radio";
    let ids = node.offered(radio, 2).await;
    node.stop().await;
    node.start_at(machine.root());
    assert_eq!(node.offered(radio, 2).await, ids);
    let admitted = node.admit("a", radio, 1).await.unwrap();
    assert_eq!(admitted[radio].1.devices[0].container_path, "/dev/radio");
}

#[tokio::test]
async fn each_match_can_be_a_resource_of_its_own_that_comes_and_goes() {
    if !may_make_nodes() {
        return;
    }
    let text = "\
domain: example.com
devices:
- name: port-{path}
  perMatch: true
  health: {vanishGrace: 50ms, healthyAfter: 20ms}
  groups: [{paths: [{path: '/dev/ttyUSB*'}]}]
";
    let mut node = Node::new(text).await;
    node.plug("ttyUSB0");
    node.start();
    node.offered("example.com/port-ttyUSB0", 1).await;
    node.plug("ttyUSB1");
    node.offered("example.com/port-ttyUSB1", 1).await;
    let admitted = node.admit("a", "example.com/port-ttyUSB1", 1).await.unwrap();
    assert_eq!(nodes(&admitted["example.com/port-ttyUSB1"].1), ["/dev/ttyUSB1"]);
    node.unplug("ttyUSB0");
    node.kubelet.until(|view| view.resources["example.com/port-ttyUSB0"].streams == 0).await;
}

#[tokio::test]
async fn a_device_that_two_resources_share_is_given_by_both() {
    if !may_make_nodes() {
        return;
    }
    let shared = "share: true, groups: [{paths: [{path: /dev/ttyUSB0}]}]";
    let text = format!("devices: [{{resource: example.com/a, {shared}}}, {{resource: example.com/b, {shared}}}]");
    let mut node = Node::new(&text).await;
    node.plug("ttyUSB0");
    node.start();
    for (pod, resource) in [("one", "example.com/a"), ("two", "example.com/b")] {
        node.offered(resource, 1).await;
        let admitted = node.admit(pod, resource, 1).await.unwrap();
        assert_eq!(nodes(&admitted[resource].1), ["/dev/ttyUSB0"]);
    }
    assert!(is_locked(&node));
}
