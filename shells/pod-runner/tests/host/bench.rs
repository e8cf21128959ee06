//! A workbench for tests: a launcher, a directory for pods, and plans in few words.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::{Exit, Instance};
use outrigger_pod_core::plan::{
    ContainerName, ContainerPlan, ContainerRestart, PodPlan, PullPolicy, QosClass, RestartPolicy, Role, SecurityPlan,
};
use outrigger_pod_runner::host::HostLauncher;
use outrigger_pod_runner::launcher::{
    Launcher, MemoryVolume, Mount, Output, PodRequest, PreparedPod, Running, StartError, StartRequest,
};

/// A launcher with a directory; what a test leaves behind is removed with it.
pub struct Bench {
    pub launcher: HostLauncher,
    pub directory: tempfile::TempDir,
}

/// The executable that becomes an agent.
pub fn agent() -> PathBuf {
    std::env::var_os("OUTRIGGER_TEST_AGENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pod-runner-agent")), PathBuf::from)
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Bench {
    pub fn new() -> Self {
        let launcher = HostLauncher::with_agent(agent()).unwrap();
        Self { launcher, directory: tempfile::tempdir().unwrap() }
    }

    /// Prepares a pod of this plan.
    pub async fn prepare(&self, plan: &Arc<PodPlan>, memory_volumes: &[&str]) -> PreparedPod {
        let directory = self.directory.path().join(&plan.uid);
        std::fs::create_dir_all(&directory).unwrap();
        let memory_volumes = memory_volumes
            .iter()
            .map(|name| MemoryVolume { name: (*name).to_owned(), size_limit: Some(1 << 20) })
            .collect();
        let (plan, hostname) = (Arc::clone(plan), "bench".to_owned());
        self.launcher.prepare(PodRequest { plan, directory, hostname, memory_volumes, pod_ip: None }).await.unwrap()
    }

    /// Starts the plan's only container with this command.
    pub async fn start(&self, plan: &Arc<PodPlan>, command: &[&str]) -> Result<Running, StartError> {
        self.start_with(plan, command, Vec::new()).await
    }

    /// Starts the plan's only container with this command and these mounts.
    pub async fn start_with(
        &self,
        plan: &Arc<PodPlan>,
        command: &[&str],
        mounts: Vec<Mount>,
    ) -> Result<Running, StartError> {
        self.launcher.start(self.request(plan, command, mounts)).await
    }

    pub fn request(&self, plan: &Arc<PodPlan>, command: &[&str], mounts: Vec<Mount>) -> StartRequest {
        let container = plan.containers[0].name.clone();
        let message_file = self.directory.path().join(&plan.uid).join("message");
        std::fs::write(&message_file, "").unwrap();
        StartRequest {
            plan: Arc::clone(plan),
            instance: Instance { container, attempt: 0 },
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

    /// Runs a shell script in a pod of its own; answers its output and its end.
    pub async fn shell(&self, plan: &Arc<PodPlan>, script: &str) -> (String, Exit) {
        self.prepare(plan, &[]).await;
        let running = self.start(plan, &["sh", "-c", script]).await.unwrap();
        let outcome = finish(running).await;
        self.launcher.remove(&plan.uid).await.unwrap();
        outcome
    }
}

/// Everything a container writes to stdout, then its end.
pub async fn finish(running: Running) -> (String, Exit) {
    let Output::Pipes { stdout, stderr } = running.output else { panic!("the host launcher answers pipes") };
    let text = tokio::task::spawn_blocking(move || {
        let text = read(stdout);
        drop(stderr);
        text
    });
    let exit = running.ended.await;
    (text.await.unwrap(), exit)
}

/// Reads to the end; a terminal ends with an error once its other side is closed.
pub fn read(descriptor: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::from(descriptor).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
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
