//! The volume that an API server injects into every pod, `kube-api-access-…`: the service account's token, the cluster's
//! certificates, the namespace. Outside a cluster there is none of it, so it is left out unless the user gives it.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

/// The `ConfigMap` with the cluster's certificates that the injected volume names.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// Leaves the injected volume out; answers the names of the volumes that went.
pub fn leave_out(spec: &mut PodSpec) -> Vec<String> {
    let volumes = spec.volumes.take().unwrap_or_default();
    let (injected, others): (Vec<Volume>, Vec<Volume>) = volumes.into_iter().partition(is_injected);
    spec.volumes = Some(others);
    let names: Vec<String> = injected.into_iter().map(|volume| volume.name).collect();
    let drop_mounts = |container: &mut Container| {
        if let Some(mounts) = &mut container.volume_mounts {
            mounts.retain(|mount| !names.contains(&mount.name));
        }
    };
    spec.init_containers.iter_mut().flatten().for_each(drop_mounts);
    spec.containers.iter_mut().for_each(drop_mounts);
    names
}

/// Whether the API server made it (`plugin/pkg/admission/serviceaccount/admission.go`, `TokenVolumeSource`).
fn is_injected(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    volume.name.starts_with("kube-api-access-")
        && sources.into_iter().any(|source| source.service_account_token.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_injected_volume_and_its_mounts_go() {
        let mut spec: PodSpec = serde_json::from_value(json!({
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "kube-api-access-x7z2p", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
            ],
            "containers": [{"name": "a", "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "kube-api-access-x7z2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        }))
        .unwrap();
        assert_eq!(leave_out(&mut spec), ["kube-api-access-x7z2p"]);
        assert_eq!(spec.volumes.unwrap().len(), 1);
        assert_eq!(spec.containers[0].volume_mounts.as_ref().unwrap().len(), 1);
    }
}
