//! A pod in one line, as `kubectl get pods` sums it up.
//!
//! The rule is that of Kubernetes' `pkg/printers/internalversion/printers.go`, `printPod`.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_manifest::containers::is_sidecar;

/// The columns of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many containers are ready.
    pub ready: usize,
    /// Of how many (sidecars count).
    pub total: usize,
    /// `Running`, `Completed`, `Init:0/2`, `CrashLoopBackOff`, …
    pub status: String,
    /// How often containers were restarted.
    pub restarts: i32,
    /// When the last of them ended before its restart.
    pub restarted_at: Option<Time>,
}

/// Sums a pod up.
pub fn summary(pod: &Pod, status: &PodStatus) -> Summary {
    let spec = pod.spec.as_ref();
    let init: &[Container] = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let sidecars: Vec<&str> = init.iter().filter(|one| is_sidecar(one)).map(|one| one.name.as_str()).collect();
    let mains = spec.map_or(0, |spec| spec.containers.len());
    let mut sum = Summary {
        ready: 0,
        total: mains + sidecars.len(),
        status: status.reason.clone().or_else(|| status.phase.clone()).unwrap_or_else(|| "Unknown".to_owned()),
        restarts: 0,
        restarted_at: None,
    };
    let initializing = sum.init(status.init_container_statuses.as_deref().unwrap_or_default(), &sidecars, init.len());
    if !initializing || has_condition(status, "Initialized") {
        sum.main(status, &sidecars);
    }
    sum
}

impl Summary {
    /// The init containers; answers whether the pod is still busy with them.
    fn init(&mut self, statuses: &[ContainerStatus], sidecars: &[&str], total: usize) -> bool {
        for (index, container) in statuses.iter().enumerate() {
            self.count_restarts(container);
            let state = container.state.clone().unwrap_or_default();
            let sidecar = sidecars.contains(&container.name.as_str());
            match (state.terminated, state.waiting.and_then(|waiting| waiting.reason)) {
                (Some(ended), _) if ended.exit_code == 0 => continue,
                _ if sidecar && container.started == Some(true) => {
                    self.ready += usize::from(container.ready);
                    continue;
                }
                (Some(ended), _) => self.status = format!("Init:{}", end(ended.reason, ended.signal, ended.exit_code)),
                (None, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
                    self.status = format!("Init:{reason}");
                }
                _ => self.status = format!("Init:{index}/{total}"),
            }
            return true;
        }
        false
    }

    fn main(&mut self, status: &PodStatus, sidecars: &[&str]) {
        self.restarts = 0;
        self.restarted_at = None;
        let init = status.init_container_statuses.iter().flatten();
        for sidecar in init.filter(|container| sidecars.contains(&container.name.as_str())) {
            self.count_restarts(sidecar);
        }
        let mut runs = false;
        for container in status.container_statuses.iter().flatten().rev() {
            self.count_restarts(container);
            let state = container.state.clone().unwrap_or_default();
            match (state.waiting.and_then(|waiting| waiting.reason), state.terminated, state.running) {
                (Some(reason), _, _) if !reason.is_empty() => self.status = reason,
                (_, Some(ended), _) => self.status = end(ended.reason, ended.signal, ended.exit_code),
                (_, _, Some(_)) if container.ready => {
                    runs = true;
                    self.ready += 1;
                }
                _ => (),
            }
        }
        if self.status == "Completed" && runs {
            let ready = has_condition(status, "Ready");
            (if ready { "Running" } else { "NotReady" }).clone_into(&mut self.status);
        }
    }

    fn count_restarts(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if let Some(at) = ended.and_then(|ended| ended.finished_at.clone()) {
            self.restarted_at = self.restarted_at.take().max(Some(at));
        }
    }
}

fn end(reason: Option<String>, signal: Option<i32>, code: i32) -> String {
    match (reason.filter(|reason| !reason.is_empty()), signal.filter(|signal| *signal != 0)) {
        (Some(reason), _) => reason,
        (None, Some(signal)) => format!("Signal:{signal}"),
        (None, None) => format!("ExitCode:{code}"),
    }
}

fn has_condition(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(status: &Value, expect: (usize, &str, i32)) {
        let pod = json!({"spec": {
            "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "app"}, {"name": "web"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let sum = summary(&pod, &serde_json::from_value(status.clone()).unwrap());
        assert_eq!(sum.total, 3);
        assert_eq!((sum.ready, sum.status.as_str(), sum.restarts), expect);
    }

    #[allow(clippy::needless_pass_by_value, reason = "the callers write the value in place")]
    fn container(name: &str, ready: bool, restarts: i32, state: Value) -> Value {
        json!({"name": name, "ready": ready, "started": ready, "restartCount": restarts, "image": "", "imageID": "", "state": state})
    }

    #[test]
    fn pods_are_summed_up_as_kubectl_does() {
        let done = || container("setup", true, 0, json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        let proxy = || container("proxy", true, 1, json!({"running": {}}));
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        check(&json!({"phase": "Pending"}), (0, "Pending", 0));
        check(
            &json!({"phase": "Pending", "initContainerStatuses": [container("setup", false, 0, json!({"running": {}}))]}),
            (0, "Init:0/2", 0),
        );
        check(
            &json!({"phase": "Pending", "initContainerStatuses": [container("setup", false, 2, waits("CrashLoopBackOff"))]}),
            (0, "Init:CrashLoopBackOff", 2),
        );
        check(
            &json!({"phase": "Failed", "initContainerStatuses": [container("setup", false, 0, json!({"terminated": {"exitCode": 3, "reason": "Error"}}))]}),
            (0, "Init:Error", 0),
        );
        check(
            &json!({"phase": "Running", "initContainerStatuses": [done(), proxy()],
                "containerStatuses": [container("app", true, 0, json!({"running": {}})), container("web", false, 4, waits("CrashLoopBackOff"))]}),
            (2, "CrashLoopBackOff", 5),
        );
        check(&json!({"phase": "Failed", "reason": "Evicted", "message": "x"}), (0, "Evicted", 0));
    }
}
