//! Resources that a pod asks for: those that the kernel hands out, those that something here serves, and all others.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::containers::with_fields;

/// Takes `ignored` resources out of a pod's limits and requests.
pub fn ignore(spec: &mut PodSpec, ignored: &[String]) {
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(resources) = &mut container.resources {
            for of in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
                of.retain(|name, _| !ignored.contains(name));
            }
        }
    }
}

/// Whether a pod asks for something that the kernel does not hand out.
pub fn asks_providers(spec: &PodSpec) -> bool {
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.any(|container| asked(container).any(|(_, name)| !is_of_the_kernel(name)))
}

/// A resource that nothing here serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// The field that asks for it, below `spec`.
    pub path: String,
    /// Its name.
    pub resource: String,
}

/// What a pod asks for and neither the kernel nor any of `served` can give.
pub fn unserved(spec: &PodSpec, served: &BTreeSet<String>) -> Vec<Unserved> {
    let all = with_fields(spec).flat_map(|(path, container)| asked(container).map(move |it| (path.clone(), it)));
    let others = all.filter(|(_, (_, name))| !is_of_the_kernel(name) && !served.contains(*name));
    let named = others
        .map(|(path, (of, name))| Unserved { path: format!("{path}.resources.{of}[{name}]"), resource: name.clone() });
    named.collect()
}

fn asked(container: &Container) -> impl Iterator<Item = (&'static str, &String)> {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let only_requested =
        requests.into_iter().flatten().filter(move |(name, _)| limits.is_none_or(|it| !it.contains_key(*name)));
    limits
        .into_iter()
        .flatten()
        .map(|(name, _)| ("limits", name))
        .chain(only_requested.map(|(name, _)| ("requests", name)))
}

/// Whether the kernel itself hands the resource out (`pkg/apis/core/helper/helpers.go`, `IsNativeResource`).
fn is_of_the_kernel(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nothing_serves_is_named_with_its_field() {
        let mut spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "a", "resources": {
            "limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "vendor.example/gpu": "1", "vendor.example/tpu": "1"},
            "requests": {"vendor.example/gpu": "1", "vendor.example/nic": "2"}}}]}))
        .unwrap();
        let served = BTreeSet::from(["vendor.example/tpu".to_owned()]);
        let found = unserved(&spec, &served);
        let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "containers[0].resources.limits[vendor.example/gpu]",
                "containers[0].resources.requests[vendor.example/nic]"
            ]
        );
        assert_eq!(found[0].resource, "vendor.example/gpu");
        ignore(&mut spec, &["vendor.example/gpu".into(), "vendor.example/nic".into()]);
        assert!(unserved(&spec, &served).is_empty());
    }
}
