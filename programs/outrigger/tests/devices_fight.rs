//! Three doors and three disks: two users of `outrigger run` and a kubelet's pods fight for loop devices, as root. No disk
//! has two holders, and a runner that is killed leaves its disk to others. For ten seconds; for a minute where
//! `OUTRIGGER_SOAK` is set. Left out, and said so, where loop devices cannot be had.
//!
//! Tried with locks of its own for one of the users: "a disk had two holders".

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says what it did, and that it is left out")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::time::{Duration, Instant};

use outrigger_stub_kubelet::{ContainerRequest, PodRequest, StubKubelet};
use rustix::process::{Pid, Signal, kill_process};
use support::place::Place;
use support::site::LIMIT;
use tokio::process::{Child, Command};
use tokio::time::sleep;

const DISK: &str = "example.com/disk";

/// How long a pod keeps its disk that has ended before the kubelet named it.
const UNNAMED: Duration = Duration::from_secs(5);

/// Loop devices over files of their own; they go with the value.
struct Disks(Vec<(tempfile::NamedTempFile, String)>);

impl Disks {
    fn attached(count: usize) -> Option<Self> {
        let mut disks = Self(Vec::new());
        for _ in 0..count {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(16 << 20).unwrap();
            let said = Blocking::new("losetup").args(["-f", "--show"]).arg(file.path()).output();
            let node = said.ok().filter(|said| said.status.success());
            assert!(node.is_some() || std::env::var_os("CI").is_none(), "on CI there are loop devices");
            let node = String::from_utf8(node?.stdout).unwrap().trim().to_owned();
            disks.0.push((file, node));
        }
        Some(disks)
    }

    fn names(&self) -> String {
        let names = self.0.iter().map(|(_, node)| node.trim_start_matches("/dev/"));
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for (_, node) in &self.0 {
            let _ = Blocking::new("losetup").args(["-d", node]).status();
        }
    }
}

/// Who has which disk: a directory for each, which only one can make.
struct Holders(PathBuf);

impl Holders {
    fn take(&self, node: &str) {
        fs::create_dir(self.0.join(node.trim_start_matches("/dev/")))
            .unwrap_or_else(|why| panic!("{node} twice: {why}"));
    }

    fn give_back(&self, node: &str) {
        fs::remove_dir(self.0.join(node.trim_start_matches("/dev/"))).unwrap();
    }
}

/// A pod for `outrigger run` that has a disk for as long as its script takes.
fn pod(place: &Place, name: &str, script: &str) -> String {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "app", "image": "none", "command": ["sh", "-ec", script],
            "resources": {"limits": {DISK: 1}},
        }]},
    });
    let file = place.path(&format!("{name}.json"));
    fs::write(&file, pod.to_string()).unwrap();
    file.display().to_string()
}

