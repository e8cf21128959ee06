//! `pod-resources/kubelet.sock`: who holds what.

use std::collections::BTreeMap;

use outrigger_kubelet_api::pod_resources as wire;
use outrigger_kubelet_api::pod_resources::pod_resources_lister_server::PodResourcesLister;
use outrigger_kubelet_api::{Request, Response, Status, async_trait};

use crate::run::Life;
use crate::state::State;

/// The service of one life.
#[derive(Clone, Debug)]
pub(crate) struct Lister(pub(crate) Life);

#[async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<wire::ListPodResourcesRequest>,
    ) -> Result<Response<wire::ListPodResourcesResponse>, Status> {
        Ok(Response::new(wire::ListPodResourcesResponse { pod_resources: self.pods() }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<wire::AllocatableResourcesRequest>,
    ) -> Result<Response<wire::AllocatableResourcesResponse>, Status> {
        let state = self.0.manager.lock();
        let resources = state.healthy.iter().filter(|(_, ids)| !ids.is_empty());
        let devices = resources.flat_map(|(resource, ids)| devices(&state, resource, ids.iter())).collect();
        Ok(Response::new(wire::AllocatableResourcesResponse { devices, ..Default::default() }))
    }

    async fn get(
        &self,
        request: Request<wire::GetPodResourcesRequest>,
    ) -> Result<Response<wire::GetPodResourcesResponse>, Status> {
        let wire::GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let pod = self.pods().into_iter().find(|pod| (&pod.name, &pod.namespace) == (&pod_name, &pod_namespace));
        match pod {
            Some(pod) => Ok(Response::new(wire::GetPodResourcesResponse { pod_resources: Some(pod) })),
            None => Err(Status::not_found(format!("pod {pod_name} in namespace {pod_namespace} not found"))),
        }
    }
}

impl Lister {
    fn pods(&self) -> Vec<wire::PodResources> {
        let state = self.0.manager.lock();
        let names = self.0.settings.pods();
        let mut pods: BTreeMap<&String, BTreeMap<&String, Vec<wire::ContainerDevices>>> = BTreeMap::new();
        for ((pod, container, resource), held) in &state.held {
            let containers = pods.entry(pod).or_default();
            containers.entry(container).or_default().extend(devices(&state, resource, held.ids.iter()));
        }
        let container = |(name, devices): (&String, Vec<wire::ContainerDevices>)| wire::ContainerResources {
            name: name.clone(),
            devices,
            ..Default::default()
        };
        pods.into_iter()
            .filter_map(|(uid, containers)| {
                let (namespace, name) = names.get(uid)?.clone();
                let containers = containers.into_iter().map(container).collect();
                Some(wire::PodResources { name, namespace, containers, ..Default::default() })
            })
            .collect()
    }
}

/// One entry per device, as a kubelet gives them where devices have a topology.
fn devices<'a>(state: &State, resource: &str, ids: impl Iterator<Item = &'a String>) -> Vec<wire::ContainerDevices> {
    ids.map(|id| {
        let device = state.devices.get(resource).and_then(|devices| devices.get(id));
        let topology = device.and_then(|device| device.topology.as_ref()).map(|topology| wire::TopologyInfo {
            nodes: topology.nodes.iter().map(|node| wire::NumaNode { id: node.id }).collect(),
        });
        wire::ContainerDevices { resource_name: resource.to_owned(), device_ids: vec![id.clone()], topology }
    })
    .collect()
}
