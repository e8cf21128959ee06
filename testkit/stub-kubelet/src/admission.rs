//! Pods: admission with its allocation, container starts with the cached answer, and the end.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use outrigger_kubelet_api::Channel;
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse, ContainerPreferredAllocationRequest,
    PRE_START_LIMIT, PreStartContainerRequest, PreferredAllocationRequest,
};
use thiserror::Error;
use tokio::time::timeout;

use crate::run::Life;
use crate::state::{Held, State};

/// A pod that is to be admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequest {
    /// Its identity.
    pub uid: String,
    /// Its name, for `PodResources`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Init containers first, then the others.
    pub containers: Vec<ContainerRequest>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRequest {
    /// Its name.
    pub name: String,
    /// What becomes of its devices.
    pub reuse: Reuse,
    /// Resource to amount.
    pub limits: BTreeMap<String, usize>,
}

/// What becomes of a container's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// It keeps them: a container, or an init container that runs on beside them.
    #[default]
    Keeps,
    /// An init container that ends: those after it use its devices.
    Leaves,
}

/// What a container got: by resource, which ids and what the plugin answered.
pub type Admitted = BTreeMap<String, (BTreeSet<String>, ContainerAllocateResponse)>;

/// Why a pod was not admitted, or a container not started. Final for the pod: `UnexpectedAdmissionError`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// The kubelet does not run.
    #[error("the kubelet does not run")]
    NoKubelet,
    /// Nobody has registered the resource.
    #[error("cannot allocate unregistered device {0}")]
    Unregistered(String),
    /// There are not enough.
    #[error("requested number of devices unavailable for {resource}. Requested: {requested}, Available: {available}")]
    Unavailable {
        /// The resource.
        resource: String,
        /// How many more were needed.
        requested: usize,
        /// How many there were.
        available: usize,
    },
    /// The plugin answered a call with an error, not in time, or wrongly.
    #[error("{call} of {resource} failed: {why}")]
    Plugin {
        /// The call.
        call: &'static str,
        /// The resource.
        resource: String,
        /// The status, or what was wrong with the answer.
        why: String,
    },
    /// The container was never admitted.
    #[error("no devices found allocated in local cache for pod {pod}, container {container}")]
    NotAdmitted {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
}

impl Life {
    /// Admits a pod, container by container; an error leaves nothing held.
    pub(crate) async fn admit(&self, pod: &PodRequest) -> Result<BTreeMap<String, Admitted>, AdmissionError> {
        let mut admitted = BTreeMap::new();
        let mut reusable: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for container in &pod.containers {
            match self.allocate(pod, container, &mut reusable).await {
                Ok(one) => drop(admitted.insert(container.name.clone(), one)),
                Err(error) => {
                    self.forget(&pod.uid);
                    return Err(error);
                }
            }
        }
        Ok(admitted)
    }

