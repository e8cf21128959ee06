//! The benchmarks of `outrigger devices agent` on a real kubelet: what they measure and the lines each prints.
//!
//! ```text
//! program ──► the node of a cluster, as a process of it ──► kubelet ──► its checkpoint: when it has a list
//! pod ──► API server ──► kubelet ──► the API's watch: when it is bound, and when it runs
//! ```
//!
//! Ours and the programs that a user would pick instead are measured in one run. The checkpoint is looked at each
//! millisecond, since the kubelet writes it after every list; the node's status in the API comes up to 10 s later, whatever
//! plugin it is.

mod checkpoint;
mod pods;

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cluster::{Cluster, output};
use crate::devices::{Plugin, Plugins, Served, compared};
use crate::sample::Sample;
use checkpoint::Checkpoint;
pub use pods::pods;

/// How often a plugin is started.
const STARTS: usize = 11;
/// How often the kubelet is: the sample takes seconds each time.
const RESTARTS: usize = 5;
/// How long a kubelet is left alone after the end of a plugin.
const PAUSE: Duration = Duration::from_millis(500);

/// The node of a cluster.
#[derive(Debug)]
pub struct Node<'c> {
    cluster: &'c Cluster,
    checkpoint: Checkpoint,
}

/// A plugin that runs on the node; it ends with this value.
#[derive(Debug)]
struct Running(Child);

impl<'c> Node<'c> {
    /// The node of this cluster.
    pub fn of(cluster: &'c Cluster) -> Result<Self> {
        Ok(Self { cluster, checkpoint: Checkpoint::below(&cluster.root()?) })
    }

    /// Starts a plugin as a process of the node.
    fn start(&self, plugin: &Plugin) -> Result<Running> {
        let mut words = Vec::new();
        let program = match plugin {
            Plugin::Outrigger(program, configuration) => {
                let file = self.cluster.directory().join("bench-devices.yaml");
                std::fs::write(&file, configuration)?;
                words.extend(["devices", "agent", "--admin=127.0.0.1:0", "--config"].map(Into::into));
                words.push(file.into_os_string());
                program
            }
            Plugin::Sample(program) => program,
            Plugin::Gdp(program, devices) => {
                words.push("--listen=127.0.0.1:0".into());
                words.extend(devices.iter().flat_map(|device| ["--device".into(), device.into()]));
                program
            }
        };
        let log = std::fs::File::create(self.log(plugin))?;
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init()?, "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]);
        // A killed nsenter would leave the program behind.
        nsenter.args(["setpriv", "--pdeathsig=KILL"]).arg(program).args(words);
        nsenter.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Running(nsenter.spawn().with_context(|| format!("cannot start the {}", plugin.name()))?))
    }

    /// Where a plugin's messages are.
    fn log(&self, plugin: &Plugin) -> std::path::PathBuf {
        self.cluster.directory().join(format!("log/{}.log", plugin.name().replace(' ', "-")))
    }

    /// The first process of the cluster.
    fn init(&self) -> Result<String> {
        let init = std::fs::read_to_string(self.cluster.directory().join("init"))?;
        init.split(' ').next().map(str::to_owned).context("the cluster has no first process")
    }

    /// Waits until the kubelet has what a plugin serves, by a list that it did not have at `before`.
    fn until_has(&self, plugin: &Plugin, served: &Served, before: Option<checkpoint::Made>) -> Result<Instant> {
        self.checkpoint.until(served, before).map_err(|error| {
            let log = std::fs::read_to_string(self.log(plugin)).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            error.context(format!("the {} says: {}", plugin.name(), last.join(" | ")))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From the start of the program to the list that the kubelet has.
pub fn start(node: &Node, plugins: &Plugins) -> Result<String> {
    let (ours, served) = plugins.ours_with(1, 2);
    let mut text = String::new();
    let mut ours_took = Vec::new();
    let mut peers: Vec<(Plugin, Served, Vec<Duration>)> = plugins
        .sample()
        .into_iter()
        .chain(plugins.generic(1, 2))
        .map(|(plugin, served)| (plugin, served, vec![]))
        .collect();
    for _ in 0..STARTS {
        ours_took.push(one_start(node, &ours, &served)?);
        for (plugin, served, took) in &mut peers {
            took.push(one_start(node, plugin, served)?);
        }
    }
    let sample = Sample::new(ours_took).context("nothing was measured")?;
    let _ = writeln!(text, "start: outrigger {sample}");
    for (plugin, _, took) in peers {
        let theirs = Sample::new(took).context("nothing was measured");
        text.push_str(&compared("start:", &sample, &plugin, theirs));
    }
    Ok(text + &plugins.no_sample("start:") + &plugins.no_generic("start:", "30 ms at a kubelet of its own"))
}

fn one_start(node: &Node, plugin: &Plugin, served: &Served) -> Result<Duration> {
    thread::sleep(PAUSE);
    let before = node.checkpoint.made();
    let begin = Instant::now();
    let _running = node.start(plugin)?;
    Ok(node.until_has(plugin, served, before)? - begin)
}

/// From the kubelet's new socket to the list that it has again, all plugins beside each other.
pub fn restart(node: &Node, plugins: &Plugins) -> Result<String> {
    let (ours, served) = plugins.ours_with(3, 10);
    let all: Vec<(Plugin, Served)> =
        std::iter::once((ours, served)).chain(plugins.sample()).chain(plugins.generic(3, 10)).collect();
    let mut running = Vec::new();
    for (plugin, served) in &all {
        running.push(node.start(plugin)?);
        node.until_has(plugin, served, None)?;
    }
    let mut took = vec![Vec::new(); all.len()];
    for _ in 0..RESTARTS {
        let (list, socket) = (node.checkpoint.made(), node.checkpoint.socket());
        let restarted = thread::scope(|scope| {
            let all = &all;
            let waiting = scope.spawn(move || {
                let begin = node.checkpoint.until_socket(socket)?;
                let came = all.iter().map(|(plugin, served)| Ok(node.until_has(plugin, served, list)? - begin));
                came.collect::<Result<Vec<Duration>>>()
            });
            output(node.cluster.command("restart").arg("kubelet"))?;
            waiting.join().unwrap_or_else(|_| anyhow::bail!("the look at the kubelet ended"))
        })?;
        for (took, one) in took.iter_mut().zip(restarted) {
            took.push(one);
        }
    }
    let mut samples = took.into_iter().map(|took| Sample::new(took).context("nothing was measured"));
    let ours = samples.next().context("nothing was measured")??;
    let mut text = format!("restart: outrigger {ours}\n");
    for ((plugin, _), theirs) in all.iter().skip(1).zip(samples) {
        text.push_str(&compared("restart:", &ours, plugin, theirs));
    }
    Ok(text + &plugins.no_sample("restart:") + &plugins.no_generic("restart:", "5.4-5.9 s"))
}
