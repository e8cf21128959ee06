//! Who holds which device, as the kubelet tells (`PodResources` v1): the only way to learn who has one, and that it was given
//! back.

use std::collections::{BTreeMap, BTreeSet};
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

/// What the kubelet tells of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Who holds what. What an init container holds is not told, unless that runs on beside the others
    /// (`pkg/kubelet/apis/podresources/server_v1.go`, `List`).
    pub holders: Holders,
    /// All of them: `namespace/pod`.
    pub names: BTreeSet<String>,
}

impl Pods {
    /// What was told before holds as well.
    pub fn add(&mut self, before: &Self) {
        for (key, who) in &before.holders {
            self.holders.entry(key.clone()).or_insert_with(|| who.clone());
        }
        self.names.extend(before.names.iter().cloned());
    }
}

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

/// Asks the kubelet who holds what.
pub async fn holders(socket: &Path) -> Result<Holders, ClaimsError> {
    pods(socket).await.map(|pods| pods.holders)
}

/// Asks the kubelet.
pub async fn pods(socket: &Path) -> Result<Pods, ClaimsError> {
    let asked = async {
        let channel = Channel::connect(socket, LOCALHOST).await?;
        let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(MOST);
        let answer = client.list(ListPodResourcesRequest {}).await;
        answer.map_err(|status| ClaimsError::Refused(Box::new(status)))
    };
    let answer = timeout(LIMIT, asked).await.map_err(|_| ClaimsError::TooLate)??;
    Ok(of_pods(answer.into_inner().pod_resources))
}

fn of_pods(pods: Vec<PodResources>) -> Pods {
    let mut told = Pods::default();
    for pod in pods {
        let name = format!("{}/{}", pod.namespace, pod.name);
        for container in pod.containers {
            let who = format!("{name}/{}", container.name);
            for devices in container.devices {
                let ids = devices.device_ids.into_iter();
                told.holders.extend(ids.map(|id| ((devices.resource_name.clone(), id), who.clone())));
            }
        }
        told.names.insert(name);
    }
    told
}
