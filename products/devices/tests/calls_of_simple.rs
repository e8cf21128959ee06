//! What the replaced simple-device-plugin answered to a kubelet, row by row beside what is answered now: the reference's table
//! of calls, by the profile that takes its place, over the protocol. Its discovery by example stands in `discovery.rs`; the
//! last rows there, of what `lsblk` prints wrongly, have no like: no `lsblk` is used (`k11_…` shows it).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod harness;

use harness::{Node, machine, unplug_disk};
use outrigger_device_core::ids::{Kind, short};
use outrigger_host_tree::HostTree;
use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse, DeviceSpec, Empty, PreStartContainerRequest,
};
use outrigger_kubelet_api::{Code, Status};

const SATA: &str = "kubedev.org/sata";

/// Disks, container by container.
type Asked = &'static [&'static [&'static str]];

/// A machine with these disks, and what takes the old program's place on it.
async fn with_disks(disks: &[&str]) -> (HostTree, Node) {
    let machine = machine(disks);
    let mut node = Node::new("").await;
    node.start_in_place_of_simple(machine.root());
    node.offered(SATA, disks.len()).await;
    (machine, node)
}

/// The id of a disk, or what is none.
fn id(disk: &str) -> String {
    if disk.starts_with("sd") { short(Kind::Block, &format!("naa.{disk}")) } else { disk.to_owned() }
}

/// One call with a container request for each of these, in their order.
async fn allocate(node: &Node, containers: &[&[&str]]) -> Result<Vec<ContainerAllocateResponse>, Status> {
    let ids = |disks: &&[&str]| ContainerAllocateRequest { device_ids: disks.iter().map(|disk| id(disk)).collect() };
    let container_requests = containers.iter().map(ids).collect();
    let answer = node.client(SATA).await.allocate(AllocateRequest { container_requests }).await;
    answer.map(|answer| answer.into_inner().container_responses)
}

fn spec(disk: &str) -> DeviceSpec {
    let path = format!("/dev/{disk}");
    DeviceSpec { container_path: path.clone(), host_path: path, permissions: "rwm".to_owned() }
}

#[tokio::test]
async fn each_id_gets_its_disk_at_its_own_path_with_all_permissions() {
    let rows: [(Asked, Asked); 6] = [
        (&[&["sdc"]], &[&["sdc"]]), // The original: /dev/sdb.
        (&[&["sdb"], &["sdc"]], &[&["sdb"], &["sdc"]]),
        (&[&["sdc"], &["sdb"]], &[&["sdc"], &["sdb"]]), // The original: right only by luck.
        (&[&["sdb", "sdc"]], &[&["sdb", "sdc"]]),
        (&[&["sdc", "sdb"]], &[&["sdb", "sdc"]]),
        (&[], &[]),
    ];
    for (asked, expected) in rows {
        let (_machine, node) = with_disks(&["sdb", "sdc"]).await;
        let given = allocate(&node, asked).await.unwrap();
        let expected: Vec<Vec<DeviceSpec>> =
            expected.iter().map(|disks| disks.iter().map(|disk| spec(disk)).collect()).collect();
        assert_eq!(given.into_iter().map(|one| one.devices).collect::<Vec<_>>(), expected, "{asked:?}");
    }
}

#[tokio::test]
async fn three_ids_of_one_disk_are_an_error_and_the_process_lives() {
    let (_machine, node) = with_disks(&["sdb"]).await;
    for asked in [&["sdb", "1", "2"][..], &["sdb", "sdc", "sdd"], &["0"]] {
        let refused = allocate(&node, &[asked]).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{asked:?}: {refused}");
    }
    assert_eq!(allocate(&node, &[&["sdb"]]).await.unwrap()[0].devices, [spec("sdb")]);
}

#[tokio::test]
async fn a_disk_that_is_pulled_after_the_list_is_refused_and_no_other_given() {
    let (machine, node) = with_disks(&["sdb", "sdc"]).await;
    unplug_disk(&machine, "sdc");
    let refused = allocate(&node, &[&["sdc"]]).await.unwrap_err(); // The original: /dev/sdb.
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("sdc") && refused.message().contains("vanished"), "{refused}");
}

/// Different on purpose: the start of a container is looked at, so the kubelet is told to ask. Preferences are not.
#[tokio::test]
async fn options_ask_for_the_start_of_containers_alone() {
    let (_machine, node) = with_disks(&["sdb"]).await;
    let mut client = node.client(SATA).await;
    let options = client.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
    assert!(options.pre_start_required && !options.get_preferred_allocation_available);
    client.pre_start_container(PreStartContainerRequest { device_ids: vec![id("sdb")] }).await.unwrap();
    let view = node.kubelet.view();
    let registered = view.registrations.iter().map(|one| (one.endpoint.as_str(), one.version.as_str()));
    assert_eq!(registered.collect::<Vec<_>>(), [("sata.sock", "v1beta1")]);
}
