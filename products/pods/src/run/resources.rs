//! Resources that a pod asks for: those that something here serves, and those that are refused by name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use outrigger_launcher::claims::Provider;

use crate::text;

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

/// The resources of a pod that nothing here serves: field path, and what to say.
pub fn unserved(spec: &PodSpec, providers: &[std::sync::Arc<dyn Provider>]) -> Vec<(String, String, String)> {
    let served: BTreeSet<String> =
        providers.iter().flat_map(|provider| provider.serves()).map(|served| served.resource).collect();
    let mut found = Vec::new();
    let init = spec.init_containers.iter().flatten().enumerate().map(|(at, it)| (format!("initContainers[{at}]"), it));
    let main = spec.containers.iter().enumerate().map(|(at, it)| (format!("containers[{at}]"), it));
    for (path, container) in init.chain(main) {
        for (of, name) in asked(container) {
            if !is_of_the_kernel(name) && !served.contains(name) {
                let names: Vec<&String> = served.iter().collect();
                found.push((
                    format!("{path}.resources.{of}[{name}]"),
                    format!("nothing on this machine serves {name}; served are: {}", text::listing(&names)),
                    format!("to run without it, use --ignore-resource {name}"),
                ));
            }
        }
    }
    found
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
    fn what_nothing_serves_is_named_with_the_way_out() {
        let mut spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "a", "resources": {
            "limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "vendor.example/gpu": "1"},
            "requests": {"vendor.example/gpu": "1", "vendor.example/nic": "2"}}}]}))
        .unwrap();
        let found = unserved(&spec, &[]);
        let paths: Vec<_> = found.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "containers[0].resources.limits[vendor.example/gpu]",
                "containers[0].resources.requests[vendor.example/nic]"
            ]
        );
        assert_eq!(found[0].1, "nothing on this machine serves vendor.example/gpu; served are: none");
        ignore(&mut spec, &["vendor.example/gpu".into(), "vendor.example/nic".into()]);
        assert!(unserved(&spec, &[]).is_empty());
    }
}
