//! Plans of pods with nothing in them but names, for tests that are not about manifests: a test writes the fields that it
//! is about over these.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_core::plan::{
    ContainerName, ContainerPlan, ContainerRestart, PodPlan, PullPolicy, QosClass, RestartPolicy, Role, SecurityPlan,
};

/// A main container of this name.
pub fn container(name: &str) -> ContainerPlan {
    ContainerPlan {
        name: ContainerName(name.into()),
        role: Role::Main,
        image: "image".into(),
        pull_policy: PullPolicy::IfNotPresent,
        command: Vec::new(),
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
        stop_signal: "SIGTERM".into(),
        restart: ContainerRestart::default(),
        security: SecurityPlan::default(),
        limits: BTreeMap::new(),
        requests: BTreeMap::new(),
        message_path: "/dev/termination-log".into(),
        message_from_logs: false,
        stdin: false,
        stdin_once: false,
        tty: false,
    }
}

/// The pod `default/web` with these containers.
pub fn pod(containers: Vec<ContainerPlan>) -> PodPlan {
    PodPlan {
        pod: Pod::default(),
        namespace: "default".into(),
        name: "web".into(),
        uid: "u-1".into(),
        generation: None,
        containers,
        volumes: Vec::new(),
        restart_policy: RestartPolicy::Always,
        grace: Duration::from_secs(30),
        active_deadline: None,
        share_process_namespace: false,
        qos_class: QosClass::BestEffort,
        fs_group: None,
        supplemental_groups: Vec::new(),
        requests: BTreeMap::new(),
    }
}
