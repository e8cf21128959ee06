//! Plans by hand, for tests that are about the life of a pod and not about its manifest.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod random_pod;
pub mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use outrigger_pod_core::plan::{
    ContainerName, ContainerPlan, ContainerRestart, Handler, PodPlan, ProbePlan, PullPolicy, QosClass, RestartPolicy,
    Role, SecurityPlan,
};

/// A plan with these containers and nothing else.
pub fn pod(restart_policy: RestartPolicy, containers: Vec<ContainerPlan>) -> PodPlan {
    let spec = |plan: &ContainerPlan| Container { name: plan.name.0.clone(), ..Container::default() };
    let (main, init): (Vec<_>, Vec<_>) = containers.iter().partition(|plan| plan.role == Role::Main);
    let spec = PodSpec {
        init_containers: Some(init.into_iter().map(spec).collect()),
        containers: main.into_iter().map(spec).collect(),
        ..PodSpec::default()
    };
    PodPlan {
        pod: Pod { spec: Some(spec), ..Pod::default() },
        namespace: "default".to_owned(),
        name: "pod".to_owned(),
        uid: "uid".to_owned(),
        generation: Some(1),
        containers,
        volumes: Vec::new(),
        restart_policy,
        grace: Duration::from_secs(30),
        active_deadline: None,
        share_process_namespace: false,
        qos_class: QosClass::BestEffort,
        fs_group: None,
        supplemental_groups: Vec::new(),
        requests: BTreeMap::new(),
    }
}

/// A container without probes, hooks and rules.
pub fn container(name: &str, role: Role) -> ContainerPlan {
    ContainerPlan {
        name: ContainerName(name.to_owned()),
        role,
        image: "image".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        command: vec!["run".to_owned()],
        args: Vec::new(),
        working_dir: None,
        env: Vec::new(),
        env_from: Vec::new(),
        mounts: Vec::new(),
        ports: Vec::new(),
        startup: None,
        readiness: None,
        liveness: None,
        post_start: None,
        pre_stop: None,
        stop_signal: "SIGTERM".to_owned(),
        restart: ContainerRestart::default(),
        security: SecurityPlan::default(),
        limits: BTreeMap::new(),
        requests: BTreeMap::new(),
        message_path: "/dev/termination-log".to_owned(),
        message_from_logs: false,
        stdin: false,
        stdin_once: false,
        tty: false,
    }
}

/// A probe that runs a command every second.
pub fn probe() -> ProbePlan {
    ProbePlan {
        handler: Handler::Exec(vec!["true".to_owned()]),
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
        grace: None,
    }
}
