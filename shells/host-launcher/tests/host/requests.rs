//! Requests in few words, for tests and the runner that they kill.

use std::path::Path;
use std::sync::Arc;

use outrigger_launcher::{MemoryVolume, Mount, PodRequest, StartRequest};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::PodPlan;

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
