//! A node: the machine of files, a stub kubelet, the agents that run, its pods, and the pods of `outrigger run`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::{Claims, Decision};
use outrigger_devices::agent::{Parts, serve, source::Source};
use outrigger_devices::args::SettingsArgs;
use outrigger_devices::inventory::Inventory;
use outrigger_devices::settings::Surroundings;
use outrigger_host::{Locks, MachineLock};
use outrigger_runtime::{LogFilter, LogFormat, Tasks, subscriber};
use outrigger_stub_kubelet::{Options, StubKubelet};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine::{BAYS, Machine};
use super::steps::Script;

/// The kind of lock that devices have.
pub const KIND: &str = "devices";

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    tasks: Tasks,
    stop: CancellationToken,
}

/// What one pod has.
#[derive(Debug)]
pub struct Pod {
    /// Its uid and name.
    pub name: String,
    /// The resource.
    pub resource: &'static str,
    /// How many agents had been started when it was admitted.
    pub starts: usize,
    /// When it was admitted.
    pub since: Instant,
    /// Whether an agent may have seen what it has only where that was before: by that number it has been locked then, too.
    pub may_be_stale: bool,
    /// Each device.
    pub held: Vec<Held>,
}

/// A device that somebody has.
#[derive(Clone, Debug)]
pub struct Held {
    /// The id in the resource.
    pub id: String,
    /// The node.
    pub node: String,
    /// What was there.
    pub thing: usize,
    /// Where it was.
    pub slot: usize,
    /// As which plug it was there.
    pub plug: u64,
}

/// A pod of `outrigger run`.
#[derive(Debug)]
pub struct Run {
    /// What it has.
    pub held: Held,
    /// Its own locks, by name.
    pub locks: BTreeMap<String, MachineLock>,
    /// Those that others may have too.
    #[expect(dead_code, reason = "they are held as long as it is")]
    pub shared: BTreeMap<String, MachineLock>,
}

/// All of it.
#[derive(Debug)]
pub struct Node {
    /// What is plugged.
    pub machine: Machine,
    /// The kubelet.
    pub kubelet: StubKubelet,
    /// Those that run, the oldest first.
    pub agents: Vec<Agent>,
    /// The kubelet's pods.
    pub pods: Vec<Pod>,
    /// Pods beside it.
    pub runs: Vec<Run>,
    /// Which configuration holds.
    pub configuration: usize,
    /// Whether agents may not have read it yet.
    pub is_new: bool,
    /// Whether two agents at once were given another one: of these the one that ends its stream last may have sent a list
    /// after the other has, and a kubelet keeps that.
    pub is_left_by_two: bool,
    directory: TempDir,
}

