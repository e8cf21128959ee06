//! A node without Kubernetes: a kubelet's directory in memory, the kubelet of the test kit, and a device plugin in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outrigger_stub_kubelet::{Options, StubKubelet, View};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long a list may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The sample's paths are fixed, and it makes files in `/tmp`: it gets a view of its own of both, and leaves nothing.
const SAMPLE: &str = "exec 3< \"$2\" && mount -t tmpfs none /var/lib && mkdir /var/lib/kubelet && \
     mount --bind \"$1\" /var/lib/kubelet && mount -t tmpfs none /tmp && exec /proc/self/fd/3";

/// The programs that are measured.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Ours.
    pub outrigger: PathBuf,
    /// Kubernetes' sample device plugin.
    pub sample: Option<PathBuf>,
    /// The generic-device-plugin.
    pub gdp: Option<PathBuf>,
}

/// One of them, as it is to run.
#[derive(Clone, Debug)]
pub enum Plugin {
    /// Ours, with this configuration.
    Outrigger(PathBuf, String),
    /// The sample: one resource of two devices, whatever is asked.
    Sample(PathBuf),
    /// The generic one, with these devices.
    Gdp(PathBuf, Vec<String>),
}

/// The directories, the kubelet, and the plugin while it runs. Dropping it ends the plugin.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    /// The kubelet.
    pub kubelet: StubKubelet,
    child: Option<Child>,
}

impl Plugins {
    /// Ours, and what `SAMPLE_DEVICE_PLUGIN_BIN` and `GDP_BIN` name.
    pub fn find(outrigger: PathBuf) -> Self {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
        Self { outrigger, sample: named("SAMPLE_DEVICE_PLUGIN_BIN"), gdp: named("GDP_BIN") }
    }

    /// Ours, with this configuration.
    pub fn ours(&self, configuration: &str) -> Plugin {
        Plugin::Outrigger(self.outrigger.clone(), configuration.to_owned())
    }

    /// The others that are there, each with the resources that it serves and how many devices each has; the generic one
    /// serves `resources` of `count` devices.
    pub fn peers(&self, resources: usize, count: usize) -> Vec<(Plugin, Vec<(String, usize)>)> {
        let mut peers = Vec::new();
        if let Some(sample) = &self.sample {
            peers.push((Plugin::Sample(sample.clone()), vec![("example.com/resource".to_owned(), 2)]));
        }
        if let Some(gdp) = &self.gdp {
            let device =
                |number| format!("{{name: r{number}, groups: [{{count: {count}, paths: [{{path: /dev/null}}]}}]}}");
            let served = (0..resources).map(|number| (format!("squat.ai/r{number}"), count)).collect();
            peers.push((Plugin::Gdp(gdp.clone(), (0..resources).map(device).collect()), served));
        }
        peers
    }

    /// What is said of those that are not there.
    pub fn absent(&self, name: &str, recorded: &str) -> String {
        let sample = self.sample.is_none().then(|| format!("{name}  sample plugin: not present\n"));
        let gdp =
            self.gdp.is_none().then(|| format!("{name}  generic-device-plugin: not present; recorded {recorded}\n"));
        sample.into_iter().chain(gdp).collect()
    }
}

impl Plugin {
    /// For a line of figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Outrigger(..) => "outrigger",
            Self::Sample(_) => "sample plugin",
            Self::Gdp(..) => "generic-device-plugin",
        }
    }

    fn command(&self, node: &Path) -> Result<Command> {
        let sockets = node.join("device-plugins");
        Ok(match self {
            Self::Outrigger(program, configuration) => {
                let file = node.join("devices.yaml");
                fs::write(&file, configuration)?;
                let mut command = Command::new(program);
                command.args(["devices", "agent", "--admin", "127.0.0.1:0", "--config"]).arg(file);
                command.arg("--plugin-directory").arg(sockets);
                command.arg("--kubelet-directory").arg(node).arg("--lock-directory").arg(node.join("locks"));
                command
            }
            Self::Sample(program) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c", SAMPLE, "sh"]).arg(node).arg(program);
                command
            }
            Self::Gdp(program, devices) => {
                let mut command = Command::new(program);
                command.arg("--plugin-directory").arg(sockets).args(["--listen", "127.0.0.1:0"]);
                for device in devices {
                    command.arg("--device").arg(device);
                }
                command
            }
        })
    }
}

impl Node {
    /// A kubelet that runs, and no plugin yet.
    pub async fn new() -> Result<Self> {
        let folder = TempDir::with_prefix_in("node-", "/dev/shm")?;
        let directory = folder.path().join("device-plugins");
        for made in [directory.clone(), folder.path().join("locks"), folder.path().join("pod-resources")] {
            fs::create_dir(made)?;
        }
        let options = Options { pod_resources: Some(folder.path().join("pod-resources")), ..Options::new(directory) };
        let kubelet = StubKubelet::started(options).await?;
        Ok(Self { folder, kubelet, child: None })
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the plugin.
    pub fn start(&mut self, plugin: &Plugin) -> Result<()> {
        let mut command = plugin.command(self.folder.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let log = fs::File::create(self.folder.path().join("log"))?;
        command.stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("cannot start the {}", plugin.name()))?);
        Ok(())
    }

    /// Ends the plugin.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// The plugin's process id.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).context("no plugin runs")
    }

    /// Waits until the kubelet sees it so.
    pub async fn until(&self, what: &str, is_so: impl FnMut(&View) -> bool) -> Result<View> {
        if let Ok(view) = timeout(PATIENCE, self.kubelet.until(is_so)).await {
            return Ok(view);
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        bail!("waited {PATIENCE:?} in vain until {what}; the plugin said:\n{log}")
    }

    /// Waits until every resource offers as many devices.
    pub async fn until_offered(&self, served: &[(String, usize)]) -> Result<View> {
        self.until(&format!("{served:?} are offered"), |view| {
            served.iter().all(|(resource, count)| view.allocatable(resource) == *count)
        })
        .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.stop();
    }
}

/// Our configuration: `resources` resources of one node that `count` containers may hold each, and what they are called.
/// It is what the generic-device-plugin is given too.
pub fn shared(resources: usize, count: usize) -> (String, Vec<(String, usize)>) {
    let resource =
        |number| format!("- name: r{number}\n  groups: [{{count: {count}, paths: [{{path: /dev/null}}]}}]\n");
    let text = format!("domain: example.com\ndevices:\n{}", (0..resources).map(resource).collect::<String>());
    (text, (0..resources).map(|number| (format!("example.com/r{number}"), count)).collect())
}

/// A peer that does not come up here is said to, and ends nothing.
pub fn not_measured(name: &str, peer: &Plugin, error: &anyhow::Error) -> String {
    let why = error.to_string();
    format!("{name}  {}: not measured: {}\n", peer.name(), why.lines().collect::<Vec<_>>().join(" "))
}
