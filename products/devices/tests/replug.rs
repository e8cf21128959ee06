//! A device that is plugged elsewhere while a pod has it: it comes with another number, which is the pod's at once, and the
//! old one stays the pod's, whose containers may open what comes to have it. By both doors.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use harness::{DISK, DISKS, Node, PATIENCE, machine, plug_disk, unplug_disk};
use outrigger_devices::provider::provider;
use outrigger_host::Locks;
use outrigger_host_tree::HostTree;
use outrigger_launcher::claims::{ClaimRequest, Progress, Provider as _};
use tokio::sync::watch;

/// The names of the numbers that are locked, and how many other locks there are.
fn locked(node: &Node) -> (BTreeSet<String>, usize) {
    let holders = Locks::at(node.path("lock")).holders("devices", |_| false);
    let (numbers, others): (BTreeSet<String>, BTreeSet<String>) =
        holders.into_keys().partition(|name| name.starts_with("block-"));
    (numbers, others.len())
}

/// Waits until these numbers are locked, and no others; each of so many disks has one more lock for what it is.
async fn are_locked(node: &Node, numbers: &[&str], disks: usize) {
    let wanted = (numbers.iter().map(|&name| name.to_owned()).collect(), disks);
    let begun = Instant::now();
    while locked(node) != wanted {
        assert!(begun.elapsed() < PATIENCE, "{:?} are locked, not {wanted:?}", locked(node));
        tokio::task::yield_now().await;
    }
}

/// The disk that was `sdc` comes back as `sdd`.
fn replug(machine: &HostTree) {
    unplug_disk(machine, "sdc");
    plug_disk(machine, "sdd", "sdc");
    // As udev does when it has seen the device.
    machine.write("dev/disk/by-id/seen", "");
}

/// Tried with a ledger that keeps the locks of the moment of `Allocate`, with one that gives the old ones back, and with a
/// container that starts again wherever its disk is.
#[tokio::test]
async fn a_disk_that_is_plugged_elsewhere_is_its_pods_by_both_numbers_and_no_container_starts_with_the_old_one() {
    let machine = machine(&["sdc"]);
    let mut node = Node::new(DISKS).await;
    node.start_at(machine.root());
    let ids = node.offered(DISK, 1).await;
    node.admit("a", DISK, 1).await.unwrap();
    are_locked(&node, &["block-8:32"], 1).await;
    node.kubelet.start_container("a", "app").await.unwrap();
    replug(&machine);
    are_locked(&node, &["block-8:32", "block-8:48"], 1).await;
    assert_eq!(node.offered(DISK, 1).await, ids, "it is the same disk");
    let refused = node.admit("b", DISK, 1).await.unwrap_err().to_string();
    assert!(refused.contains("unavailable"), "{refused}");
    let moved = node.kubelet.start_container("a", "app").await.unwrap_err().to_string();
    assert!(moved.contains("it is at /dev/sdd now, and the pod was given /dev/sdc"), "{moved}");
    for (disk, wwid) in [("sdc", "stranger"), ("sde", "other")] {
        plug_disk(&machine, disk, wwid);
    }
    assert_eq!(node.offered(DISK, 2).await.len(), 2, "the stranger has the old number");
    let given = &node.admit("c", DISK, 1).await.unwrap()[DISK];
    assert_eq!(given.1.devices[0].host_path, "/dev/sde");
    assert!(node.kubelet.start_container("a", "app").await.is_err(), "with the stranger's node");
    node.kubelet.remove_pod("a");
    node.offered(DISK, 3).await;
    are_locked(&node, &["block-8:64"], 1).await;
    node.stop().await;
    are_locked(&node, &[], 0).await;
}

/// Tried with a claim that nobody follows.
#[tokio::test]
async fn the_new_number_of_a_disk_that_a_pod_of_run_has_is_locked_beside_the_old_one() {
    let machine = machine(&["sdc"]);
    machine.write("dev/disk/by-id/nothing", "");
    let node = Node::new(DISKS).await;
    let path = |path: &str| node.path(path).display().to_string();
    let places = format!(
        "hostRoot: {}\nlockDirectory: {}\nkubeletDirectory: {}\npluginDirectory: {}\n",
        machine.root().display(),
        path("lock"),
        path("nowhere"),
        path("nowhere")
    );
    fs::write(&node.file, places + DISKS).unwrap();
    let provider = provider(Some(&node.path("etc"))).unwrap().expect("a configuration");
    let plan = outrigger_sample_pods::pod(vec![outrigger_sample_pods::container("main")]);
    let containers = vec![(plan.containers[0].name.clone(), [(DISK.to_owned(), 1)].into())];
    let request = ClaimRequest { plan: Arc::new(plan), containers };
    let claim = provider.claim(request, watch::Sender::new(Progress::default())).await.unwrap();
    let of_the_pods_processes = claim.descriptors();
    are_locked(&node, &["block-8:32"], 1).await;
    replug(&machine);
    are_locked(&node, &["block-8:32", "block-8:48"], 1).await;
    claim.give_back().await.unwrap();
    // What the disk is and the number that it had stay locked until the pod's last process has ended.
    are_locked(&node, &["block-8:32"], 1).await;
    drop(of_the_pods_processes);
    are_locked(&node, &[], 0).await;
}
