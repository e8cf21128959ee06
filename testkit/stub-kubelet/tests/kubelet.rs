//! The stub is no kinder than a kubelet.

mod plugin;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use outrigger_kubelet_api::device_plugin::{DevicePluginOptions, UNHEALTHY};
use outrigger_kubelet_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use outrigger_kubelet_api::pod_resources::{
    AllocatableResourcesRequest, GetPodResourcesRequest, ListPodResourcesRequest,
};
use outrigger_kubelet_api::{Channel, Code, LOCALHOST};
use outrigger_stub_kubelet::{
    AdmissionError, CHECKPOINT, ContainerRequest, Listed, OnRegister, Options, PodRequest, Reuse, StubKubelet,
};
use plugin::{Plugin, devices, near, register, registration};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const DISK: &str = "v.io/disk";

async fn kubelet(set: impl FnOnce(&mut Options)) -> (TempDir, StubKubelet) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = Options::new(directory.path());
    set(&mut options);
    let kubelet = StubKubelet::started(options).await.expect("it starts");
    (directory, kubelet)
}

/// A kubelet with a plugin that has listed these devices.
async fn with_devices(options: DevicePluginOptions, ids: &[&str]) -> (TempDir, StubKubelet, Plugin) {
    let (directory, kubelet) = kubelet(|_| ()).await;
    let plugin = Plugin::serve(directory.path(), "a.sock", options);
    register(directory.path(), registration(DISK, "a.sock")).await.expect("it is taken");
    plugin.list(devices(ids));
    kubelet.until(|view| view.allocatable(DISK) == ids.len()).await;
    (directory, kubelet, plugin)
}

fn container(name: &str, reuse: Reuse, count: usize) -> ContainerRequest {
    ContainerRequest { name: name.into(), reuse, limits: [(DISK.to_owned(), count)].into() }
}

fn pod(uid: &str, containers: Vec<ContainerRequest>) -> PodRequest {
    PodRequest { uid: uid.into(), name: format!("pod-{uid}"), namespace: "default".into(), containers }
}

#[tokio::test(start_paused = true)]
async fn a_start_removes_sockets_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let _served = UnixListener::bind(path("a.sock")).unwrap();
    fs::create_dir(path("directory.sock")).unwrap();
    fs::write(path("file.sock"), "").unwrap();
    let _kubelet = StubKubelet::started(Options::new(directory.path())).await.unwrap();
    assert!(!path("a.sock").exists() && path("directory.sock").exists() && path("file.sock").exists());
}

#[tokio::test(start_paused = true)]
async fn between_bind_and_listen_a_connect_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.listen_pause = Duration::from_secs(1);
    let path = directory.path().join("kubelet.sock");
    let starting = StubKubelet::started(options);
    let trying = async {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    };
    let (kubelet, ()) = tokio::join!(starting, trying);
    UnixStream::connect(&path).unwrap();
    let mut kubelet = kubelet.unwrap();
    kubelet.kill().await;
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused, "the file stays");
}

