//! Whole pods on this machine: the runner with the launcher `host`, real processes, real volumes.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions only, not in their helpers.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::Launcher;
use outrigger_pod_core::env::Sources;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::log::LogThread;
use outrigger_pod_directory::{Ending, ObjectName, PodSpec, StateDirectory};
use outrigger_pod_runner::drive::{Outcome, Runner, RunnerConfig, RunnerOptions};
use outrigger_pod_runner::handle::Request;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

struct Bench {
    place: tempfile::TempDir,
    launcher: Arc<HostLauncher>,
    logs: Arc<LogThread>,
}

impl Bench {
    fn new() -> Self {
        let agent = PathBuf::from(env!("CARGO_BIN_EXE_host-launcher-agent"));
        let agent = std::env::var_os("OUTRIGGER_TEST_AGENT").map_or(agent, PathBuf::from);
        Self {
            place: tempfile::tempdir().unwrap(),
            launcher: Arc::new(HostLauncher::with_agent(agent).unwrap()),
            logs: Arc::new(LogThread::start().unwrap()),
        }
    }

    fn runner(&self, spec: &Value) -> Runner {
        static PODS: AtomicU32 = AtomicU32::new(0);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
        let uid = format!("whole-{}-{}", std::process::id(), PODS.fetch_add(1, Ordering::Relaxed));
        let plan = PodPlan::new(pod, &uid).unwrap();
        let spec = PodSpec {
            pod: serde_json::to_value(&plan.pod).unwrap(),
            launcher: "host".into(),
            created_at: Time(Timestamp::now()),
            job: None,
            keep: false,
            options: serde_json::Map::new(),
        };
        let name = ObjectName::new("default", "web").unwrap();
        let config_map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "settings"}, "data": {"color": "green"}})).unwrap();
        let secret: Secret =
            serde_json::from_value(json!({"metadata": {"name": "key"}, "data": {"word": "c2VzYW1l"}})).unwrap();
        Runner::new(RunnerConfig {
            plan: Arc::new(plan),
            sources: Arc::new(Sources {
                config_maps: [("settings".into(), config_map)].into(),
                secrets: [("key".into(), secret)].into(),
                ..Sources::default()
            }),
            launcher: Arc::clone(&self.launcher) as Arc<dyn Launcher>,
            providers: Vec::new(),
            directory: StateDirectory::at(self.place.path()).create_pod(&name, &spec).unwrap(),
            logs: Arc::clone(&self.logs),
            options: RunnerOptions::default(),
        })
        .unwrap()
    }

    async fn run(&self, spec: &Value) -> Outcome {
        let run = self.runner(spec).run(CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("a minute is enough").unwrap()
    }

    /// What a container wrote, line by line.
    fn log(&self, container: &str) -> Vec<String> {
        let log = fs::read_to_string(self.place.path().join(format!("pods/default/web/1/logs/{container}/0.log")));
        log.unwrap().lines().map(|line| line[40..].to_owned()).collect()
    }

    /// Every file below the state directory that holds `text`.
    fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let (mut waiting, mut found) = (vec![self.place.path().to_owned()], Vec::new());
        while let Some(path) = waiting.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if meta.is_file() && String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(text) {
                found.push(path);
            }
        }
        found
    }
}

fn shell(name: &str, script: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "none", "command": ["sh", "-c", script]});
    if let (Some(into), Value::Object(more)) = (container.as_object_mut(), more) {
        into.extend(more);
    }
    container
}

