//! The containers of a pod's spec: where each stands, and which are sidecars.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Every container with its field below `spec` (`initContainers[0]`, `containers[1]`), init containers first.
pub fn with_fields(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let init = spec.init_containers.iter().flatten().enumerate().map(|(at, it)| (format!("initContainers[{at}]"), it));
    init.chain(spec.containers.iter().enumerate().map(|(at, it)| (format!("containers[{at}]"), it)))
}

/// Whether an init container is a sidecar: it starts before the main containers and runs beside them.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