    /// `allocateContainerResources`: one call for each resource, with exactly one container request.
    async fn allocate(
        &self,
        pod: &PodRequest,
        container: &ContainerRequest,
        reusable: &mut BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Admitted, AdmissionError> {
        let mut admitted = Admitted::new();
        for (resource, &needed) in &container.limits {
            let reuse = reusable.entry(resource.clone()).or_default();
            let ids = self.choose(resource, needed, reuse).await?;
            let request = ContainerAllocateRequest { device_ids: self.shuffled(&ids) };
            let request = AllocateRequest { container_requests: vec![request] };
            let failed = |why: String| AdmissionError::Plugin { call: "Allocate", resource: resource.clone(), why };
            let answer = self.plugin(resource)?.allocate(request).await;
            let mut answers = answer.map_err(|status| failed(told(&status)))?.into_inner().container_responses;
            if answers.is_empty() {
                return Err(failed("no containers return in allocation response".to_owned()));
            }
            let answer = answers.swap_remove(0);
            match container.reuse {
                Reuse::Leaves => reuse.extend(ids.clone()),
                Reuse::Keeps => reuse.retain(|id| !ids.contains(id)),
            }
            let key = (pod.uid.clone(), container.name.clone(), resource.clone());
            self.manager.lock().held.insert(key, Held { ids: ids.clone(), answer: answer.clone() });
            admitted.insert(resource.clone(), (ids, answer));
        }
        self.write_checkpoint();
        Ok(admitted)
    }

    /// `devicesToAllocate`: what can be used again, then what the plugin prefers, then chance.
    async fn choose(
        &self,
        resource: &str,
        needed: usize,
        reusable: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, AdmissionError> {
        let mut chosen: BTreeSet<String> = self.shuffled(reusable).into_iter().take(needed).collect();
        let missing = needed - chosen.len();
        if missing == 0 {
            return Ok(chosen);
        }
        let (available, prefers) = {
            let state = self.manager.lock();
            let prefers =
                state.endpoints.get(resource).is_some_and(|one| one.options.get_preferred_allocation_available);
            (free(&state, resource)?, prefers)
        };
        if available.len() < missing {
            let (resource, available) = (resource.to_owned(), available.len());
            return Err(AdmissionError::Unavailable { resource, requested: missing, available });
        }
        if prefers {
            let preferred = self.preferred(resource, &available, &chosen, needed).await?;
            let usable = preferred.into_iter().filter(|id| available.contains(id) && !chosen.contains(id));
            let usable: Vec<String> = usable.take(missing).collect();
            chosen.extend(usable);
        }
        let rest = self.shuffled(&available).into_iter().filter(|id| !chosen.contains(id));
        let rest: Vec<String> = rest.take(needed - chosen.len()).collect();
        chosen.extend(rest);
        Ok(chosen)
    }

    async fn preferred(
        &self,
        resource: &str,
        available: &BTreeSet<String>,
        must: &BTreeSet<String>,
        size: usize,
    ) -> Result<Vec<String>, AdmissionError> {
        let request = ContainerPreferredAllocationRequest {
            available_device_ids: self.shuffled(&available.union(must).cloned().collect()),
            must_include_device_ids: self.shuffled(must),
            allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
        };
        let request = PreferredAllocationRequest { container_requests: vec![request] };
        let answer = self.plugin(resource)?.get_preferred_allocation(request).await;
        let answer = answer.map_err(|status| AdmissionError::Plugin {
            call: "GetPreferredAllocation",
            resource: resource.to_owned(),
            why: told(&status),
        })?;
        Ok(answer.into_inner().container_responses.into_iter().next().map(|one| one.device_ids).unwrap_or_default())
    }

    /// `GetDeviceRunContainerOptions`: `PreStartContainer` where the plugin wants it, and then the cached answer.
    pub(crate) async fn start_container(&self, pod: &str, container: &str) -> Result<Admitted, AdmissionError> {
        let held: Admitted = {
            let state = self.manager.lock();
            let held =
                state.held.iter().filter(|((uid, name, _), _)| (uid.as_str(), name.as_str()) == (pod, container));
            held.map(|((_, _, resource), held)| (resource.clone(), (held.ids.clone(), held.answer.clone()))).collect()
        };
        if held.is_empty() {
            let (pod, container) = (pod.to_owned(), container.to_owned());
            return Err(AdmissionError::NotAdmitted { pod, container });
        }
        for (resource, (ids, _)) in &held {
            let wants = self.manager.lock().endpoints.get(resource).is_some_and(|one| one.options.pre_start_required);
            if !wants {
                continue;
            }
            let mut plugin = self.plugin(resource)?;
            let request = PreStartContainerRequest { device_ids: self.shuffled(ids) };
            let why = match timeout(PRE_START_LIMIT, plugin.pre_start_container(request)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(status)) => told(&status),
                Err(_) => "DeadlineExceeded: context deadline exceeded".to_owned(),
            };
            return Err(AdmissionError::Plugin { call: "PreStartContainer", resource: resource.clone(), why });
        }
        Ok(held)
    }

    /// The pod has ended: its devices are free.
    pub(crate) fn forget(&self, pod: &str) {
        self.manager.lock().held.retain(|(uid, _, _), _| uid != pod);
        self.write_checkpoint();
    }

    fn plugin(&self, resource: &str) -> Result<DevicePluginClient<Channel>, AdmissionError> {
        let plugin = self.manager.lock().endpoints.get(resource).and_then(|endpoint| endpoint.plugin.clone());
        plugin.ok_or_else(|| AdmissionError::Unregistered(resource.to_owned()))
    }

    /// In an order that says nothing, the same for the same seed: Go's maps have one by chance.
    fn shuffled(&self, ids: &BTreeSet<String>) -> Vec<String> {
        let mut ids: Vec<String> = ids.iter().cloned().collect();
        ids.sort_by_cached_key(|id| {
            let mut hasher = DefaultHasher::new();
            (self.settings.options.seed, id).hash(&mut hasher);
            hasher.finish()
        });
        ids
    }
}

/// The healthy devices that nobody holds.
fn free(state: &State, resource: &str) -> Result<BTreeSet<String>, AdmissionError> {
    let healthy = state.healthy.get(resource).ok_or_else(|| AdmissionError::Unregistered(resource.to_owned()))?;
    Ok(healthy.difference(&state.in_use(resource)).cloned().collect())
}

fn told(status: &outrigger_kubelet_api::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
