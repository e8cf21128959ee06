//! What the kubelet asks, and everybody else who connects.

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::{DISK, Echo, Instance, Node, pod};
use outrigger_device_plugin::{Call, RefusalCode};
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerPreferredAllocationRequest, PreferredAllocationRequest,
};
use outrigger_kubelet_api::{Channel, Code, LOCALHOST};
use outrigger_stub_kubelet::AdmissionError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// A plugin with ten disks that prefers and wants to be asked before each start.
async fn ten_disks(node: &Node) -> (Instance, Echo, harness::Lists) {
    let (instance, echo) = (node.instance(), Echo::new());
    let answers = Arc::new(echo.clone());
    let lists = instance
        .serve_with(DISK, 10, |resource| {
            (resource.preferred, resource.pre_start, resource.answers) = (true, true, answers);
        })
        .await;
    node.kubelet.until(|view| view.allocatable(DISK) == 10).await;
    (instance, echo, lists)
}

async fn client(path: &Path) -> DevicePluginClient<Channel> {
    DevicePluginClient::new(Channel::connect(path, LOCALHOST).await.expect("the plugin is served"))
}

fn request(containers: &[&[&str]]) -> AllocateRequest {
    let ids = |ids: &&[&str]| ContainerAllocateRequest { device_ids: ids.iter().map(|&id| id.to_owned()).collect() };
    AllocateRequest { container_requests: containers.iter().map(ids).collect() }
}

/// K1: two pods got the same disk. G16: no preference, no `PreStartContainer`.
#[tokio::test(start_paused = true)]
async fn k01_g16_pods_get_the_devices_of_their_ids() {
    let mut node = Node::new().await;
    let (_instance, echo, _lists) = ten_disks(&node).await;
    let first = node.kubelet.admit(&pod("a", DISK, 2)).await.unwrap();
    let second = node.kubelet.admit(&pod("b", DISK, 2)).await.unwrap();
    let (first, second) = (&first["app"][DISK], &second["app"][DISK]);
    assert!(first.0.is_disjoint(&second.0));
    assert_eq!(first.0, BTreeSet::from(["disk-8".to_owned(), "disk-9".to_owned()]), "the preferred ones");
    assert!(first.1.envs.keys().eq(["disk_8", "disk_9"]) && second.1.envs.keys().eq(["disk_6", "disk_7"]));

    // A container that starts again, also after a restart of the kubelet, is answered from the cache.
    node.kubelet.restart().await.unwrap();
    node.kubelet.until(|view| view.allocatable(DISK) == 10).await;
    let again = node.kubelet.start_container("a", "app").await.unwrap();
    assert_eq!(&again[DISK], first);
    let asked = echo.asked();
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("allocate")).count(), 2, "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("pre_start")).count(), 1, "{asked:?}");
}

