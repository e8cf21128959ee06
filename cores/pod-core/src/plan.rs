//! What a pod wants, with every default filled in: the input of the state machine and of the launchers.
//!
//! A plan holds what the manifest alone decides. What depends on the moment of a start (the pod's address, the values of
//! `ConfigMaps` and Secrets) is computed at each start by [`crate::env`] and [`crate::files`], as a kubelet does, so a plan
//! never holds the value of a Secret.

mod build;
mod command;
mod probe;
mod resources;
mod security;

pub use build::PlanError;
pub use command::ImageCommand;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, Volume, VolumeMount};

/// The name of a container, unique among all containers of its pod (a DNS label).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(pub String);

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod as it is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPlan {
    /// The manifest, typed, with namespace, name and uid set. Its status is ignored.
    pub pod: Pod,
    /// `metadata.namespace`, `default` where the manifest has none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: given by the caller, fresh under `outrigger run`.
    pub uid: String,
    /// `metadata.generation`, told back as `observedGeneration`.
    pub generation: Option<i64>,
    /// Init containers and sidecars in their order, then the main containers in theirs.
    pub containers: Vec<ContainerPlan>,
    /// The volumes, as the manifest has them (checked: each has exactly one source that this build knows).
    pub volumes: Vec<Volume>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`, 30 s where the manifest has none.
    pub grace: Duration,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
    /// `spec.shareProcessNamespace`.
    pub share_process_namespace: bool,
    /// The quality-of-service class: `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos_class: QosClass,
    /// `spec.securityContext` `fsGroup` and `supplementalGroups`; the rest is merged into each container.
    pub fs_group: Option<i64>,
    /// `spec.securityContext.supplementalGroups`.
    pub supplemental_groups: Vec<i64>,
    /// The resources the scheduler would count for the pod: sums, the maximum of init containers, sidecars, overhead.
    pub requests: BTreeMap<String, crate::quantity::Quantity>,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerPlan {
    /// Its name.
    pub name: ContainerName,
    /// What it is in its pod.
    pub role: Role,
    /// `image` as written; empty where the manifest has none.
    pub image: String,
    /// When the image is pulled (defaulted by tag as the API server does).
    pub pull_policy: PullPolicy,
    /// `command` as written: `$(VAR)` is expanded at each start.
    pub command: Vec<String>,
    /// `args` as written: `$(VAR)` is expanded at each start.
    pub args: Vec<String>,
    /// `workingDir`; `None` means the image's.
    pub working_dir: Option<String>,
    /// `env` as written.
    pub env: Vec<EnvVar>,
    /// `envFrom` as written.
    pub env_from: Vec<EnvFromSource>,
    /// `volumeMounts` (checked: each names a volume of the pod), with absolute mount paths.
    pub mounts: Vec<VolumeMount>,
    /// `ports`: number, protocol and name.
    pub ports: Vec<PortPlan>,
    /// `startupProbe`.
    pub startup: Option<ProbePlan>,
    /// `readinessProbe`.
    pub readiness: Option<ProbePlan>,
    /// `livenessProbe`.
    pub liveness: Option<ProbePlan>,
    /// `lifecycle.postStart`.
    pub post_start: Option<Handler>,
    /// `lifecycle.preStop`.
    pub pre_stop: Option<Handler>,
    /// `lifecycle.stopSignal`, or `SIGTERM`: a signal name with `SIG`.
    pub stop_signal: String,
    /// The container's own `restartPolicy` and `restartPolicyRules`, where set.
    pub restart: ContainerRestart,
    /// What its processes may do and whom they run as.
    pub security: SecurityPlan,
    /// Requests and limits by resource name, exactly as counted.
    pub limits: BTreeMap<String, crate::quantity::Quantity>,
    /// Requests; a limit without a request is its request too (API server's defaulting).
    pub requests: BTreeMap<String, crate::quantity::Quantity>,
    /// `terminationMessagePath`, `/dev/termination-log` where the manifest has none.
    pub message_path: String,
    /// `terminationMessagePolicy` is `FallbackToLogsOnError`.
    pub message_from_logs: bool,
    /// `stdin`: whether a stdin stays open for attach.
    pub stdin: bool,
    /// `stdinOnce`.
    pub stdin_once: bool,
    /// `tty`.
    pub tty: bool,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in order, runs beside the main containers, ends after them.
    Sidecar,
    /// One of `spec.containers`.
    Main,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// The default.
    Always,
    /// Only after a failure.
    OnFailure,
    /// Not at all.
    Never,
}

/// `restartPolicy` and `restartPolicyRules` of one container (Kubernetes 1.34 and later, KEP-5307).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRestart {
    /// The container's own policy, over the pod's.
    pub policy: Option<RestartPolicy>,
    /// Exit codes that decide before the policy does.
    pub rules: Vec<RestartRule>,
}

