//! When a resource is registered, and when it is not.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

mod harness;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::{DISK, Node, disks, resource};
use outrigger_device_plugin::{Place, PutError, RegisterReason, RegisterResult, SocketName, Unfit};
use outrigger_stub_kubelet::OnRegister;
use tokio::time::{Instant, sleep};

const DISKS: [&str; 3] = ["v.io/a", "v.io/b", "v.io/c"];

#[tokio::test(start_paused = true)]
async fn a_resource_is_listed_and_ready() {
    let node = Node::new().await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 3).await;
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    assert_eq!(view.registrations_of(DISK), 1);
    let state = instance.until(DISK, |state| state.is_ready() && state.lists_sent == 1).await;
    assert_eq!(state.registrations[&(RegisterReason::Start, RegisterResult::Taken)], 1);
    assert_eq!(state.endpoint.as_deref(), Some(view.registrations[0].endpoint.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_starts_first_registers_once_the_kubelet_appears() {
    let mut node = Node::without_kubelet(|options| options.listen_pause = Duration::from_millis(30));
    let instance = node.instance();
    let _lists = instance.serve(DISK, 3).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!instance.state(DISK).is_ready());
    node.kubelet.start().await.unwrap();
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 3).await;
    assert_eq!(view.registrations_of(DISK), 1);
}

/// K9: two or three registrations for each restart. G1: more than five seconds until the devices are back.
#[tokio::test(start_paused = true)]
async fn k09_g01_a_kubelet_restart_is_one_registration_of_each_resource_at_once() {
    let mut node = Node::with(|options| options.listen_pause = Duration::from_millis(3)).await;
    let instance = node.instance();
    let mut lists = Vec::new();
    for name in DISKS {
        lists.push(instance.serve(name, 10).await);
    }
    node.kubelet.until(|view| DISKS.iter().all(|name| view.allocatable(name) == 10)).await;
    for restart in 1..=50 {
        // Down for a while now and then: the delay that has grown meanwhile is cut short.
        if restart % 10 == 0 {
            node.kubelet.kill().await;
            sleep(Duration::from_secs(20)).await;
        }
        node.kubelet.restart().await.unwrap();
        let begun = Instant::now();
        let view = node.kubelet.until(|view| DISKS.iter().all(|name| view.allocatable(name) == 10)).await;
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
        for name in DISKS {
            assert_eq!(view.registrations_of(name), 1 + restart, "{name}");
        }
    }
    assert_eq!(node.sockets().len(), 3);
    let state = instance.state(DISKS[0]);
    assert_eq!(state.registrations.values().sum::<u64>(), 51);
    assert!(state.registrations.contains_key(&(RegisterReason::KubeletSocket, RegisterResult::Taken)), "{state:#?}");
}

