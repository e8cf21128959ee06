//! `pod-resources/kubelet.sock`: who holds what.

use std::collections::BTreeMap;

use outrigger_kubelet_api::pod_resources as wire;
use outrigger_kubelet_api::pod_resources::pod_resources_lister_server::PodResourcesLister;
use outrigger_kubelet_api::{Request, Response, Status, async_trait};

use crate::kubelet::Known;
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
        let pod_resources = self.pods();
        let with_devices = pod_resources.iter().filter(|pod| !pod.containers.is_empty());
        let names: Vec<String> = with_devices.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        self.0.settings.view.send_if_modified(|view| {
            let count = view.told.len();
            view.told.extend(names);
            view.told.len() > count
        });
        Ok(Response::new(wire::ListPodResourcesResponse { pod_resources }))
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
    /// All active pods, also those without devices; what a container has that ends before the others start is not told
    /// (`pkg/kubelet/apis/podresources/server_v1.go`, `List`).
    fn pods(&self) -> Vec<wire::PodResources> {
        let state = self.0.manager.lock();
        let mut containers: BTreeMap<&String, BTreeMap<&String, Vec<wire::ContainerDevices>>> = BTreeMap::new();
        for ((pod, container, resource), held) in &state.held {
            let of_pod = containers.entry(pod).or_default();
            of_pod.entry(container).or_default().extend(devices(&state, resource, held.ids.iter()));
        }
        let pods = self.0.settings.pods().into_iter().map(|(uid, Known { namespace, name, init })| {
            let containers = containers.remove(&uid).unwrap_or_default().into_iter();
            let told = containers.filter(|(container, _)| !init.contains(*container));
            let told = told.map(|(name, devices)| wire::ContainerResources {
                name: name.clone(),
                devices,
                ..Default::default()
            });
            wire::PodResources { name, namespace, containers: told.collect(), ..Default::default() }
        });
        pods.collect()
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
