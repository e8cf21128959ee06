//! What would run, in the order in which it would start. Never a Secret's value.

use std::fmt::Write;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use outrigger_config::{count, listing};

use crate::containers::is_sidecar;
use crate::words;

/// What a pod would be.
pub fn pod(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let space = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut out = format!("pod {name} in namespace {space}\n");
    pod_spec(&mut out, &pod.spec.clone().unwrap_or_default());
    out
}

/// What a Job would be.
pub fn job(job: &Job) -> String {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let space = job.metadata.namespace.as_deref().unwrap_or("default");
    let spec = job.spec.clone().unwrap_or_default();
    let completions = spec.completions.map_or("any".to_owned(), |count| count.to_string());
    let mut out = format!(
        "job {name} in namespace {space}: {completions} completions, {} at a time, at most {} retries\n",
        spec.parallelism.unwrap_or(1),
        spec.backoff_limit.unwrap_or(6),
    );
    pod_spec(&mut out, &spec.template.spec.unwrap_or_default());
    out
}

fn pod_spec(out: &mut String, spec: &PodSpec) {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let sidecars = init.iter().filter(|container| is_sidecar(container)).count();
    let mut parts = Vec::new();
    for (number, noun) in
        [(init.len() - sidecars, "init container"), (sidecars, "sidecar"), (spec.containers.len(), "main container")]
    {
        if number > 0 {
            parts.push(count(number, noun));
        }
    }
    let restarts = spec.restart_policy.as_deref().unwrap_or("Always");
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let _ = writeln!(out, "  {}; restart policy {restarts}; {grace} s to stop", listing(&parts));
    if let Some(deadline) = spec.active_deadline_seconds {
        let _ = writeln!(out, "  ended after {deadline} s");
    }
    for (place, one) in init.iter().enumerate() {
        container(out, &format!("{}.", place + 1), if is_sidecar(one) { "sidecar" } else { "init" }, one);
    }
    for one in &spec.containers {
        container(out, &format!("{}.", init.len() + 1), "main", one);
    }
    for volume in spec.volumes.iter().flatten() {
        let _ = writeln!(out, "  volume {}: {}", volume.name, words::volume(volume));
    }
}

fn container(out: &mut String, turn: &str, role: &str, container: &Container) {
    let _ = writeln!(out, "  {turn} {role} {}", container.name);
    for (name, values) in words::container(container) {
        for (index, value) in values.iter().enumerate() {
            let name = if index == 0 { name.to_lowercase() } else { String::new() };
            let _ = writeln!(out, "       {name:17} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_told_in_the_order_in_which_it_starts() {
        let it: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
            "initContainers": [{"name": "setup", "command": ["true"]}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}]}}))
        .unwrap();
        assert_eq!(
            pod(&it),
            "pod web in namespace default\n  \
             1 init container, 1 sidecar and 1 main container; restart policy Always; 30 s to stop\n  \
             1. init setup\n       \
             command           true\n  \
             2. sidecar proxy\n  \
             3. main app\n       \
             environment       A: 1\n                         B: 2\n  \
             volume data: empty directory\n"
        );
    }
}