/// Between `bind` and `listen` nothing tells when the kubelet takes connections.
#[tokio::test(start_paused = true)]
async fn a_kubelet_that_is_slow_to_listen_is_registered_with_as_soon_as_it_does() {
    let mut node = Node::with(|options| options.listen_pause = Duration::from_secs(2)).await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    node.kubelet.restart().await.unwrap();
    let begun = Instant::now();
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    assert_eq!(view.registrations_of(DISK), 2);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_missing_is_waited_for() {
    let mut node = Node::without_kubelet(|options| options.directory.push("kubelet/device-plugins"));
    let instance = node.instance_at(Place::new(node.directory.path().join("kubelet/device-plugins")));
    let _lists = instance.serve(DISK, 2).await;
    instance.until(DISK, |state| state.last_error.is_some()).await;
    sleep(Duration::from_secs(100)).await;
    node.kubelet.start().await.unwrap();
    let begun = Instant::now();
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_another_process_has_replaced_is_left_to_it() {
    what_replaces_a_derived_socket_is_left_alone(|path| UnixListener::bind(path).unwrap()).await;
}

/// A derived name is not waited for: another one serves as well, and what lies there is left alone. What `replace` answers
/// lives as long as the test.
async fn what_replaces_a_derived_socket_is_left_alone<T>(replace: impl FnOnce(&Path) -> T) {
    let node = Node::new().await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    let taken = node.sockets().remove(0);
    fs::remove_file(&taken).unwrap();
    let _replaced = replace(&taken);
    node.kubelet.until(|view| view.registrations_of(DISK) == 2 && view.resources[DISK].streams == 1).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    sleep(Duration::from_secs(100)).await;
    instance.end().await.unwrap();
    assert_eq!((node.sockets(), node.kubelet.view().registrations_of(DISK)), (vec![taken], 2));
}

/// K13 and R09: somebody removes our socket, and the kubelet's stream lives on.
#[tokio::test(start_paused = true)]
async fn a_removed_socket_is_made_anew_under_another_name_and_registered() {
    let node = Node::new().await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    let first = node.sockets();
    fs::remove_file(&first[0]).unwrap();
    node.kubelet.until(|view| view.registrations_of(DISK) == 2 && view.allocatable(DISK) == 2).await;
    let view = node.kubelet.until(|view| view.resources[DISK].streams == 1 && view.resources[DISK].ended == 1).await;
    assert_ne!(view.registrations[0].endpoint, view.registrations[1].endpoint);
    assert_eq!(node.sockets().len(), 1);
    assert_eq!(node.kubelet.sockets(DISK), node.sockets());
}

/// R12: newer kubelets replace only their socket when serving fails, and keep every stream.
#[tokio::test(start_paused = true)]
async fn a_replaced_kubelet_socket_is_no_registration_while_the_stream_lives() {
    let node = Node::new().await;
    let instance = node.instance();
    let lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    for _ in 0..3 {
        node.kubelet.replace_socket().await.unwrap();
        sleep(Duration::from_secs(61)).await; // Two audits.
    }
    assert_eq!(node.kubelet.view().registrations_of(DISK), 1);
    lists.send_replace(Arc::new(disks(5)));
    node.kubelet.until(|view| view.allocatable(DISK) == 5).await;
    // And it is remembered: the stream's end is answered with one registration.
    node.kubelet.close_streams(DISK);
    node.kubelet.until(|view| view.registrations_of(DISK) == 2 && view.allocatable(DISK) == 5).await;
}

/// G2: a lost stream is never noticed.
#[tokio::test(start_paused = true)]
async fn g02_a_stream_that_the_kubelet_closes_is_registered_again_at_once() {
    let node = Node::new().await;
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    for times in 1..=15 {
        node.kubelet.until(|view| view.registrations_of(DISK) == times && view.allocatable(DISK) == 2).await;
        sleep(Duration::from_secs(10)).await;
        let begun = Instant::now();
        node.kubelet.close_streams(DISK);
        node.kubelet.until(|view| view.registrations_of(DISK) == times + 1 && view.allocatable(DISK) == 2).await;
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    }
    let state = instance.state(DISK);
    assert_eq!(state.registrations[&(RegisterReason::StreamLost, RegisterResult::Taken)], 15);
}

/// K10: no retry after a failed registration.
#[tokio::test(start_paused = true)]
async fn k10_a_refused_registration_is_tried_again_ever_more_slowly() {
    let node = Node::new().await;
    node.kubelet.on_register(OnRegister::Refuse("not today".into()));
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    sleep(Duration::from_secs(10)).await;
    let tries = node.kubelet.view().registrations_of(DISK);
    assert!((10..=20).contains(&tries), "{tries}");
    let state = instance.state(DISK);
    assert!(state.last_error.as_ref().is_some_and(|error| error.contains("not today")), "{state:?}");
    node.kubelet.on_register(OnRegister::Take);
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    instance.until(DISK, |state| state.is_ready() && state.last_error.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_hangs_is_given_up_and_another_kubelet_ends_it_at_once() {
    let mut node = Node::new().await;
    node.kubelet.on_register(OnRegister::Hang);
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.registrations_of(DISK) == 2).await; // After 15 s, and again.
    let state = instance.state(DISK);
    assert_eq!(state.registrations[&(RegisterReason::Start, RegisterResult::Unanswered)], 1);
    node.kubelet.on_register(OnRegister::Take);
    let begun = Instant::now();
    node.kubelet.restart().await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_dies_in_register_is_asked_again_when_it_is_back() {
    let mut node = Node::new().await;
    node.kubelet.on_register(OnRegister::Die);
    let instance = node.instance();
    let _lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| !view.running).await;
    node.kubelet.on_register(OnRegister::Take);
    sleep(Duration::from_secs(100)).await;
    node.kubelet.start().await.unwrap();
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert_eq!(view.registrations_of(DISK), 2);
}

/// K13: unlinks a living instance's socket.
#[tokio::test(start_paused = true)]
async fn k13_a_fixed_socket_of_a_living_process_is_waited_for() {
    let node = Node::new().await;
    let path = node.directory.path().join("sata.sock");
    let other = UnixListener::bind(&path).unwrap();
    let instance = node.instance();
    let fixed = SocketName::Fixed("sata.sock".into());
    let _lists = instance.serve_with(DISK, 2, |resource| resource.socket = fixed).await;
    let state = instance.until(DISK, |state| state.last_error.is_some()).await;
    assert!(state.last_error.unwrap().contains("another process serves"));
    sleep(Duration::from_secs(60)).await;
    assert!(path.exists() && node.kubelet.view().registrations.is_empty());
    drop(other);
    let view = node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    assert_eq!(view.registrations[0].endpoint, "sata.sock");
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_by_a_directory_is_said_and_served_again_when_it_is_gone() {
    let node = Node::new().await;
    let instance = node.instance();
    let fixed = SocketName::Fixed("sata.sock".into());
    let _lists = instance.serve_with(DISK, 2, |resource| resource.socket = fixed).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    let path = node.directory.path().join("sata.sock");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    instance.until(DISK, |state| state.last_error.as_ref().is_some_and(|error| error.contains("no socket"))).await;
    fs::remove_dir(&path).unwrap();
    node.kubelet.until(|view| view.registrations_of(DISK) == 2 && view.allocatable(DISK) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_derived_socket_that_is_replaced_by_a_directory_is_made_anew_beside_it() {
    what_replaces_a_derived_socket_is_left_alone(|path| fs::create_dir(path).unwrap()).await;
}

/// The kubelet loses one stream of ten: one resource is registered again, and nine hear nothing of it.
#[tokio::test(start_paused = true)]
async fn one_lost_stream_of_ten_is_one_registration() {
    let node = Node::new().await;
    let instance = node.instance();
    let names: Vec<String> = (0..10).map(|number| format!("v.io/r{number}")).collect();
    let mut lists = Vec::new();
    for name in &names {
        lists.push(instance.serve(name, 3).await);
    }
    node.kubelet.until(|view| names.iter().all(|name| view.allocatable(name) == 3)).await;
    for (lost, name) in names.iter().enumerate() {
        node.kubelet.close_streams(name);
        let view = node.kubelet.until(|view| view.registrations_of(name) == 2 && view.allocatable(name) == 3).await;
        assert_eq!(view.registrations.len(), 10 + lost + 1);
        assert_eq!((view.gaps.len(), view.gaps_of(name).count()), (lost + 1, 1), "{:?}", view.gaps);
    }
    lists[4].send_replace(Arc::new(disks(5)));
    let view = node.kubelet.until(|view| view.allocatable(&names[4]) == 5).await;
    assert!(view.resources.values().all(|resource| resource.streams == 1));
}

#[tokio::test(start_paused = true)]
async fn resources_come_change_and_go_without_touching_the_others() {
    let node = Node::new().await;
    let instance = node.instance();
    let _a = instance.serve("v.io/a", 1).await;
    let _b = instance.serve("v.io/b", 1).await;
    node.kubelet.until(|view| view.allocatable("v.io/a") == 1 && view.allocatable("v.io/b") == 1).await;

    let _new = instance.serve("v.io/a", 4).await; // Another list and other answers: the stream goes on.
    let view = node.kubelet.until(|view| view.allocatable("v.io/a") == 4).await;
    assert_eq!((view.registrations_of("v.io/a"), view.resources["v.io/a"].ended), (1, 0));
    let _other = instance.serve_with("v.io/a", 4, |resource| resource.pre_start = true).await; // The kubelet must know.
    node.kubelet.until(|view| view.registrations_of("v.io/a") == 2 && view.allocatable("v.io/a") == 4).await;
    instance.plugin.remove("v.io/a".parse().unwrap()).await.unwrap();
    let view = node.kubelet.until(|view| view.allocatable("v.io/a") == 0).await;
    assert_eq!((view.registrations_of("v.io/b"), view.resources["v.io/b"].ended), (1, 0));
    let mut states = instance.plugin.states();
    states.wait_for(|states| states.len() == 1).await.unwrap();
    node.kubelet.advance(Duration::from_secs(301));
    assert!(!node.kubelet.view().resources.contains_key("v.io/a"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_served_here_is_refused_and_changes_nothing() {
    let node = Node::new().await;
    let mut place = Place::new(node.directory.path());
    place.kubelet_directory = "/var/snap/microk8s/common/var/lib/kubelet/device-plugins".into();
    let instance = node.instance_at(place);
    let (_lists, mut long) = resource(DISK, 1);
    long.socket = SocketName::Fixed(format!("{}.sock", "x".repeat(50)));
    let refused = instance.plugin.put(long).await;
    assert!(matches!(refused, Err(PutError::Unfit(Unfit::PathTooLong { bytes: 112, .. }))), "{refused:?}");
    let fixed = || SocketName::Fixed("a.sock".into());
    let _lists = instance.serve_with("v.io/a", 1, |resource| resource.socket = fixed()).await;
    let (_lists, mut second) = resource("v.io/b", 1);
    second.socket = fixed();
    let refused = instance.plugin.put(second).await;
    assert!(matches!(refused, Err(PutError::Unfit(Unfit::Shared { .. }))), "{refused:?}");
    assert_eq!(instance.plugin.states().borrow().len(), 1);
}

/// The kubelet has lost us though its stream lives: only `PodResources` tells.
#[tokio::test(start_paused = true)]
async fn an_audit_registers_again_what_the_kubelet_does_not_know() {
    let pod_resources = tempfile::tempdir().unwrap();
    let node = Node::with(|options| options.pod_resources = Some(pod_resources.path().into())).await;
    let mut place = Place::new(node.directory.path());
    place.pod_resources = Some(pod_resources.path().into());
    let instance = node.instance_at(place);
    let lists = instance.serve(DISK, 2).await;
    node.kubelet.until(|view| view.allocatable(DISK) == 2).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(node.kubelet.view().registrations_of(DISK), 1);

    node.kubelet.read_lists(false);
    node.kubelet.close_streams(DISK);
    node.kubelet.until(|view| view.registrations_of(DISK) == 2).await; // This stream is open and nothing of it is read.
    sleep(Duration::from_secs(61)).await;
    node.kubelet.read_lists(true);
    lists.send_replace(Arc::new(disks(3)));
    node.kubelet.until(|view| view.registrations_of(DISK) == 3 && view.allocatable(DISK) == 3).await;
    let state = instance.state(DISK);
    assert_eq!(state.registrations[&(RegisterReason::Audit, RegisterResult::Taken)], 1);
}
