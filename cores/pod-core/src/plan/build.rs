//! From a typed pod to its plan: every default that the API server would write is filled in here.
//!
//! It expects a pod that passed the manifest's check. Where one did not, the first fault is answered and nothing more.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, Pod, PodSpec, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::{
    ContainerName, ContainerPlan, ContainerRestart, PodPlan, PortPlan, PullPolicy, RestartPolicy, RestartRule, Role,
    probe, resources, security,
};
use crate::quantity::Quantity;

/// A pod that cannot be planned: something the manifest's check refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PlanError {
    /// The field, as `spec.containers[0].image`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl PlanError {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl PodPlan {
    /// Plans a pod. `uid` becomes its identity where the manifest has none.
    ///
    /// Defaults are those of `pkg/apis/core/v1/defaults.go`.
    pub fn new(mut pod: Pod, uid: &str) -> Result<Self, PlanError> {
        let missing = |what: &str| PlanError::new(what, "is required");
        let name = pod.metadata.name.clone().ok_or_else(|| missing("metadata.name"))?;
        let namespace = pod.metadata.namespace.get_or_insert_with(|| "default".to_owned()).clone();
        let uid = pod.metadata.uid.get_or_insert_with(|| uid.to_owned()).clone();
        let spec = pod.spec.as_mut().ok_or_else(|| missing("spec"))?;
        fill_defaults(spec);
        let containers = containers(spec)?;
        resources::default_pod_requests(spec, &containers);
        let context = spec.security_context.clone().unwrap_or_default();
        let grace = spec.termination_grace_period_seconds.unwrap_or(30);
        Ok(Self {
            volumes: spec.volumes.clone().unwrap_or_default(),
            restart_policy: restart_policy(spec.restart_policy.as_deref()).unwrap_or(RestartPolicy::Always),
            grace: seconds(grace),
            active_deadline: spec.active_deadline_seconds.map(seconds),
            share_process_namespace: spec.share_process_namespace.unwrap_or(false),
            qos_class: resources::qos_class(spec)?,
            fs_group: context.fs_group,
            supplemental_groups: context.supplemental_groups.unwrap_or_default(),
            requests: resources::pod_requests(spec, &containers)?,
            generation: pod.metadata.generation,
            containers,
            namespace,
            name,
            uid,
            pod,
        })
    }
}

/// `SetDefaults_Pod` and `SetDefaults_PodSpec`, as far as the status or the downward API shows them.
fn fill_defaults(spec: &mut PodSpec) {
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    // `SetDefaults_Volume`: a volume with nothing but its name.
    for volume in spec.volumes.iter_mut().flatten() {
        if *volume == (Volume { name: volume.name.clone(), ..Volume::default() }) {
            volume.empty_dir = Some(EmptyDirVolumeSource::default());
        }
    }
    let all = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in all {
        let Some(resources) = &mut container.resources else { continue };
        let Some(limits) = resources.limits.clone().filter(|limits| !limits.is_empty()) else { continue };
        let requests = resources.requests.get_or_insert_with(BTreeMap::new);
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

fn containers(spec: &PodSpec) -> Result<Vec<ContainerPlan>, PlanError> {
    let init = spec.init_containers.iter().flatten().enumerate().map(|(place, container)| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (format!("spec.initContainers[{place}]"), if sidecar { Role::Sidecar } else { Role::Init }, container)
    });
    let main = spec
        .containers
        .iter()
        .enumerate()
        .map(|(place, container)| (format!("spec.containers[{place}]"), Role::Main, container));
    init.chain(main).map(|(path, role, container)| plan_container(&path, role, container, spec)).collect()
}

fn plan_container(path: &str, role: Role, container: &Container, spec: &PodSpec) -> Result<ContainerPlan, PlanError> {
    let ports = container.ports.iter().flatten().map(|port| plan_port(path, port)).collect::<Result<Vec<_>, _>>()?;
    let image = container.image.clone().unwrap_or_default();
    let hooks = container.lifecycle.clone().unwrap_or_default();
    let hook = |which: &str, handler| probe::hook(&format!("{path}.lifecycle.{which}"), handler, &ports);
    let probe_of = |which: &str, written| probe::plan(&format!("{path}.{which}"), written, &ports);
    let resources = container.resources.clone().unwrap_or_default();
    Ok(ContainerPlan {
        name: ContainerName(container.name.clone()),
        role,
        pull_policy: pull_policy(container.image_pull_policy.as_deref(), &image),
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        env: container.env.clone().unwrap_or_default(),
        env_from: container.env_from.clone().unwrap_or_default(),
        mounts: container.volume_mounts.iter().flatten().cloned().map(absolute).collect(),
        startup: probe_of("startupProbe", container.startup_probe.as_ref())?,
        readiness: probe_of("readinessProbe", container.readiness_probe.as_ref())?,
        liveness: probe_of("livenessProbe", container.liveness_probe.as_ref())?,
        post_start: hook("postStart", hooks.post_start.as_ref())?,
        pre_stop: hook("preStop", hooks.pre_stop.as_ref())?,
        stop_signal: hooks.stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()),
        restart: restart(role, container),
        security: security::plan(container.security_context.as_ref(), spec.security_context.as_ref()),
        limits: quantities(&format!("{path}.resources.limits"), resources.limits.as_ref())?,
        requests: requests(path, &resources)?,
        message_path: non_empty(container.termination_message_path.as_deref(), "/dev/termination-log"),
        message_from_logs: container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        image,
        ports,
    })
}