/// One of `restartPolicyRules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartRule {
    /// `true`: `RestartAllContainers`; `false`: `Restart`.
    pub whole_pod: bool,
    /// `exitCodes.operator` is `NotIn`.
    pub not_in: bool,
    /// `exitCodes.values`.
    pub codes: Vec<i32>,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry at each start.
    Always,
    /// Pull what is not there.
    IfNotPresent,
    /// Use only what is there.
    Never,
}

/// The quality-of-service class of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits equal to its requests for CPU and memory.
    Guaranteed,
    /// Some container has a request or limit.
    Burstable,
    /// None has.
    BestEffort,
}

/// A declared port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// `containerPort`.
    pub number: u16,
    /// `protocol`: `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `name`.
    pub name: Option<String>,
}

/// A probe with its thresholds, defaulted as the API server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// How it asks.
    pub handler: Handler,
    /// `initialDelaySeconds`.
    pub initial_delay: Duration,
    /// `periodSeconds`, at least 1 s.
    pub period: Duration,
    /// `timeoutSeconds`, at least 1 s.
    pub timeout: Duration,
    /// `successThreshold`.
    pub success_threshold: u32,
    /// `failureThreshold`.
    pub failure_threshold: u32,
    /// The probe's own `terminationGracePeriodSeconds`.
    pub grace: Option<Duration>,
}

/// How a probe asks, or what a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// A command in the container; no shell.
    Exec(Vec<String>),
    /// An HTTP GET.
    Http {
        /// `http` or `https` (certificates are not verified, as in a kubelet).
        https: bool,
        /// `None`: the pod's address.
        host: Option<String>,
        /// The port, a name already resolved.
        port: u16,
        /// Path with query.
        path: String,
        /// Further headers in their order.
        headers: Vec<(String, String)>,
    },
    /// A TCP connection.
    Tcp {
        /// `None`: the pod's address.
        host: Option<String>,
        /// The port, a name already resolved.
        port: u16,
    },
    /// A call of `grpc.health.v1.Health/Check`.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked for; empty for the whole server.
        service: String,
    },
    /// `sleep.seconds`, for hooks.
    Sleep(Duration),
}

/// `securityContext` of a container over that of its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityPlan {
    /// `runAsUser`; `None` means the image's user, or the caller's.
    pub run_as_user: Option<i64>,
    /// `runAsGroup`.
    pub run_as_group: Option<i64>,
    /// `runAsNonRoot`.
    pub run_as_non_root: bool,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `privileged`.
    pub privileged: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// `capabilities.add`, without `CAP_`.
    pub capabilities_add: Vec<String>,
    /// `capabilities.drop`, without `CAP_`.
    pub capabilities_drop: Vec<String>,
    /// Fields that are set and that a launcher may be unable to enforce (`seccompProfile`, `appArmorProfile`,
    /// `seLinuxOptions`, `procMount`, `sysctls`), by field path.
    pub others: Vec<String>,
}

impl PodPlan {
    /// The container of this name.
    pub fn container(&self, name: &ContainerName) -> Option<&ContainerPlan> {
        self.containers.iter().find(|container| container.name == *name)
    }
}
