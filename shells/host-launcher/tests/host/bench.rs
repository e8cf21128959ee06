//! A workbench for tests: a launcher, a directory for pods, and plans in few words.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::{Launcher, Mount, Output, PreparedPod, Running, StartError, StartRequest};
use outrigger_pod_core::life::Exit;
use outrigger_pod_core::plan::{PodPlan, RestartPolicy};

use crate::requests::{pod_request, start_request};

/// A pod of its own with one main container, which is not started again.
pub fn plan() -> PodPlan {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let uid = format!("{:08x}-{:04x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let pod = outrigger_sample_pods::pod(vec![outrigger_sample_pods::container("main")]);
    PodPlan { name: "bench".to_owned(), uid, restart_policy: RestartPolicy::Never, ..pod }
}

/// A launcher with a directory; what a test leaves behind is removed with it.
pub struct Bench {
    pub launcher: HostLauncher,
    pub directory: tempfile::TempDir,
}

/// The executable that becomes an agent.
pub fn agent() -> PathBuf {
    std::env::var_os("OUTRIGGER_TEST_AGENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_host-launcher-agent")), PathBuf::from)
}

/// A path on the machine that is not there, nor left by an earlier test.
pub fn nowhere(path: &str) -> String {
    format!("{path}-of-{}", std::process::id())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Bench {
    pub fn new() -> Self {
        let launcher = HostLauncher::with_agent(agent()).unwrap();
        Self { launcher, directory: tempfile::tempdir().unwrap() }
    }

    /// On a machine that allows no namespaces.
    pub fn with_keepers() -> Self {
        let Self { launcher, directory } = Self::new();
        Self { launcher: launcher.without_namespaces(), directory }
    }

    /// Prepares a pod of this plan.
    pub async fn prepare(&self, plan: &Arc<PodPlan>, memory_volumes: &[&str]) -> PreparedPod {
        let directory = self.directory.path().join(&plan.uid);
        std::fs::create_dir_all(&directory).unwrap();
        self.launcher.prepare(pod_request(plan, &directory, memory_volumes)).await.unwrap()
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
        start_request(plan, &self.directory.path().join(&plan.uid), command, mounts)
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