#[tokio::test(start_paused = true)]
async fn register_dials_for_ten_seconds_inside_the_call() {
    let (directory, kubelet) = kubelet(|_| ()).await;
    let begun = Instant::now();
    let status = register(directory.path(), registration(DISK, "missing.sock")).await.unwrap_err();
    assert!(status.message().contains("failed to dial device plugin"), "{status}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(kubelet.view().registrations[0].answer.as_ref().is_some_and(Result::is_err));
}

#[tokio::test(start_paused = true)]
async fn register_refuses_other_versions_and_names() {
    let (directory, _kubelet) = kubelet(|_| ()).await;
    let mut other = registration(DISK, "a.sock");
    other.version = "v1beta2".into();
    for request in [other, registration("disk", "a.sock"), registration("x.kubernetes.io/disk", "a.sock")] {
        register(directory.path(), request).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn the_options_of_the_answer_count_and_those_of_the_request_do_not() {
    let (directory, kubelet) = kubelet(|_| ()).await;
    let plugin = Plugin::serve(directory.path(), "a.sock", DevicePluginOptions::default());
    let mut request = registration(DISK, "a.sock");
    request.options = Some(DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true });
    register(directory.path(), request).await.unwrap();
    assert_eq!(plugin.asked(), ["options"]);
    plugin.list(devices(&["x"]));
    kubelet.until(|view| view.allocatable(DISK) == 1).await;
    kubelet.admit(&pod("1", vec![container("app", Reuse::Keeps, 1)])).await.unwrap();
    kubelet.start_container("1", "app").await.unwrap();
    assert_eq!(plugin.asked(), ["options", "allocate x"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_makes_devices_unhealthy_and_five_minutes_later_forgotten() {
    let (_directory, kubelet, plugin) = with_devices(DevicePluginOptions::default(), &["x", "y"]).await;
    let mut ill = devices(&["x", "y", "z"]);
    ill[0].health = UNHEALTHY.into();
    ill[2] = near("z", 0);
    plugin.list(ill);
    let view = kubelet.until(|view| view.resources[DISK].devices.len() == 3).await;
    assert_eq!(view.allocatable(DISK), 2);
    let z = Listed { health: "Healthy".into(), numa: Some(vec![0]) };
    assert_eq!(view.resources[DISK].devices["z"], z, "node 0 is present on the wire");
    drop(plugin);
    let view = kubelet.until(|view| view.resources[DISK].ended == 1).await;
    assert_eq!((view.allocatable(DISK), view.resources[DISK].devices.len()), (0, 3));
    kubelet.advance(Duration::from_secs(299));
    assert!(kubelet.view().resources.contains_key(DISK));
    kubelet.advance(Duration::from_secs(1));
    assert!(!kubelet.view().resources.contains_key(DISK));
}

#[tokio::test(start_paused = true)]
async fn a_list_above_4_mib_ends_the_stream() {
    let (_directory, kubelet, plugin) = with_devices(DevicePluginOptions::default(), &["x"]).await;
    let ids: Vec<String> = (0..79_200).map(|number| format!("{number:040}")).collect();
    plugin.list(devices(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
    let view = kubelet.until(|view| view.resources[DISK].ended == 1).await;
    assert_eq!(view.allocatable(DISK), 0);
    assert!(view.resources[DISK].last_end.as_ref().is_some_and(|end| end.contains("too large")), "{view:#?}");
}

/// The bug, as it was observed: the old instance's end takes the new instance's devices.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_older_instance_disconnects_the_newer_with_the_bug_and_not_without() {
    for overlap_bug in [true, false] {
        let (directory, kubelet) = kubelet(|options| options.overlap_bug = overlap_bug).await;
        let old = Plugin::serve(directory.path(), "old.sock", DevicePluginOptions::default());
        register(directory.path(), registration(DISK, "old.sock")).await.unwrap();
        old.list(devices(&["x"]));
        kubelet.until(|view| view.allocatable(DISK) == 1).await;
        let new = Plugin::serve(directory.path(), "new.sock", DevicePluginOptions::default());
        register(directory.path(), registration(DISK, "new.sock")).await.unwrap();
        new.list(devices(&["x", "y"]));
        kubelet.until(|view| view.allocatable(DISK) == 2).await;
        old.list(devices(&["x"]));
        kubelet.until(|view| view.allocatable(DISK) == 1).await; // The last writer wins.
        new.list(devices(&["x", "y"]));
        kubelet.until(|view| view.allocatable(DISK) == 2 && view.resources[DISK].streams == 2).await;
        drop(old);
        let view = kubelet.until(|view| view.resources[DISK].ended == 1).await;
        let (devices, streams) = if overlap_bug { (0, 0) } else { (2, 1) };
        assert_eq!((view.allocatable(DISK), view.resources[DISK].streams), (devices, streams), "bug: {overlap_bug}");
        let gaps: Vec<bool> = view.gaps_of(DISK).map(|gap| gap.until.is_some()).collect();
        assert_eq!(gaps, if overlap_bug { &[false][..] } else { &[] }, "a gap that has not ended, or none");
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_leave_their_devices_to_those_after_them() {
    let prefers = DevicePluginOptions { get_preferred_allocation_available: true, ..Default::default() };
    let (_directory, kubelet, plugin) = with_devices(prefers, &["a", "b", "c", "d"]).await;
    let containers = vec![
        container("init", Reuse::Leaves, 1),
        container("sidecar", Reuse::Keeps, 1),
        container("app", Reuse::Keeps, 2),
    ];
    let admitted = kubelet.admit(&pod("1", containers)).await.unwrap();
    let ids = |container: &str| admitted[container][DISK].0.iter().cloned().collect::<String>();
    assert_eq!((ids("init"), ids("sidecar"), ids("app")), ("a".into(), "a".into(), "bc".into()));
    let asked = plugin.asked();
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("prefer")).count(), 2, "{asked:?}");
    let refused = kubelet.admit(&pod("2", vec![container("app", Reuse::Keeps, 2)])).await.unwrap_err();
    let resource = DISK.to_owned();
    assert_eq!(refused, AdmissionError::Unavailable { resource, requested: 2, available: 1 });
    kubelet.remove_pod("1");
    kubelet.admit(&pod("2", vec![container("app", Reuse::Keeps, 4)])).await.unwrap();
}

/// Without a preference the order is by chance, here by the seed.
#[tokio::test(start_paused = true)]
async fn ids_are_chosen_in_no_order() {
    let mut chosen = BTreeSet::new();
    for seed in 0..10 {
        let (directory, kubelet) = kubelet(|options| options.seed = seed).await;
        let plugin = Plugin::serve(directory.path(), "a.sock", DevicePluginOptions::default());
        register(directory.path(), registration(DISK, "a.sock")).await.unwrap();
        plugin.list(devices(&["a", "b", "c", "d"]));
        kubelet.until(|view| view.allocatable(DISK) == 4).await;
        let admitted = kubelet.admit(&pod("1", vec![container("app", Reuse::Keeps, 1)])).await.unwrap();
        chosen.extend(admitted["app"][DISK].0.clone());
    }
    assert!(chosen.len() > 1, "{chosen:?}");
}

#[tokio::test(start_paused = true)]
async fn assignments_survive_a_restart_and_devices_come_back_with_the_plugin() {
    let starts = DevicePluginOptions { pre_start_required: true, ..Default::default() };
    let (directory, mut kubelet, plugin) = with_devices(starts, &["x"]).await;
    let request = pod("1", vec![container("app", Reuse::Keeps, 1)]);
    let admitted = kubelet.admit(&request).await.unwrap();
    kubelet.restart().await.unwrap();
    assert!(directory.path().join(CHECKPOINT).exists());
    let view = kubelet.view();
    assert_eq!((view.allocatable(DISK), view.resources.contains_key(DISK)), (0, true));
    drop(plugin);
    let plugin = Plugin::serve(directory.path(), "b.sock", starts);
    register(directory.path(), registration(DISK, "b.sock")).await.unwrap();
    plugin.list(devices(&["x"]));
    kubelet.until(|view| view.allocatable(DISK) == 1).await;
    assert_eq!(kubelet.start_container("1", "app").await.unwrap(), admitted["app"]);
    assert_eq!(plugin.asked(), ["options", "pre_start x"]);
    let refused = kubelet.admit(&pod("2", vec![container("app", Reuse::Keeps, 1)])).await.unwrap_err();
    assert!(matches!(refused, AdmissionError::Unavailable { available: 0, .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn pod_resources_tells_who_holds_what() {
    let pod_resources = tempfile::tempdir().unwrap();
    let (directory, kubelet) = kubelet(|options| options.pod_resources = Some(pod_resources.path().into())).await;
    let plugin = Plugin::serve(directory.path(), "a.sock", DevicePluginOptions::default());
    register(directory.path(), registration(DISK, "a.sock")).await.unwrap();
    plugin.list(vec![near("x", 0), near("y", 1)]);
    kubelet.until(|view| view.allocatable(DISK) == 2).await;
    kubelet.admit(&pod("1", vec![container("app", Reuse::Keeps, 2)])).await.unwrap();

    let channel = Channel::connect(pod_resources.path().join("kubelet.sock"), LOCALHOST).await.unwrap();
    let mut client = PodResourcesListerClient::new(channel);
    let pods = client.list(ListPodResourcesRequest {}).await.unwrap().into_inner().pod_resources;
    assert_eq!((pods[0].name.as_str(), pods[0].namespace.as_str()), ("pod-1", "default"));
    let held: BTreeMap<&str, i64> = pods[0].containers[0]
        .devices
        .iter()
        .map(|devices| (devices.device_ids[0].as_str(), devices.topology.as_ref().unwrap().nodes[0].id))
        .collect();
    assert_eq!(held, BTreeMap::from([("x", 0), ("y", 1)]));
    let all = client.get_allocatable_resources(AllocatableResourcesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.devices.len(), 2);
    let ask = |name: &str| GetPodResourcesRequest { pod_name: name.into(), pod_namespace: "default".into() };
    client.get(ask("pod-1")).await.unwrap();
    assert_eq!(client.get(ask("pod-2")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_can_refuse_and_die_in_register() {
    let (directory, mut kubelet) = kubelet(|_| ()).await;
    let plugin = Plugin::serve(directory.path(), "a.sock", DevicePluginOptions::default());
    kubelet.on_register(OnRegister::Refuse("no".into()));
    let refusal = register(directory.path(), registration(DISK, "a.sock")).await.unwrap_err();
    assert_eq!(refusal.message(), "no");
    kubelet.on_register(OnRegister::Die);
    register(directory.path(), registration(DISK, "a.sock")).await.unwrap_err();
    assert!(!kubelet.view().running && plugin.asked() == ["options"]);
    assert_eq!(kubelet.view().registrations[1].answer, None);
    kubelet.start().await.unwrap();
    assert!(kubelet.view().running);
}

/// A percent-encoded path, as a kubelet's plugin watcher sends it, is none to the `http` crate: the stub cannot send it.
#[tokio::test(start_paused = true)]
async fn the_authority_is_as_it_was_set() {
    for (authority, is_sent) in [("node-1.example:10250", true), ("%2Fvar%2Flib%2Fkubelet", false)] {
        let (directory, _kubelet) = kubelet(|options| options.authority = authority.into()).await;
        let plugin = Plugin::serve(directory.path(), "a.sock", DevicePluginOptions::default());
        let answer = register(directory.path(), registration(DISK, "a.sock")).await;
        assert_eq!((answer.is_ok(), plugin.asked().len()), (is_sent, usize::from(is_sent)), "{authority}: {answer:?}");
    }
}

/// What grpc-go sends is recorded: its `:authority` is the socket's path, percent-encoded, which `h2` alone refuses.
#[tokio::test(start_paused = true)]
async fn a_client_of_grpc_go_is_heard_as_a_kubelet_hears_it() {
    let (directory, kubelet) = kubelet(|_| ()).await;
    let mut client = UnixStream::connect(directory.path().join("kubelet.sock")).unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let frames = include_str!("recorded/grpc-go-register.hex").lines().filter(|line| !line.starts_with('#'));
    for frame in frames {
        let byte = |at| u8::from_str_radix(&frame[at..at + 2], 16).unwrap();
        let frame: Vec<u8> = (0..frame.len()).step_by(2).map(byte).collect();
        client.write_all(&frame).unwrap();
    }
    let view = kubelet.until(|view| !view.registrations.is_empty()).await;
    let heard = &view.registrations[0];
    let said = (heard.resource.as_str(), heard.endpoint.as_str(), heard.version.as_str());
    assert_eq!(said, ("example.com/resource", "dp.1795283548", "v1beta1"));
}
