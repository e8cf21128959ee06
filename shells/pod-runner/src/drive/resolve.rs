//! From the plan to what a start needs at this moment: command, environment, volume contents.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::PodAddresses;
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};

use super::pod::Pod;
use crate::launcher::PreparedPod;
use crate::volumes::{Given, VolumeError, Volumes};

/// `ConfigMaps` and Secrets beside the pod, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// `ConfigMaps`.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets.
    pub secrets: BTreeMap<String, Secret>,
}

/// What a container's process is started with.
pub(super) struct Process {
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// Command, arguments and environment of a container at this moment.
pub(super) fn process(
    _pod: &Pod,
    container: &ContainerPlan,
    _addresses: &PodAddresses,
    claim: &ClaimValue,
) -> Result<Process, String> {
    let mut env: Vec<(String, String)> =
        container.env.iter().filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect();
    env.retain(|(name, _)| !claim.env.contains_key(name));
    env.extend(claim.env.clone());
    Ok(Process { command: container.command.clone(), args: container.args.clone(), env })
}

/// The host name inside: `spec.hostname`, else the pod's name, cut to what a host name may be
/// (`pkg/kubelet/util/util.go`, `GetNodenameForKernel`, and `pkg/kubelet/kubelet_pods.go`, `truncatePodHostnameIfNeeded`).
pub(super) fn hostname(plan: &PodPlan) -> String {
    let spec = plan.pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = named.unwrap_or_else(|| plan.name.clone());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's volumes, laid out.
pub(super) fn volumes(pod: &Pod, prepared: &PreparedPod) -> Result<Volumes, VolumeError> {
    Volumes::lay_out(&Given {
        plan: &pod.plan,
        directory: &pod.directory,
        prepared,
        claim_directories: &pod.options.claim_directories,
        contents: &|_| Ok(None),
        now: pod.clock().now(),
    })
}
