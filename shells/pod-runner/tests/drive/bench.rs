//! A runner on a temporary state directory with a fake engine.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_fake_engine::Engine;
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_pod_core::env::Sources;
use outrigger_pod_core::plan::{ContainerPlan, PodPlan, RestartPolicy, Role};
use outrigger_pod_directory::log::LogThread;
use outrigger_pod_directory::{ObjectName, OwnedRun, PodSpec, StateDirectory};
use outrigger_pod_runner::drive::{Clock, Runner, RunnerConfig, RunnerOptions};

/// State directory, engine, log thread and clock of one test.
pub struct Bench {
    pub place: tempfile::TempDir,
    pub clock: Clock,
    pub engine: Engine,
    pub providers: Vec<Arc<dyn Provider>>,
    pub logs: Arc<LogThread>,
}

impl Bench {
    pub fn new() -> Self {
        let clock = Clock::runtime("2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap());
        Self {
            place: tempfile::tempdir().unwrap(),
            clock,
            engine: Engine::new(clock),
            providers: Vec::new(),
            logs: Arc::new(LogThread::start().unwrap()),
        }
    }

    pub fn state(&self) -> StateDirectory {
        StateDirectory::at(self.place.path())
    }

    /// A new run of the pod.
    pub fn create(&self, plan: &PodPlan) -> OwnedRun {
        let spec = PodSpec {
            pod: manifest(plan),
            launcher: "engine".into(),
            created_at: Time(self.clock.now()),
            job: None,
            keep: false,
            options: serde_json::Map::new(),
        };
        self.state().create_pod(&ObjectName::new(&*plan.namespace, &*plan.name).unwrap(), &spec).unwrap()
    }

    /// A runner of a pod in its directory.
    pub fn runner(&self, plan: PodPlan, directory: OwnedRun) -> Runner {
        let options =
            RunnerOptions { clock: self.clock, containers_end_with_runner: false, ..RunnerOptions::default() };
        self.runner_with(plan, directory, options)
    }

    pub fn runner_with(&self, plan: PodPlan, directory: OwnedRun, options: RunnerOptions) -> Runner {
        Runner::new(RunnerConfig {
            plan: Arc::new(plan),
            sources: Arc::new(Sources::default()),
            launcher: self.engine.launcher() as Arc<dyn Launcher>,
            providers: self.providers.clone(),
            directory,
            logs: Arc::clone(&self.logs),
            options,
        })
        .unwrap()
    }

    /// A runner of a new run of the pod.
    pub fn new_runner(&self, plan: PodPlan) -> Runner {
        let directory = self.create(&plan);
        self.runner(plan, directory)
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.place.path().join(path)).unwrap()
    }
}

/// As much of a manifest as the plan of a dead runner's pod is made from.
fn manifest(plan: &PodPlan) -> serde_json::Value {
    let of = |role: Role| -> Vec<_> {
        let containers = plan.containers.iter().filter(|container| container.role == role);
        containers
            .map(|container| serde_json::json!({"name": container.name.0, "image": "image", "command": container.command}))
            .collect()
    };
    serde_json::json!({
        "metadata": {"name": plan.name, "namespace": plan.namespace, "uid": plan.uid},
        "spec": {"initContainers": of(Role::Init), "containers": of(Role::Main), "restartPolicy": "OnFailure"},
    })
}

/// A pod with `restartPolicy: Never`.
pub fn pod(containers: Vec<ContainerPlan>) -> PodPlan {
    let uid = "11111111-2222-3333-4444-555555555555".to_owned();
    PodPlan { uid, restart_policy: RestartPolicy::Never, ..outrigger_sample_pods::pod(containers) }
}

/// A main container that runs these steps.
pub fn container(name: &str, steps: &[&str]) -> ContainerPlan {
    let command = steps.iter().map(|step| (*step).to_owned()).collect();
    ContainerPlan { command, ..outrigger_sample_pods::container(name) }
}

/// The same as an init container.
pub fn init(name: &str, steps: &[&str]) -> ContainerPlan {
    ContainerPlan { role: Role::Init, ..container(name, steps) }
}

/// The state of a container in a status.
pub fn state(status: &PodStatus, name: &str) -> ContainerState {
    container_status(status, name).state.clone().unwrap_or_default()
}

pub fn container_status<'a>(status: &'a PodStatus, name: &str) -> &'a ContainerStatus {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|status| status.name == name).unwrap()
}
