//! Asks the kubelet whether it knows our devices, where its pod-resources socket is at hand.
//!
//! What it does not do: it concludes nothing from one answer, since the kubelet may just have taken a list.

use std::path::Path;
use std::time::Duration;

use outrigger_kubelet_api::pod_resources::AllocatableResourcesRequest;
use outrigger_kubelet_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use outrigger_kubelet_api::{Channel, KUBELET_SOCKET, LOCALHOST};
use tokio::time::timeout;
use tracing::debug;

use crate::resource::ResourceName;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer that is read: it holds the devices of every resource of the node.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// How many healthy devices of a resource the kubelet knows; `None` where it cannot be asked.
pub(crate) async fn known(pod_resources: &Path, resource: &ResourceName) -> Option<usize> {
    let socket = pod_resources.join(KUBELET_SOCKET);
    let asked = async {
        let channel = Channel::connect(&socket, LOCALHOST).await.map_err(anyhow::Error::from)?;
        let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        anyhow::Ok(client.get_allocatable_resources(AllocatableResourcesRequest {}).await?.into_inner())
    };
    match timeout(LIMIT, asked).await {
        Ok(Ok(answer)) => {
            let ours = answer.devices.iter().filter(|devices| devices.resource_name == resource.as_str());
            Some(ours.map(|devices| devices.device_ids.len()).sum())
        }
        Ok(Err(error)) => {
            debug!("Cannot ask the kubelet at {} what it knows: {error:#}", socket.display());
            None
        }
        Err(_) => None,
    }
}
