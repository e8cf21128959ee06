//! Who holds which device, as the kubelet tells (`PodResources` v1): the only way to learn who has one, and that it was given
//! back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_kubelet_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use outrigger_kubelet_api::pod_resources::{ListPodResourcesRequest, PodResources};
use outrigger_kubelet_api::{Channel, ConnectError, KUBELET_SOCKET, LOCALHOST, Status};
use tokio::time::timeout;

/// How long the kubelet may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The most bytes of an answer: a node's pods are a few hundred, and each names its devices.
const MOST: usize = 64 << 20;

/// Who holds what, by resource and id: `namespace/pod/container`. A device that several containers of a pod hold after each
/// other is the last one's.
pub type Holders = BTreeMap<(String, String), String>;

/// Why nobody can tell who holds what.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The kubelet cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It refused.
    #[error("the kubelet does not tell which pods hold devices")]
    Refused(#[source] Box<Status>),
    /// It did not answer in time.
    #[error("the kubelet has not told within {LIMIT:?} which pods hold devices")]
    TooLate,
}

/// The kubelet's socket for this, below its directory.
pub fn socket(kubelet_directory: &Path) -> PathBuf {
    kubelet_directory.join("pod-resources").join(KUBELET_SOCKET)
}

/// Asks the kubelet.
pub async fn holders(socket: &Path) -> Result<Holders, ClaimsError> {
    let asked = async {
        let channel = Channel::connect(socket, LOCALHOST).await?;
        let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(MOST);
        let answer = client.list(ListPodResourcesRequest {}).await;
        answer.map_err(|status| ClaimsError::Refused(Box::new(status)))
    };
    let answer = timeout(LIMIT, asked).await.map_err(|_| ClaimsError::TooLate)??;
    Ok(of_pods(answer.into_inner().pod_resources))
}

fn of_pods(pods: Vec<PodResources>) -> Holders {
    let mut holders = Holders::new();
    for pod in pods {
        for container in pod.containers {
            let who = format!("{}/{}/{}", pod.namespace, pod.name, container.name);
            for devices in container.devices {
                let ids = devices.device_ids.into_iter();
                holders.extend(ids.map(|id| ((devices.resource_name.clone(), id), who.clone())));
            }
        }
    }
    holders
}