impl Node {
    /// A machine without devices, and a kubelet that runs.
    pub async fn new(script: &Script) -> Self {
        // In memory where that is possible.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for path in ["kubelet/device-plugins", "kubelet/pod-resources", "etc", "same"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let mut options = Options::new(directory.path().join("kubelet/device-plugins"));
        options.pod_resources = Some(directory.path().join("kubelet/pod-resources"));
        (options.overlap_bug, options.seed) = (script.overlap_bug, script.seed);
        let kubelet = StubKubelet::started(options).await.unwrap();
        let (machine, agents, pods, runs) = (Machine::new(), Vec::new(), Vec::new(), Vec::new());
        let node = Self {
            machine,
            kubelet,
            agents,
            pods,
            runs,
            configuration: 0,
            is_new: false,
            is_left_by_two: false,
            directory,
        };
        node.write_configuration(&configuration(0));
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Whether the kubelet runs.
    pub fn has_kubelet(&self) -> bool {
        self.kubelet.view().running
    }

    /// The machine's locks.
    pub fn locks(&self) -> Locks {
        Locks::at(self.path("lock"))
    }

    /// How many pods may have a device of a resource at once.
    pub fn count(&self, resource: &str) -> usize {
        match resource {
            "example.com/radio" if self.configuration != SINGLE || self.is_new => 2,
            _ => 1,
        }
    }

    /// Lets another configuration hold.
    pub fn configure(&mut self, number: usize) {
        (self.configuration, self.is_new) = (number, true);
        self.is_left_by_two |= self.agents.len() > 1;
        self.write_configuration(&configuration(number));
    }

    /// Whether the configuration that holds gives what is in a slot to a resource.
    pub fn gives(&self, slot: usize, resource: &str) -> bool {
        match (self.configuration, resource) {
            (_, "example.com/radio") => slot >= BAYS,
            (0 | 2 | SINGLE, "example.com/disk") | (2, "example.com/big") => slot < BAYS,
            (1, "example.com/disk") => slot < 2,
            (1, "example.com/big") => (2..BAYS).contains(&slot),
            _ => false,
        }
    }

    /// Whether the configuration that holds makes units with such an id: that of one of several has a number.
    pub fn makes(&self, id: &str, resource: &str) -> bool {
        id.contains('-') == (resource == "example.com/radio" && self.configuration != SINGLE)
    }

    /// Writes the configuration's file, whole or not at all.
    pub fn write_configuration(&self, text: &str) {
        fs::write(self.path("etc/new"), text).unwrap();
        fs::rename(self.path("etc/new"), self.path("etc/devices.yaml")).unwrap();
    }

    fn source(&self, file: &str) -> Source {
        let text = |path: PathBuf| Some(path.display().to_string());
        Source::Ours(SettingsArgs {
            config: Some(self.path(file)),
            host_root: text(self.machine.tree.root().to_owned()),
            plugin_directory: text(self.path("kubelet/device-plugins")),
            kubelet_directory: text(self.path("kubelet")),
            lock_directory: text(self.path("lock")),
            audit: Some("10s".to_owned()),
            ..SettingsArgs::default()
        })
    }

    /// The rules and the machine, by the configuration that holds.
    pub fn inventory(&self) -> Inventory {
        // Of a file that no agent watches.
        fs::write(self.path("same/devices.yaml"), configuration(self.configuration)).unwrap();
        let (configuration, _) = self.source("same/devices.yaml").read(&Surroundings::default()).unwrap();
        Inventory::of(&configuration).unwrap().0
    }

    /// Which pod of the kubelet has which id of which resource.
    pub fn holders(&self) -> BTreeMap<(String, String), String> {
        let of_pod = |pod: &Pod| {
            let name = pod.name.clone();
            let keys: Vec<_> = pod.held.iter().map(|held| (pod.resource.to_owned(), held.id.clone())).collect();
            keys.into_iter().map(move |key| (key, name.clone()))
        };
        self.pods.iter().flat_map(of_pod).collect()
    }

    /// What the decision function says now, of a machine that is seen for the first time.
    pub fn decision(&self) -> Decision {
        let elsewhere =
            self.runs.iter().flat_map(|run| run.locks.keys()).map(|lock| (lock.clone(), "a run".to_owned()));
        let claims = Claims { held: self.holders(), elsewhere: elsewhere.collect() };
        self.inventory().decide_once(&claims).1
    }

    /// Starts an agent.
    pub fn start_agent(&mut self) {
        let (source, around) = (self.source("etc/devices.yaml"), Surroundings::default());
        self.write_configuration(&configuration(self.configuration));
        let (configuration, _) = source.read(&around).unwrap();
        let (inventory, _) = Inventory::of(&configuration).unwrap();
        let (_, log_level) = subscriber(LogFilter::default(), LogFormat::Json, io::sink);
        let parts = Parts { source: Arc::new(source), around, configuration, inventory, admin: None, log_level };
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("agent", serve(parts, stop.clone()));
        self.agents.push(Agent { tasks, stop });
    }

    /// Kills an agent: its files stay, its descriptors are closed.
    pub async fn kill_agent(&mut self, agent: usize) {
        drop(self.agents.remove(agent));
        // Aborted tasks are dropped in their next turn, and what they own in the turn after.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// The locks that somebody has.
    pub fn locked(&self) -> BTreeSet<String> {
        self.locks().holders(KIND, |_| false).into_keys().collect()
    }
}

impl Agent {
    /// Stops it in order.
    pub async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        self.tasks
            .finish(Duration::from_secs(2))
            .await
            .map_err(|failure| format!("the agent did not end well: {failure:#}"))
    }
}

/// The configuration in which a radio is for one pod alone.
pub const SINGLE: usize = 3;

/// One of the configurations: which disks are whose differs.
fn configuration(number: usize) -> String {
    let disks = |name: &str, block: &str| {
        format!("- name: {name}\n  health: {HEALTH}\n  groups: [{{block: {{transport: [sata]{block}}}}}]\n")
    };
    let count = if number == SINGLE { 1 } else { 2 };
    let radio = format!(
        "- name: radio\n  health: {HEALTH}\n  groups: [{{count: {count}, usb: [{{vendor: 10c4, product: ea60, child: tty}}]}}]\n"
    );
    let disks = match number {
        0 | SINGLE => disks("disk", ""),
        1 => disks("disk", ", names: [sda, sdb]") + &disks("big", ", names: [sdc, sdd]"),
        2 => disks("big", "") + &disks("disk", ""),
        _ => String::new(),
    };
    format!("domain: example.com\nids: short\ndevices:\n{disks}{radio}")
}

/// Short enough that [`SETTLED`](super::checks::SETTLED) is long.
const HEALTH: &str = "{unhealthyAfter: 2, healthyAfter: 1s, vanishGrace: 4s, every: 15s}";
