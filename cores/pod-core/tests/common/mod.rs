//! Plans by hand, for tests that are about the life of a pod and not about its manifest.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod random_pod;
pub mod world;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use outrigger_pod_core::plan::{ContainerPlan, Handler, PodPlan, ProbePlan, RestartPolicy, Role};

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
        name: "pod".to_owned(),
        uid: "uid".to_owned(),
        generation: Some(1),
        restart_policy,
        ..outrigger_sample_pods::pod(containers)
    }
}

/// A container without probes, hooks and rules.
pub fn container(name: &str, role: Role) -> ContainerPlan {
    ContainerPlan { role, command: vec!["run".to_owned()], ..outrigger_sample_pods::container(name) }
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