/// A relative mount path begins at the root (`pkg/kubelet/kubelet_pods.go`, `makeMounts`).
fn absolute(mut mount: VolumeMount) -> VolumeMount {
    if !mount.mount_path.starts_with('/') {
        mount.mount_path.insert(0, '/');
    }
    mount
}

fn plan_port(path: &str, port: &ContainerPort) -> Result<PortPlan, PlanError> {
    let number = u16::try_from(port.container_port).ok().filter(|number| *number > 0);
    let wrong =
        || PlanError::new(format!("{path}.ports"), format!("{} is no port; write 1 to 65535", port.container_port));
    Ok(PortPlan {
        number: number.ok_or_else(wrong)?,
        protocol: non_empty(port.protocol.as_deref(), "TCP"),
        name: port.name.clone(),
    })
}

fn requests(path: &str, resources: &ResourceRequirements) -> Result<BTreeMap<String, Quantity>, PlanError> {
    quantities(&format!("{path}.resources.requests"), resources.requests.as_ref())
}

/// Quantities by resource name, read exactly.
pub(super) fn quantities(
    path: &str,
    written: Option<&BTreeMap<String, Written>>,
) -> Result<BTreeMap<String, Quantity>, PlanError> {
    let read = |(name, text): (&String, &Written)| match Quantity::parse(&text.0) {
        Ok(quantity) => Ok((name.clone(), quantity)),
        Err(fault) => Err(PlanError::new(format!("{path}.{name}"), format!("{:?}: {fault}", text.0))),
    };
    written.into_iter().flatten().map(read).collect()
}

