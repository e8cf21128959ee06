//! Two instances at once, as in a rolling update: on kubelets that know their clients by resource alone (up to 1.36 at
//! least), and on those that know them by socket.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use harness::{DISK, Node, disks, pod};
use outrigger_device_plugin::{RegisterReason, RegisterResult, ResourceState, SocketName};
use tokio::time::{Instant, sleep};

/// One rolling update after the other; returns for how long there were no devices, at most.
async fn updates(overlap_bug: bool) -> Duration {
    let node = Node::with(|options| options.overlap_bug = overlap_bug).await;
    let mut old = node.instance();
    let mut _lists = old.serve(DISK, 3).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let new = node.instance();
        let new_lists = new.serve(DISK, 3).await;
        new.until(DISK, |state| state.is_ready() && state.lists_sent > 0).await;
        old.until(DISK, |state| state.silent).await;
        sleep(Duration::from_secs(5)).await;

        let before = node.kubelet.view().resources[DISK].ended;
        let begun = Instant::now();
        let back = node.kubelet.until(|view| {
            let resource = &view.resources[DISK];
            resource.ended > before && resource.allocatable == 3 && resource.streams == 1
        });
        let (ended, _) = tokio::join!(old.end(), back);
        let took = begun.elapsed();
        ended.expect("it ends well");
        let state = new.until(DISK, ResourceState::is_ready).await;
        let lost = state.registrations.get(&(RegisterReason::StreamLost, RegisterResult::Taken)).copied();
        assert_eq!(lost, overlap_bug.then_some(1), "{state:#?}");
        longest = longest.max(took);
        (old, _lists) = (new, new_lists);
    }
    assert_eq!(node.sockets().len(), 1);
    longest
}

/// G2: after an overlap the resource stays at 0 for ever.
#[tokio::test(start_paused = true)]
async fn g02_with_the_overlap_bug_the_newer_instance_is_back_at_once() {
    let longest = updates(true).await;
    assert!(longest < Duration::from_millis(50), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_bug_the_devices_never_vanish() {
    let node = Node::new().await;
    let old = node.instance();
    let _lists = old.serve(DISK, 3).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    let mut views = node.kubelet.views();
    let never_0 = async move {
        loop {
            assert_eq!(views.borrow_and_update().allocatable(DISK), 3);
            views.changed().await.unwrap();
        }
    };
    let update = async {
        let new = node.instance();
        let _lists = new.serve(DISK, 3).await;
        new.until(DISK, |state| state.is_ready() && state.lists_sent > 0).await;
        old.end().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        let state = new.state(DISK);
        assert_eq!(state.registrations[&(RegisterReason::Start, RegisterResult::Taken)], 1);
        assert_eq!(state.registrations.len(), 1);
    };
    tokio::select! {
        () = never_0 => unreachable!("it ends never"),
        () = update => (),
    }
    updates(false).await;
}

#[tokio::test(start_paused = true)]
async fn the_older_instance_sends_no_lists_and_still_answers() {
    let node = Node::new().await;
    let old = node.instance();
    let old_lists = old.serve(DISK, 3).await;
    old.until(DISK, |state| state.is_ready() && state.lists_sent == 1).await;
    let new = node.instance();
    let _new_lists = new.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    old.until(DISK, |state| state.silent).await;
    old_lists.send_replace(Arc::new(disks(7)));
    sleep(Duration::from_secs(100)).await;
    assert_eq!(node.kubelet.view().allocatable(DISK), 2);
    assert_eq!(old.state(DISK).lists_sent, 1);
    node.kubelet.admit(&pod("a", DISK, 2)).await.unwrap();
}

/// However the newer one ends, the older speaks again, with what is true now.
#[tokio::test(start_paused = true)]
async fn the_older_instance_speaks_again_when_the_newer_is_killed() {
    for overlap_bug in [false, true] {
        let node = Node::with(|options| options.overlap_bug = overlap_bug).await;
        let old = node.instance();
        let old_lists = old.serve(DISK, 3).await;
        node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
        let new = node.instance();
        let _new_lists = new.serve(DISK, 2).await;
        node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
        old.until(DISK, |state| state.silent).await;
        old_lists.send_replace(Arc::new(disks(7)));
        new.kill();
        old.until(DISK, |state| !state.silent).await;
        node.kubelet.until(|view| view.resources[DISK].devices.len() == 7).await;
        // The kubelet allocates from whoever registered last.
        node.kubelet.until(|view| view.registrations_of(DISK) == 3 && view.allocatable(DISK) == 7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_restart_during_an_overlap_is_one_registration_of_the_newer() {
    let mut node = Node::new().await;
    let old = node.instance();
    let _old_lists = old.serve(DISK, 3).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    let new = node.instance();
    let _new_lists = new.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    old.until(DISK, |state| state.silent).await;
    let before = node.kubelet.view().registrations_of(DISK);
    node.kubelet.restart().await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    sleep(Duration::from_secs(100)).await;
    let view = node.kubelet.view();
    assert_eq!((view.registrations_of(DISK), view.allocatable(DISK)), (before + 1, 2));
}

/// A fixed name has no takeover: the second instance waits, and the first is not disturbed.
#[tokio::test(start_paused = true)]
async fn two_instances_with_a_fixed_name_do_not_fight() {
    let node = Node::new().await;
    let fixed = || SocketName::Fixed("sata.sock".into());
    let first = node.instance();
    let _first_lists = first.serve_with(DISK, 3, |resource| resource.socket = fixed()).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    let second = node.instance();
    let _second_lists = second.serve_with(DISK, 2, |resource| resource.socket = fixed()).await;
    second.until(DISK, |state| state.last_error.is_some()).await;
    sleep(Duration::from_secs(100)).await;
    let view = node.kubelet.view();
    assert_eq!((view.registrations_of(DISK), view.allocatable(DISK)), (1, 3));
    first.end().await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
}
