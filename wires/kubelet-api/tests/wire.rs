//! The messages as they stand on the wire. The bytes were worked out by hand from the field numbers of the protocol.

use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, AllocateResponse, CdiDevice, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, ContainerPreferredAllocationResponse, Device, DevicePluginOptions, DeviceSpec,
    Empty, HEALTHY, ListAndWatchResponse, Mount, NumaNode, PreStartContainerRequest, PreferredAllocationRequest,
    PreferredAllocationResponse, RegisterRequest, TopologyInfo, UNHEALTHY, VERSION,
};
use outrigger_kubelet_api::pod_resources as held;
use prost::Message;

/// Asserts that a message is these bytes, both ways.
#[track_caller]
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, expected: &[u8]) {
    let bytes = message.encode_to_vec();
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(&M::decode(expected).expect("the bytes are the message"), message);
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn register_request() {
    let request = RegisterRequest {
        version: VERSION.into(),
        endpoint: "a.sock".into(),
        resource_name: "v.io/d".into(),
        options: Some(DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true }),
    };
    check(&request, b"\x0a\x07v1beta1\x12\x06a.sock\x1a\x06v.io/d\x22\x04\x08\x01\x10\x01");
    check(&Empty {}, b"");
}

#[test]
fn numa_node_0_is_empty_and_present() {
    let near = |node| Some(TopologyInfo { nodes: vec![NumaNode { id: node }] });
    let device = |health: &str, topology| Device { id: "a".into(), health: health.into(), topology };
    let devices = vec![device(HEALTHY, near(0)), device(HEALTHY, near(1)), device(UNHEALTHY, None)];
    let expected = b"\
        \x0a\x10\x0a\x01a\x12\x07Healthy\x1a\x02\x0a\x00\
        \x0a\x12\x0a\x01a\x12\x07Healthy\x1a\x04\x0a\x02\x08\x01\
        \x0a\x0e\x0a\x01a\x12\x09Unhealthy";
    check(&ListAndWatchResponse { devices, ..ListAndWatchResponse::default() }, expected);
}

#[test]
fn preferred_allocation() {
    let request = ContainerPreferredAllocationRequest {
        available_device_ids: strings(&["a", "b"]),
        must_include_device_ids: strings(&["b"]),
        allocation_size: 2,
    };
    let request = PreferredAllocationRequest { container_requests: vec![request] };
    check(&request, b"\x0a\x0b\x0a\x01a\x0a\x01b\x12\x01b\x18\x02");
    let answer = ContainerPreferredAllocationResponse { device_ids: strings(&["a", "b"]) };
    let answer = PreferredAllocationResponse { container_responses: vec![answer] };
    check(&answer, b"\x0a\x06\x0a\x01a\x0a\x01b");
}

#[test]
fn allocate_request_and_pre_start_request() {
    let request = ContainerAllocateRequest { device_ids: strings(&["a", "b"]) };
    let request = AllocateRequest { container_requests: vec![request] };
    check(&request, b"\x0a\x06\x0a\x01a\x0a\x01b");
    check(&PreStartContainerRequest { device_ids: strings(&["a"]) }, b"\x0a\x01a");
}

#[test]
fn allocate_response() {
    let answer = ContainerAllocateResponse {
        envs: [("K".to_owned(), "v".to_owned())].into(),
        mounts: vec![Mount { container_path: "/c".into(), host_path: "/h".into(), read_only: true }],
        devices: vec![DeviceSpec { container_path: "/c".into(), host_path: "/h".into(), permissions: "rw".into() }],
        annotations: [("A".to_owned(), "b".to_owned())].into(),
        cdi_devices: vec![CdiDevice { name: "v.io/c=d".into() }],
    };
    let expected = b"\x0a\x36\
        \x0a\x06\x0a\x01K\x12\x01v\
        \x12\x0a\x0a\x02/c\x12\x02/h\x18\x01\
        \x1a\x0c\x0a\x02/c\x12\x02/h\x1a\x02rw\
        \x22\x06\x0a\x01A\x12\x01b\
        \x2a\x0a\x0a\x08v.io/c=d";
    check(&AllocateResponse { container_responses: vec![answer] }, expected);
}

#[test]
fn what_pods_hold() {
    let topology = Some(held::TopologyInfo { nodes: vec![held::NumaNode { id: 0 }] });
    let devices = held::ContainerDevices { resource_name: "v.io/d".into(), device_ids: strings(&["a"]), topology };
    let claimed = held::ClaimResource {
        cdi_devices: vec![held::CdiDevice { name: "v.io/c=d".into() }],
        driver_name: "r".into(),
        pool_name: "p".into(),
        device_name: "d".into(),
        share_id: Some("s".into()),
    };
    let claim =
        held::DynamicResource { claim_name: "c".into(), claim_namespace: "n".into(), claim_resources: vec![claimed] };
    let memory = held::ContainerMemory { memory_type: "memory".into(), size: 300, topology: None };
    let container = held::ContainerResources {
        name: "c".into(),
        devices: vec![devices],
        cpu_ids: vec![0, 3],
        memory: vec![memory],
        dynamic_resources: vec![claim],
    };
    let pod = held::PodResources {
        name: "p".into(),
        namespace: "n".into(),
        containers: vec![container],
        cpu_ids: vec![1],
        memory: vec![],
    };
    let expected = b"\x0a\x52\
        \x0a\x01p\x12\x01n\
        \x1a\x47\x0a\x01c\
        \x12\x0f\x0a\x06v.io/d\x12\x01a\x1a\x02\x0a\x00\
        \x1a\x02\x00\x03\
        \x22\x0b\x0a\x06memory\x10\xac\x02\
        \x2a\x20\x12\x01c\x1a\x01n\x22\x18\x0a\x0a\x0a\x08v.io/c=d\x12\x01r\x1a\x01p\x22\x01d\x2a\x01s\
        \x22\x01\x01";
    check(&held::ListPodResourcesResponse { pod_resources: vec![pod] }, expected);
    let request = held::GetPodResourcesRequest { pod_name: "p".into(), pod_namespace: "n".into() };
    check(&request, b"\x0a\x01p\x12\x01n");
}

/// A kubelet newer than this crate may send fields that it does not know.
#[test]
fn unknown_fields_are_passed_over() {
    let device = Device::decode(b"\x0a\x01a\x12\x07Healthy\x7a\x03new".as_slice()).unwrap();
    assert_eq!(device.id, "a");
}
