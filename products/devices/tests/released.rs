//! When a device is free that a kubelet's pod had: the kubelet tells it only when it is asked, and is asked when there is a
//! reason. No audit comes to the rescue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says that it is left out")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Node, PATIENCE, machine};
use outrigger_host::Locks;
use outrigger_stub_kubelet::{ContainerRequest, PodRequest, Reuse};
use tokio::time::sleep;

const DISK: &str = "example.com/disk";

const DISKS: &str = "ids: short\ndevices: [{resource: example.com/disk, groups: [{block: {transport: [sata]}}]}]\n";

fn is_locked(node: &Node) -> bool {
    !Locks::at(node.path("lock")).holders("devices", |_| false).is_empty()
}

async fn is_free(node: &Node) {
    let begun = Instant::now();
    while is_locked(node) {
        assert!(begun.elapsed() < PATIENCE, "still locked");
        tokio::task::yield_now().await;
    }
}

/// Tried with an agent that asks once after each `Allocate`.
#[tokio::test]
async fn what_a_pod_was_given_that_is_gone_before_the_kubelet_names_it_is_soon_free() {
    let machine = machine(&["sdc"]);
    let mut node = Node::new(DISKS).await;
    node.start_with_audit(machine.root(), "1h");
    node.offered(DISK, 1).await;
    for number in 0..20 {
        let pod = format!("pod-{number}");
        node.admit(&pod, DISK, 1).await.unwrap();
        assert!(is_locked(&node));
        node.kubelet.remove_pod(&pod);
        // On a busy machine it may have been named before.
        if !node.kubelet.view().told.contains(&format!("default/{pod}")) {
            return is_free(&node).await;
        }
    }
    panic!("each pod was named before it was gone");
}

/// A kubelet tells nobody of it. Tried with claims that end when they were not named for some seconds.
#[tokio::test]
async fn what_an_init_container_has_stays_locked_as_long_as_its_pod_is_there() {
    let machine = machine(&["sdc"]);
    let mut node = Node::new(DISKS).await;
    node.start_with_audit(machine.root(), "1s");
    node.offered(DISK, 1).await;
    let container = |name: &str, reuse| ContainerRequest { name: name.to_owned(), reuse, ..Default::default() };
    let mut init = container("init", Reuse::Leaves);
    init.limits.insert(DISK.to_owned(), 1);
    let containers = vec![init, container("app", Reuse::Keeps)];
    let (uid, name, namespace) = ("a".to_owned(), "a".to_owned(), "default".to_owned());
    node.kubelet.admit(&PodRequest { uid, name, namespace, containers }).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(is_locked(&node), "after {:?}", begun.elapsed());
        sleep(Duration::from_millis(50)).await; // That time passes is what is tried.
    }
    node.kubelet.remove_pod("a");
    is_free(&node).await;
}

/// A pod's end takes its mounts away, which the kernel tells. Tried with an agent that does not ask because of mounts.
#[tokio::test]
async fn what_a_pod_had_is_free_soon_after_its_mounts_have_gone() {
    let mut node = Node::new("").await;
    let place = node.path("place");
    fs::create_dir(&place).unwrap();
    fs::write(node.path("host/dev/port"), "").unwrap();
    let path = node.path("host/dev/port").display().to_string();
    fs::write(
        &node.file,
        format!("ids: short\ndevices: [{{resource: {DISK}, groups: [{{paths: [{{path: {path}}}]}}]}}]"),
    )
    .unwrap();
    let done = |program: &str, args: &[&str]| {
        Command::new(program).args(args).arg(&place).output().is_ok_and(|output| output.status.success())
    };
    if !done("mount", &["-t", "tmpfs", "none"]) {
        assert!(std::env::var_os("CI").is_none(), "on CI something can be mounted");
        eprintln!("left out: this user cannot mount anything");
        return;
    }
    node.start_with_audit(Path::new("/"), "1h");
    node.offered(DISK, 1).await;
    node.admit("a", DISK, 1).await.unwrap();
    node.kubelet.until(|view| view.told.contains("default/a")).await;
    node.kubelet.remove_pod("a");
    assert!(is_locked(&node), "nobody has told the agent");
    assert!(done("umount", &[]));
    is_free(&node).await;
}