/// `imagePullPolicy`, by tag where the manifest has none (`SetDefaults_Container`).
fn pull_policy(written: Option<&str>, image: &str) -> PullPolicy {
    match written {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if is_latest(image) => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

/// Whether an image name means the tag `latest` (`pkg/util/parsers/parsers.go`, `ParseImageName`): named so, also before a
/// digest, or neither tag nor digest. The colon of a registry's port is no tag's.
fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once(':').map_or(digest.is_none(), |(_, tag)| tag == "latest")
}

fn restart(role: Role, container: &Container) -> ContainerRestart {
    // A sidecar's `Always` is its role, not a policy of its own.
    let policy = if role == Role::Sidecar { None } else { restart_policy(container.restart_policy.as_deref()) };
    let rules = container.restart_policy_rules.iter().flatten().map(|rule| {
        let codes = rule.exit_codes.as_ref();
        RestartRule {
            whole_pod: rule.action == "RestartAllContainers",
            not_in: codes.is_some_and(|codes| codes.operator == "NotIn"),
            codes: codes.and_then(|codes| codes.values.clone()).unwrap_or_default(),
        }
    });
    ContainerRestart { policy, rules: rules.collect() }
}

fn restart_policy(written: Option<&str>) -> Option<RestartPolicy> {
    match written {
        Some("Always") => Some(RestartPolicy::Always),
        Some("OnFailure") => Some(RestartPolicy::OnFailure),
        Some("Never") => Some(RestartPolicy::Never),
        _ => None,
    }
}

fn non_empty(written: Option<&str>, default: &str) -> String {
    written.filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
}

/// Seconds of a manifest; a negative number counts as none.
pub(super) fn seconds(written: i64) -> Duration {
    Duration::from_secs(u64::try_from(written).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Handler, QosClass};

    fn plan(spec: &serde_json::Value) -> PodPlan {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        PodPlan::new(pod, "uid-1").unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_api_server() {
        let plan = plan(&json!({"volumes": [{"name": "v"}],
                "containers": [{"name": "c", "image": "busybox", "livenessProbe": {"httpGet": {"port": 80}}}]}));
        assert_eq!((plan.namespace.as_str(), plan.uid.as_str()), ("default", "uid-1"));
        assert_eq!(plan.volumes[0].empty_dir, Some(EmptyDirVolumeSource::default()));
        assert_eq!((plan.grace, plan.restart_policy), (Duration::from_secs(30), RestartPolicy::Always));
        let container = &plan.containers[0];
        assert_eq!(
            (container.pull_policy, container.message_path.as_str()),
            (PullPolicy::Always, "/dev/termination-log")
        );
        let probe = container.liveness.as_ref().unwrap();
        assert_eq!(
            (probe.period, probe.timeout, probe.failure_threshold),
            (Duration::from_secs(10), Duration::from_secs(1), 3)
        );
        assert!(matches!(&probe.handler, Handler::Http { path, https: false, .. } if path == "/"));
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let table = [
            ("busybox", PullPolicy::Always),
            ("busybox:latest", PullPolicy::Always),
            ("busybox:1.36", PullPolicy::IfNotPresent),
            ("registry:5000/busybox", PullPolicy::Always),
            ("registry:5000/busybox:1", PullPolicy::IfNotPresent),
            ("busybox@sha256:0000", PullPolicy::IfNotPresent),
            ("registry:5000/busybox:1@sha256:0000", PullPolicy::IfNotPresent),
            ("busybox:latest@sha256:0000", PullPolicy::Always),
        ];
        for (image, expected) in table {
            assert_eq!(pull_policy(None, image), expected, "{image}");
        }
        assert_eq!(pull_policy(Some("Never"), "busybox"), PullPolicy::Never);
    }

    #[test]
    fn a_relative_mount_path_begins_at_the_root() {
        let mounts = json!([{"name": "v", "mountPath": "data"}, {"name": "v", "mountPath": "/x"}]);
        let plan = plan(&json!({"containers": [{"name": "c", "volumeMounts": mounts}]}));
        let paths: Vec<_> = plan.containers[0].mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(paths, ["/data", "/x"]);
    }

    #[test]
    fn init_containers_come_first_and_sidecars_are_told_apart() {
        let plan = plan(&json!({
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "m"}],
        }));
        let roles: Vec<_> =
            plan.containers.iter().map(|container| (container.name.0.as_str(), container.role)).collect();
        assert_eq!(roles, [("i", Role::Init), ("s", Role::Sidecar), ("m", Role::Main)]);
        assert_eq!(plan.containers[1].restart.policy, None);
    }

    #[test]
    fn a_limit_without_a_request_is_its_request() {
        let plan =
            plan(&json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}));
        assert_eq!(plan.containers[0].requests["cpu"].millis(), 1000);
        assert_eq!(plan.qos_class, QosClass::Guaranteed);
    }

    #[test]
    fn named_ports_are_resolved_in_probes() {
        let plan = plan(&json!({"containers": [{
            "name": "c",
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"tcpSocket": {"port": "web"}},
        }]}));
        assert_eq!(plan.containers[0].readiness.as_ref().unwrap().handler, Handler::Tcp { host: None, port: 8080 });
    }

    #[test]
    fn a_pod_that_was_not_checked_is_refused_by_field() {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "readinessProbe": {"tcpSocket": {"port": "web"}}}]}}));
        let refusal = PodPlan::new(pod.unwrap(), "u").unwrap_err();
        assert_eq!(refusal.path, "spec.containers[0].readinessProbe.tcpSocket.port");
    }
}
