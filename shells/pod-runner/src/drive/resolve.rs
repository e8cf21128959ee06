//! From the plan to what a start needs at this moment: command, environment, volume contents, host name.

use k8s_openapi::api::core::v1::Volume;
use outrigger_launcher::PreparedPod;
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::env::{self, ConfigError, Environment, Facts};
use outrigger_pod_core::files::{self, Files};
use outrigger_pod_core::life::PodAddresses;
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};
use outrigger_pod_directory::volumes::{Given, VolumeError, Volumes};

use super::pod::Pod;

/// The variables of a container at this moment, those of its claim over the manifest's.
pub(super) fn environment(
    pod: &Pod,
    container: &ContainerPlan,
    addresses: &PodAddresses,
    claim: &ClaimValue,
) -> Result<Environment, ConfigError> {
    let mut environment = env::environment(&pod.plan, container, &pod.sources, &facts(pod, addresses))?;
    environment.variables.extend(claim.env.clone());
    Ok(environment)
}

/// Expands `subPathExpr` (`pkg/kubelet/container/helpers.go`, `ExpandContainerVolumeMounts`).
pub(super) fn sub_path(expression: &str, environment: &Environment) -> Result<String, String> {
    let value = |name: &str| environment.variables.get(name).filter(|value| !value.is_empty()).cloned();
    env::expand_strict(expression, value).map_err(|mut missing| {
        missing.sort();
        missing.dedup();
        format!("missing value for {}", missing.join(", "))
    })
}

fn facts(pod: &Pod, addresses: &PodAddresses) -> Facts {
    Facts {
        addresses: addresses.clone(),
        node_name: pod.options.node_name.clone(),
        allocatable: pod.options.allocatable.clone(),
    }
}

/// The host name inside: `spec.hostname`, else the pod's name, cut to what a host name may be
/// (`pkg/kubelet/kubelet_pods.go`, `truncatePodHostnameIfNeeded`).
pub(super) fn hostname(plan: &PodPlan) -> String {
    let spec = plan.pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = named.unwrap_or_else(|| plan.name.clone());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's volumes, laid out.
pub(super) fn volumes(pod: &Pod, prepared: &PreparedPod) -> Result<Volumes, VolumeError> {
    let facts = facts(pod, &prepared.addresses);
    let contents = |volume: &Volume| -> Result<Option<Files>, ConfigError> {
        files::files(&pod.plan, volume, &pod.sources, &facts)
    };
    Volumes::lay_out(&Given {
        plan: &pod.plan,
        directory: &pod.directory,
        prepared,
        claim_directories: &pod.options.claim_directories,
        contents: &contents,
        now: pod.clock().now(),
    })
}
