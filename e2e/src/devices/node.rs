//! A node without Kubernetes: a kubelet's directory in memory, the kubelet of the test kit, and a device plugin in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outrigger_stub_kubelet::{Options, StubKubelet, View};
use tempfile::TempDir;
use tokio::time::timeout;

use super::plugins::Plugin;

/// How long a list may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a program where `/var/lib/kubelet` is the node and `/tmp` is empty, and leaves nothing there: node, program, its
/// arguments.
const VIEW: &str = "exec 3< \"$2\" && mount -t tmpfs none /var/lib && mkdir /var/lib/kubelet && \
     mount --bind \"$1\" /var/lib/kubelet && mount -t tmpfs none /tmp && shift 2 && exec /proc/self/fd/3 \"$@\"";

/// The directories, the kubelet, and the plugin while it runs. Dropping it ends the plugin.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    /// The kubelet.
    pub kubelet: StubKubelet,
    child: Option<Child>,
}

impl Node {
    /// A kubelet that runs, and no plugin yet.
    pub async fn new() -> Result<Self> {
        Self::with(|_| ()).await
    }

    /// As [`Node::new`], with another kubelet.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = TempDir::with_prefix_in("node-", "/dev/shm")?;
        let directory = folder.path().join("device-plugins");
        for made in [directory.clone(), folder.path().join("locks"), folder.path().join("pod-resources")] {
            fs::create_dir(made)?;
        }
        let mut options =
            Options { pod_resources: Some(folder.path().join("pod-resources")), ..Options::new(directory) };
        change(&mut options);
        let kubelet = StubKubelet::started(options).await?;
        Ok(Self { folder, kubelet, child: None })
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the plugin; the sample in a view of its own, since its paths are fixed.
    pub fn start(&mut self, plugin: &Plugin) -> Result<()> {
        if matches!(plugin, Plugin::Sample(_)) {
            return self.start_in_view(plugin);
        }
        let (program, arguments) = plugin.command(self.folder.path())?;
        let mut command = Command::new(program);
        command.args(arguments);
        self.run(command, plugin)
    }

    /// Starts a newer instance beside the one that runs, and answers that, which is the caller's to end.
    pub fn start_beside(&mut self, plugin: &Plugin) -> Result<Option<Child>> {
        let older = self.child.take();
        self.start(plugin)?;
        Ok(older)
    }

    /// Starts the plugin in a view of its own: so two are started alike.
    pub fn start_in_view(&mut self, plugin: &Plugin) -> Result<()> {
        let (program, arguments) = plugin.command(self.folder.path())?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", VIEW, "sh"]);
        command.arg(self.folder.path()).arg(program).args(arguments);
        self.run(command, plugin)
    }

    fn run(&mut self, mut command: Command, plugin: &Plugin) -> Result<()> {
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