/// O02: the kubelet gets a legal answer, whatever the product says.
#[tokio::test(start_paused = true)]
async fn an_illegal_preference_is_replaced_by_a_legal_one() {
    let node = Node::new().await;
    let (_instance, echo, _lists) = ten_disks(&node).await;
    *echo.prefers.lock().unwrap() = Some(vec!["other".into(), "disk-1".into(), "disk-1".into()]);
    let request = ContainerPreferredAllocationRequest {
        available_device_ids: ["disk-3", "disk-1", "disk-2"].map(str::to_owned).into(),
        must_include_device_ids: vec!["disk-2".into()],
        allocation_size: 2,
    };
    let mut client = client(&node.sockets()[0]).await;
    let ask = |request| PreferredAllocationRequest { container_requests: vec![request] };
    let answer = client.get_preferred_allocation(ask(request.clone())).await.unwrap().into_inner();
    assert_eq!(answer.container_responses[0].device_ids, ["disk-2", "disk-3"]);
    for size in [-1, 0, 4] {
        let refused = client
            .get_preferred_allocation(ask(ContainerPreferredAllocationRequest {
                allocation_size: size,
                ..request.clone()
            }))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn k02_unknown_empty_and_doubled_ids_are_refused_and_the_plugin_lives() {
    let node = Node::new().await;
    let (instance, _echo, _lists) = ten_disks(&node).await;
    let mut client = client(&node.sockets()[0]).await;
    for (containers, code, word) in [
        (&[&["other"][..]][..], Code::NotFound, "other"),
        (&[&[]], Code::InvalidArgument, "no id"),
        (&[&["disk-1", "disk-1"]], Code::InvalidArgument, "disk-1"),
        (&[&["disk-1", ""]], Code::InvalidArgument, "empty"),
        (&[&["disk-1"], &["other"]], Code::NotFound, "other"),
    ] {
        let refusal = client.allocate(request(containers)).await.unwrap_err();
        assert!(refusal.code() == code && refusal.message().contains(word), "{containers:?}: {refusal}");
    }
    let many: Vec<String> = (0..100_000).map(|number| format!("disk-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answers = client.allocate(request(&[&many, &["disk-1"]])).await.unwrap().into_inner().container_responses;
    assert_eq!(answers.iter().map(|answer| answer.envs.len()).collect::<Vec<_>>(), [100_000, 1]);
    assert!(client.allocate(request(&[])).await.unwrap().into_inner().container_responses.is_empty());
    let calls = instance.state(DISK).calls;
    assert_eq!(calls[&(Call::Allocate, Some(RefusalCode::InvalidArgument))], 3);
    node.kubelet.admit(&pod("a", DISK, 1)).await.unwrap();
}

/// B03: Allocate does not wait for lists or for other calls.
#[tokio::test(start_paused = true)]
async fn calls_are_answered_beside_each_other_and_beside_a_reader_that_does_not_read() {
    let node = Node::new().await;
    let (_instance, echo, lists) = ten_disks(&node).await;
    node.kubelet.read_lists(false);
    lists.send_replace(Arc::new(harness::disks(50_000)));
    echo.hold_answers();
    let client = client(&node.sockets()[0]).await;
    let call = |number: usize| {
        let mut client = client.clone();
        async move { client.allocate(request(&[&[&format!("disk-{number}")]])).await.map(|_| ()) }
    };
    let calls = async { tokio::join!(call(1), call(2), call(3)) };
    let all_asked = async {
        echo.until_asked("allocate", 3).await;
        echo.permits.add_permits(3);
    };
    let (answers, ()) = tokio::join!(calls, all_asked);
    assert!(matches!(answers, (Ok(()), Ok(()), Ok(()))), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn pre_start_has_30_seconds_and_a_refusal_keeps_the_container_from_starting() {
    let node = Node::new().await;
    let (_instance, echo, _lists) = ten_disks(&node).await;
    node.kubelet.admit(&pod("a", DISK, 1)).await.unwrap();
    echo.hold_answers();
    let late = node.kubelet.start_container("a", "app").await.unwrap_err();
    assert!(matches!(&late, AdmissionError::Plugin { why, .. } if why.contains("Deadline")), "{late}");
    echo.permits.add_permits(1);
    node.kubelet.start_container("a", "app").await.unwrap();
}

/// T01: calls under way are answered, streams end, and only our own sockets are removed, within two seconds.
#[tokio::test(start_paused = true)]
async fn at_the_stop_calls_are_answered_and_only_our_own_sockets_are_removed() {
    let node = Node::new().await;
    let foreign = node.directory.path().join("foreign.sock");
    let _foreign = std::os::unix::net::UnixListener::bind(&foreign).unwrap();
    let (instance, echo, _lists) = ten_disks(&node).await;
    let other = instance.serve("v.io/other", 1).await;
    node.kubelet.until(|view| view.allocatable("v.io/other") == 1).await;
    echo.hold_answers();
    let request = pod("a", DISK, 1);
    let admitted = node.kubelet.admit(&request);
    let ending = async {
        echo.until_asked("prefer", 1).await;
        echo.permits.add_permits(1);
        echo.until_asked("allocate", 1).await;
        instance.begin_end();
        sleep(Duration::from_millis(500)).await;
        assert!(node.sockets() == [foreign.clone()], "{:?}", node.sockets());
        echo.permits.add_permits(1);
        timeout(Duration::from_secs(2), instance.end()).await.unwrap().unwrap();
    };
    let (admitted, ()) = tokio::join!(admitted, ending);
    admitted.unwrap();
    let view = node.kubelet.until(|view| view.resources[DISK].streams == 0).await;
    assert_eq!((view.allocatable(DISK), view.allocatable("v.io/other")), (0, 0));
    drop(other);
}

/// B01: whoever speaks nonsense, or nothing, is closed, and the kubelet is answered.
#[tokio::test(start_paused = true)]
async fn nonsense_silence_and_too_much_are_closed_and_other_calls_answered() {
    let node = Node::new().await;
    let (_instance, _echo, _lists) = ten_disks(&node).await;
    let path = node.sockets()[0].clone();
    for noise in
        [&[0xa5; 4096][..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense in frames"]
    {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        drop(timeout(Duration::from_secs(11), stream.read_to_end(&mut answer)).await.expect("it is closed"));
        assert!(answer.len() < 1024);
    }
    let mut half = UnixStream::connect(&path).await.unwrap();
    half.write_all(b"PRI * HT").await.unwrap();
    let mut idle = vec![half];
    for _ in 0..1000 {
        idle.push(UnixStream::connect(&path).await.unwrap());
    }
    let mut client = client(&path).await;
    client.allocate(request(&[&["disk-1"]])).await.unwrap();
    sleep(Duration::from_secs(11)).await;
    for mut stream in idle {
        let mut answer = Vec::new();
        drop(timeout(Duration::from_secs(1), stream.read_to_end(&mut answer)).await.expect("it was closed"));
    }

    let id = "x".repeat(100 * 1024 * 1024);
    let refusal = client.allocate(request(&[&[&id]])).await.unwrap_err();
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal}");
    client.allocate(request(&[&["disk-1"]])).await.unwrap();
    assert_eq!(node.kubelet.view().registrations_of(DISK), 1, "nobody else's end is the kubelet's");
}