#[tokio::test]
async fn a_pod_with_volumes_and_variables_runs_as_its_manifest_says() {
    let bench = Bench::new();
    let mounts = json!([
        {"name": "shared", "mountPath": "/work-of-test/shared"},
        {"name": "settings", "mountPath": "/work-of-test/settings"},
        {"name": "key", "mountPath": "/work-of-test/key"},
        {"name": "shared", "mountPath": "/work-of-test/below", "subPathExpr": "by-$(COLOR)"},
    ]);
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [
            {"name": "shared", "emptyDir": {}},
            {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "color", "path": "deep/color"}]}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
        ],
        "initContainers": [shell("first", "echo made > /work-of-test/shared/by-init", json!({"volumeMounts": mounts,
            "env": [{"name": "COLOR", "value": "none"}]}))],
        "containers": [shell(
            "main",
            "cat /work-of-test/shared/by-init /work-of-test/settings/deep/color; echo; \
             test $(cat /work-of-test/key/word) = $WORD && echo same; echo x > /work-of-test/below/x; \
             ls -A /work-of-test/shared/by-$COLOR; echo $0; touch /work-of-test/settings/no; \
             echo $POD; echo bye > /dev/termination-log; exit 4",
            json!({"volumeMounts": mounts, "args": ["$(COLOR)-$(UNKNOWN)-$$(COLOR)"], "env": [
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ]}),
        )],
    });
    // A name that no earlier test can have left on the machine.
    let place = format!("/work-of-{}", std::process::id());
    let spec = serde_json::from_str(&spec.to_string().replace("/work-of-test", &place)).unwrap();
    let outcome = bench.run(&spec).await;
    let mut lines = bench.log("main");
    lines.retain(|line| !line.contains("Read-only file system"));
    assert_eq!(lines, ["made", "green", "same", "x", "green-$(UNKNOWN)-$(COLOR)", "web"], "{:?}", bench.log("main"));
    assert_eq!(bench.log("main").len(), 7, "writing to a ConfigMap volume is refused");
    let terminated = outcome.status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((terminated.exit_code, terminated.message.as_deref()), (4, Some("bye\n")));
    assert_eq!(outcome.status.phase.as_deref(), Some("Failed"));
    assert_eq!(bench.files_with("sesame"), Vec::<PathBuf>::new());
    assert_eq!(bench.files_with("c2VzYW1l"), Vec::<PathBuf>::new());
    assert!(!outcome.directory.volumes().exists() && !outcome.directory.launcher().exists());
    assert!(!PathBuf::from(place).exists());
}

#[tokio::test]
async fn a_status_tells_whose_processes_run_also_of_one_that_could_not_be_executed() {
    let bench = Bench::new();
    let missing = json!({"name": "missing", "image": "none", "command": ["/no/such/program"]});
    let spec = json!({"restartPolicy": "Never", "containers": [shell("main", "id -u; id -g", json!({})), missing]});
    let statuses = bench.run(&spec).await.status.container_statuses.unwrap();
    let is_of = |id: &Option<String>, end: &str| {
        let id = id.as_deref().unwrap_or_default();
        assert!(id.starts_with("host://whole-") && id.ends_with(end), "{id}");
    };
    let user = statuses[0].user.clone().unwrap().linux.unwrap();
    assert_eq!(bench.log("main"), [user.uid.to_string(), user.gid.to_string()]);
    assert_eq!(user.supplemental_groups.unwrap()[0], user.gid);
    is_of(&statuses[0].container_id, ".main.0");
    let terminated = statuses[1].state.clone().unwrap().terminated.unwrap();
    assert_eq!((terminated.reason.as_deref(), terminated.exit_code), (Some("StartError"), 128));
    is_of(&terminated.container_id, ".missing.0");
    assert_eq!(statuses[1].container_id, terminated.container_id);
}

#[tokio::test]
async fn a_missing_object_waits_and_a_stop_ends_the_wait() {
    let bench = Bench::new();
    let runner = bench.runner(&json!({
        "volumes": [{"name": "gone", "configMap": {"name": "gone"}}],
        "containers": [shell("main", "true", json!({}))],
    }));
    let handle = runner.handle();
    let ask = async {
        let mut notes = handle.notes.subscribe();
        let note = notes.recv().await.unwrap().note;
        assert!(note.message.contains("configmap \"gone\" not found"), "{}", note.message);
        let (reply, answered) = oneshot::channel();
        handle.requests.send(Request::Stop { grace: None, reply }).await.unwrap();
        answered.await.unwrap();
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), ask);
    assert_eq!(outcome.unwrap().ending, Ending::Stopped);
}
