//! Kubernetes' own sample device plugin, which is written in Go, at the kubelet of the test kit: what works for it there works
//! for it at a kubelet, and what a kubelet refuses is refused.

use outrigger_e2e::devices::{Node, Plugin};
use outrigger_stub_kubelet::{ContainerRequest, PodRequest, Reuse};

const RESOURCE: &str = "example.com/resource";

fn sample() -> Plugin {
    Plugin::Sample(std::env::var_os("SAMPLE_DEVICE_PLUGIN_BIN").expect("`cargo xtask test` names it").into())
}

fn pod(uid: &str, count: usize) -> PodRequest {
    let container =
        ContainerRequest { name: "app".into(), reuse: Reuse::Keeps, limits: [(RESOURCE.to_owned(), count)].into() };
    PodRequest { uid: uid.into(), name: uid.into(), namespace: "default".into(), containers: vec![container] }
}

#[tokio::test]
async fn it_registers_lists_its_two_devices_and_gives_them() {
    let mut node = Node::new().await.unwrap();
    node.start(&sample()).unwrap();
    let view = node.until_offered(&[(RESOURCE.to_owned(), 2)]).await.unwrap();
    assert_eq!(view.registrations_of(RESOURCE), 1);
    let ids: Vec<&str> = view.resources[RESOURCE].devices.keys().map(String::as_str).collect();
    assert_eq!(ids, ["Dev-1", "Dev-2"]);

    let admitted = node.kubelet.admit(&pod("one", 2)).await.unwrap();
    let (_, answer) = &admitted["app"][RESOURCE];
    let mut mounts: Vec<&str> = answer.mounts.iter().map(|mount| mount.host_path.as_str()).collect();
    mounts.sort_unstable();
    assert_eq!(mounts, ["/tmp/Dev-1", "/tmp/Dev-2"], "in a /tmp of its own");
    node.kubelet.admit(&pod("two", 1)).await.unwrap_err();

    node.stop().unwrap();
    node.until("its devices are gone", |view| view.allocatable(RESOURCE) == 0).await.unwrap();
}
