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
use std::time::{Duration, Instant};

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

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);

fn agent() -> PathBuf {
    std::env::var_os("OUTRIGGER_TEST_AGENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_host-launcher-agent")), PathBuf::from)
}

/// A pod whose processes all have `mark` in their command line; one is in a session of its own, and does not end by itself.
fn plan(mark: &str) -> PodPlan {
    let orphan = format!("setsid sh -c ': {mark}; while :; do sleep 1000; done' & sleep 0.1");
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
            "containers": [run("left", &orphan), run("right", "sleep 0.15")],
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
    // The parent has its watch once it lets go of the pipe.
    std::io::read_to_string(std::io::stdin()).unwrap();
    runner.unwrap().run(CancellationToken::new()).await.unwrap();
}

/// Starts the runner; answers it with its run, once that is there. It begins with the pod when its stdin is closed.
async fn start(state: &Path) -> (Child, RunDirectory) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_runner"])
        .env(STATE, state)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let name = ObjectName::new("default", "killed").unwrap();
    let until = Instant::now() + LIMIT;
    loop {
        if let Ok(run) = StateDirectory::at(state).latest(Kind::Pod, &name) {
            return (child, run);
        }
        assert!(Instant::now() < until, "the runner did not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets the runner begin, and waits until `status.json` was replaced `times` times; answers whether the runner ended before.
async fn replaced(run: &RunDirectory, times: usize, child: &mut Child) -> bool {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, run.path(), inotify::WatchFlags::MOVED_TO).unwrap();
    drop(child.stdin.take());
    let (mut seen, mut buffer) = (0, [std::mem::MaybeUninit::uninit(); 4096]);
    let until = Instant::now() + LIMIT;
    loop {
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
        assert!(Instant::now() < until, "the runner hangs");
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// The processes whose command line holds `mark`, or that see a mount which does: a pod's mounts are in a namespace of its own.
fn processes(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let command = String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        let mounts =
            || fs::read(path.join("mountinfo")).is_ok_and(|text| String::from_utf8_lossy(&text).contains(mark));
        (command.contains(mark) || mounts()).then(|| format!("{} {command}", path.display()))
    });
    all.collect()
}

/// Waits until there is none.
async fn nothing_runs(mark: &str) {
    let until = Instant::now() + LIMIT;
    loop {
        let left = processes(mark);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "still there: {left:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_runner_that_is_killed_at_any_step_leaves_no_process_no_mount_and_no_lie() {
    let place = tempfile::tempdir().unwrap();
    let launcher = HostLauncher::with_agent(agent()).unwrap();
    let (mut step, until) = (0, Instant::now() + LIMIT);
    for round in 0.. {
        let mark = format!("killed-{}-{round}", std::process::id());
        let state = place.path().join(&mark);
        let (mut child, run) = start(&state).await;
        let ended = replaced(&run, step, &mut child).await;
        child.kill().unwrap();
        child.wait().unwrap();
        nothing_runs(&mark).await;
        // What it was about to start may have its lock for a moment more.
        run.wait_for_runner().unwrap();
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
        if ended && step > 6 {
            return;
        }
        // Where this process was held up, a whole life goes by between two looks: that step is tried again.
        assert!(!ended || Instant::now() < until, "the life has only {step} steps");
        step += usize::from(!ended);
    }
}