fn runner(place: &Place, manifest: &str) -> Child {
    let mut command: Command = place.command("outrigger", &["run", "--quiet", "--config-dir", "config", manifest]);
    command.env("OUTRIGGER_RUN_STATE_DIRECTORY", place.path("state"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdout(Stdio::null()).stderr(fs::File::create(place.path("run.log")).unwrap());
    command.spawn().unwrap()
}

/// Whether who had a disk so often goes on: until the time is over, and on a busy machine until it had one at all.
fn goes_on(had: usize, until: Instant) -> bool {
    let now = Instant::now();
    now < until || had == 0 && now < until + LIMIT
}

/// One user: pod after pod, until the time is over; how many had a disk. One that has found none tries again.
async fn run_pods(place: &Place, name: &str, until: Instant) -> usize {
    let held = place.path("held");
    let script = format!(
        "node=$(env | sed -n 's/^OUTRIGGER_DEVICE_.*_PATH=.dev.//p'); mkdir {0}/$node || {{ touch {0}.twice; exit 9; }}; \
         sleep 0.1; rmdir {0}/$node",
        held.display()
    );
    let manifest = pod(place, name, &script);
    let mut had = 0;
    while goes_on(had, until) {
        had += usize::from(runner(place, &manifest).wait().await.unwrap().success());
    }
    had
}

/// The kubelet's pods, until the time is over; how many had a disk.
async fn admit_pods(kubelet: &StubKubelet, holders: &Holders, until: Instant) -> usize {
    let (mut had, mut number) = (0, 0);
    while goes_on(had, until) {
        number += 1;
        let name = format!("pod-{number}");
        let limits = [(DISK.to_owned(), 1)].into();
        let container = ContainerRequest { name: "app".to_owned(), limits, ..ContainerRequest::default() };
        let (uid, namespace) = (name.clone(), "default".to_owned());
        let pod = PodRequest { uid, name: name.clone(), namespace, containers: vec![container] };
        if let Ok(admitted) = kubelet.admit(&pod).await {
            let node = admitted["app"][DISK].1.devices[0].host_path.clone();
            holders.take(&node);
            sleep(Duration::from_millis(100)).await;
            holders.give_back(&node);
            kubelet.remove_pod(&name);
            had += 1;
        }
        sleep(Duration::from_millis(50)).await;
    }
    had
}

async fn becomes(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < UNNAMED + LIMIT, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_locked(place: &Place) -> bool {
    let locks = fs::read_dir(place.path("lock/devices")).into_iter().flatten().flatten();
    let is_free = |path: &Path| Blocking::new("flock").arg("-n").arg(path).arg("true").status().unwrap().success();
    locks.map(|lock| lock.path()).any(|path| !is_free(&path))
}

#[tokio::test]
async fn two_users_and_a_kubelet_fight_for_three_disks_and_none_has_two_holders() {
    let Some(disks) = Disks::attached(3) else {
        eprintln!("left out: no loop devices can be had");
        return;
    };
    let place = Place::new();
    for path in ["kubelet/pod-resources", "held", "state", "config"] {
        fs::create_dir_all(place.path(path)).unwrap();
    }
    let resource = format!(
        "- {{resource: {DISK}, health: {{healthyAfter: 10ms}}, groups: [{{block: {{transport: [loop], names: [{}]}}}}]}}\n",
        disks.names()
    );
    place.configure(&resource);
    let text = fs::read_to_string(place.path("devices.yaml")).unwrap().replace("audit: 1h", "audit: 100ms");
    fs::write(place.path("devices.yaml"), &text).unwrap();
    fs::write(place.path("config/devices.yaml"), &text).unwrap();
    fs::write(place.path("config/run.yaml"), "launcher: host\n").unwrap();
    let kubelet = place.kubelet_with(|options| options.pod_resources = Some(place.path("kubelet/pod-resources"))).await;
    let agent = place.agent("agent.log");
    kubelet.until(|view| view.allocatable(DISK) == 3).await;

    let length = Duration::from_secs(if std::env::var_os("OUTRIGGER_SOAK").is_some() { 60 } else { 10 });
    let (until, holders) = (Instant::now() + length, Holders(place.path("held")));
    let had = tokio::join!(
        run_pods(&place, "one", until),
        run_pods(&place, "two", until),
        admit_pods(&kubelet, &holders, until)
    );
    assert!(!place.path("held.twice").exists(), "a disk had two holders");
    eprintln!("pods with a disk: {had:?}");
    assert!(had.0 > 0 && had.1 > 0 && had.2 > 0, "{had:?}: {}", fs::read_to_string(place.path("run.log")).unwrap());

    // A runner that is killed frees its disk, with the last process of its pod.
    becomes("all disks are free", || !is_locked(&place)).await;
    let up = place.path("up");
    let manifest = pod(&place, "killed", &format!("touch {}; sleep 1000", up.display()));
    let mut killed = runner(&place, &manifest);
    becomes("the pod runs", || up.exists()).await;
    assert!(is_locked(&place));
    kill_process(Pid::from_raw(killed.id().unwrap().cast_signed()).unwrap(), Signal::KILL).unwrap();
    killed.wait().await.unwrap();
    becomes("its disk is free", || !is_locked(&place)).await;
    // The next command takes away what the killed runner has left, its group among it.
    let mut next = place.command("outrigger", &["ps", "--config-dir", "config"]);
    assert!(next.env("OUTRIGGER_RUN_STATE_DIRECTORY", place.path("state")).status().await.unwrap().success());
    kubelet.until(|view| view.allocatable(DISK) == 3).await;
    drop(agent);
}
