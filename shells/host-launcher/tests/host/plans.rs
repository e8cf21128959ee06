//! Plans and requests in few words, for tests.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_launcher::{MemoryVolume, Mount, PodRequest, StartRequest};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::{
    ContainerName, ContainerPlan, ContainerRestart, PodPlan, PullPolicy, QosClass, RestartPolicy, Role, SecurityPlan,
};

/// Prepares this pod in this directory, with memory volumes of 1 MiB.
pub fn pod_request(plan: &Arc<PodPlan>, directory: &Path, memory_volumes: &[&str]) -> PodRequest {
    let volume = |name: &&str| MemoryVolume { name: (*name).to_owned(), size_limit: Some(1 << 20) };
    PodRequest {
        plan: Arc::clone(plan),
        directory: directory.to_owned(),
        hostname: "bench".to_owned(),
        memory_volumes: memory_volumes.iter().map(volume).collect(),
        pod_ip: None,
    }
}

/// Starts the plan's first container with this command.
pub fn start_request(plan: &Arc<PodPlan>, directory: &Path, command: &[&str], mounts: Vec<Mount>) -> StartRequest {
    let message_file = directory.join("message");
    let _ = std::fs::write(&message_file, "");
    StartRequest {
        plan: Arc::clone(plan),
        instance: Instance { container: plan.containers[0].name.clone(), attempt: 0 },
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        args: Vec::new(),
        env: vec![("GREETING".to_owned(), "good day".to_owned())],
        working_dir: None,
        mounts,
        message_file,
        claim: ClaimValue::default(),
        held: Vec::new(),
    }
}

/// A pod with one main container.
pub fn plan() -> PodPlan {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let uid = format!("{:08x}-{:04x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    PodPlan {
        pod: k8s_openapi::api::core::v1::Pod::default(),
        namespace: "default".to_owned(),
        name: "bench".to_owned(),
        uid,
        generation: None,
        containers: vec![container("main")],
        volumes: Vec::new(),
        restart_policy: RestartPolicy::Never,
        grace: std::time::Duration::from_secs(30),
        active_deadline: None,
        share_process_namespace: false,
        qos_class: QosClass::BestEffort,
        fs_group: None,
        supplemental_groups: Vec::new(),
        requests: BTreeMap::new(),
    }
}

pub fn container(name: &str) -> ContainerPlan {
    ContainerPlan {
        name: ContainerName(name.to_owned()),
        role: Role::Main,
        image: "bench".to_owned(),
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
