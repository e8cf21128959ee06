//! A runner that is killed with SIGKILL at every step of its pod's life: nothing of the pod is left, and its directory
//! tells the truth once a command has looked.
//!
//! The runner is this test's own executable, started anew with the test [`the_runner`] alone; its parent kills it when
//! `status.json` has been replaced so many times, which is each time an intent is written down.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::zombie_processes,
    reason = "clippy.toml allows the first two in test functions only; whoever starts the child waits for it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_host_launcher::HostLauncher;
use outrigger_pod_core::env::Sources;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::log::LogThread;
use outrigger_pod_directory::{Ending, Kind, ObjectName, PodSpec, RunDirectory, StateDirectory};
use outrigger_pod_runner::drive::{Runner, RunnerConfig, RunnerOptions};
use outrigger_pod_runner::recover::recover;
use rustix::fs::inotify;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Names the state directory to the child.
const STATE: &str = "OUTRIGGER_TEST_KILLED_STATE";

fn agent() -> PathBuf {
    std::env::var_os("OUTRIGGER_TEST_AGENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_host-launcher-agent")), PathBuf::from)
}

/// A pod whose processes all have `mark` in their command line.
fn plan(mark: &str) -> PodPlan {
    let mounts = json!([{"name": "scratch", "mountPath": "/scratch-of-test"}, {"name": "memory", "mountPath": "/memory-of-test"}]);
    let run = |name: &str, script: &str| {
        let script = format!("{script} # {mark}");
        json!({"name": name, "image": "none", "command": ["sh", "-c", script], "volumeMounts": mounts})
    };
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "killed", "uid": mark},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}],
            "initContainers": [run("first", "sleep 0.05")],
            "containers": [run("left", "setsid sh -c 'sleep 0.2' & sleep 0.1"), run("right", "sleep 0.15")],
        },
    }))
    .unwrap();
    PodPlan::new(pod, mark).unwrap()
}

/// Not a test by itself: what the parent starts and kills.
#[tokio::test]
async fn the_runner() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let state = PathBuf::from(state);
    let mark = state.file_name().unwrap().to_str().unwrap();
    let plan = plan(mark);
    let spec = PodSpec {
        pod: serde_json::to_value(&plan.pod).unwrap(),
        launcher: "host".into(),
        created_at: Time(Timestamp::now()),
        job: None,
        keep: false,
        options: serde_json::Map::new(),
    };
    let directory =
        StateDirectory::at(&state).create_pod(&ObjectName::new("default", "killed").unwrap(), &spec).unwrap();
    let runner = Runner::new(RunnerConfig {
        plan: Arc::new(plan),
        sources: Arc::new(Sources::default()),
        launcher: Arc::new(HostLauncher::with_agent(agent()).unwrap()),
        providers: Vec::new(),
        directory,
        logs: Arc::new(LogThread::start().unwrap()),
        options: RunnerOptions::default(),
    });
    runner.unwrap().run(CancellationToken::new()).await.unwrap();
}

/// Starts the runner; answers it with its run, once that is there.
async fn start(state: &Path) -> (Child, RunDirectory) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_runner"])
        .env(STATE, state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let name = ObjectName::new("default", "killed").unwrap();
    for _ in 0..3000 {
        if let Ok(run) = StateDirectory::at(state).latest(Kind::Pod, &name) {
            return (child, run);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the runner did not begin");
}

/// Waits until `status.json` was replaced `times` times; answers whether the runner ended before.
async fn replaced(run: &RunDirectory, times: usize, child: &mut Child) -> bool {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, run.path(), inotify::WatchFlags::MOVED_TO).unwrap();
    let (mut seen, mut buffer) = (0, [std::mem::MaybeUninit::uninit(); 4096]);
    for _ in 0..20_000 {
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        while let Ok(event) = reader.next() {
            seen += usize::from(event.file_name().is_some_and(|name| name.to_bytes() == b"status.json"));
        }
        if seen >= times {
            return false;
        }
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    panic!("the runner hangs");
}

/// The processes whose command line holds `mark`.
fn processes(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let command = fs::read(path.join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    all.filter(|command| command.contains(mark)).collect()
}

#[tokio::test]
async fn a_runner_that_is_killed_at_any_step_leaves_no_process_no_mount_and_no_lie() {
    let place = tempfile::tempdir().unwrap();
    let launcher = HostLauncher::with_agent(agent()).unwrap();
    for step in 0.. {
        let mark = format!("killed-{}-{step}", std::process::id());
        let state = place.path().join(&mark);
        let (mut child, run) = start(&state).await;
        let ended = replaced(&run, step, &mut child).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for _ in 0..500 {
            if processes(&mark).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(processes(&mark), Vec::<String>::new(), "after step {step}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&mark), "after step {step}");

        let abandoned = run.is_abandoned().unwrap();
        assert_eq!(recover(&run, &launcher, &[], Timestamp::now()).await.unwrap(), abandoned);
        let file = run.status().unwrap().unwrap();
        assert!(
            matches!(file.status.phase.as_deref(), Some("Succeeded" | "Failed")),
            "after step {step}: {:?}",
            file.status
        );
        let why = file.end.unwrap().why;
        assert_eq!(why, if abandoned { Ending::RunnerDied } else { Ending::Finished }, "after step {step}");
        assert!(!run.volumes().exists() && !run.launcher().exists(), "after step {step}");
        if ended {
            assert!(step > 6, "the life had only {step} steps");
            return;
        }
    }
}
