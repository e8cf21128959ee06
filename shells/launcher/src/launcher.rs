//! What starts containers for the pod runner: two levels, as the Container Runtime Interface has them.
//!
//! First a *pod* is prepared (namespaces, memory-backed volumes), then containers are started in it. A container is named
//! by an opaque id that survives a restart of ours where the launcher's engine does. Ends and log bytes arrive as streams;
//! an engine that keeps the log itself says so. Every call is safe to repeat.
//!
//! Implementations: `host` (processes), `apptainer`, and in tests one without child processes that outlives its caller.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::{Exit, Found, ImageProblem, Instance, LinuxUser, PodAddresses, StartProblem};
use outrigger_pod_core::plan::{ContainerName, ContainerPlan, PodPlan};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes that come from a container.
pub type Incoming = Box<dyn AsyncRead + Send + Unpin>;

/// Bytes that go into a container.
pub type Outgoing = Box<dyn AsyncWrite + Send + Unpin>;

/// Starts, stops and lists the containers of pods.
pub trait Launcher: Send + Sync {
    /// `host`, `apptainer`, …: the scheme of container ids in a pod's status.
    fn name(&self) -> &'static str;

    /// What of this pod the launcher cannot enforce here; each is a named warning, and with `--strict` an error.
    fn shortfalls(&self, plan: &PodPlan) -> Vec<Shortfall>;

    /// Makes what the pod's containers share. Repeating it for a pod that is prepared already answers the same.
    fn prepare(&self, request: PodRequest) -> BoxFuture<'_, Result<PreparedPod, LaunchError>>;

    /// Takes down what [`Launcher::prepare`] made, killing what still runs. No fault where nothing is there.
    fn remove<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), LaunchError>>;

    /// Looks whether the container's image is there; fetches nothing.
    fn image<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<ImageState, ImageError>>;

    /// Fetches the container's image, also where an older one is there. Dropping the future gives it up.
    fn pull<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>>;

    /// Starts a container; answers once its `exec` has succeeded.
    fn start(&self, request: StartRequest) -> BoxFuture<'_, Result<Running, StartError>>;

    /// The streams of a container that [`Launcher::list`] found, after a restart of ours.
    fn adopt<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Running, LaunchError>>;

    /// Sends `signal` (a name with `SIG`) and kills what is left after `grace`; answers once the signal is sent. A later
    /// call with a shorter grace wins. No fault where the container has ended.
    fn stop<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), LaunchError>>;

    /// Runs a command in a running container.
    fn exec<'a>(&'a self, id: &'a ContainerId, request: ExecRequest)
    -> BoxFuture<'a, Result<ExecSession, LaunchError>>;

    /// What a running container uses.
    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Usage, LaunchError>>;

    /// The containers of a pod that exist, also those that an earlier process of ours started.
    fn list<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>>;
}

/// The launcher's name for a container: opaque to everyone else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something in a manifest that a launcher cannot enforce on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Field path, for example `spec.containers[0].resources.limits.memory`.
    pub path: String,
    /// What will not hold, why, and what would make it hold.
    pub message: String,
}

/// What a pod needs before its first container.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// The pod.
    pub plan: Arc<PodPlan>,
    /// The pod's directory; the launcher keeps its own files in `launcher/` below it.
    pub directory: PathBuf,
    /// The host name inside.
    pub hostname: String,
    /// Volumes that must live in memory: `emptyDir` with `medium: Memory`, and those with secrets.
    pub memory_volumes: Vec<MemoryVolume>,
    /// The address to report; `None` lets the launcher find it.
    pub pod_ip: Option<std::net::IpAddr>,
}

/// A volume that must live in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryVolume {
    /// The volume's name in the pod.
    pub name: String,
    /// Its limit in bytes.
    pub size_limit: Option<u64>,
}

/// A prepared pod.
#[derive(Clone, Debug)]
pub struct PreparedPod {
    /// What the status shows.
    pub addresses: PodAddresses,
    /// For each memory volume a path by which *this process* reads and writes it; valid until the pod is removed. One that
    /// is missing could not be had in memory: the runner then uses 0600 files in the pod's directory.
    pub memory_volumes: BTreeMap<String, PathBuf>,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What `imageID` in the status shows; empty where there is no image.
    pub id: String,
    /// Its size in bytes; 0 where it is not known.
    pub size: u64,
}

/// Whether an image is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// It is there and never fetched: the launcher uses none, or it is a file of this machine.
    Given(Image),
    /// It was fetched earlier.
    Present(Image),
    /// It must be fetched first.
    Absent,
}

/// Everything a container starts with.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The pod.
    pub plan: Arc<PodPlan>,
    /// Which run of which container.
    pub instance: Instance,
    /// `command` with `$(VAR)` expanded; empty: the image's entry point.
    pub command: Vec<String>,
    /// `args` with `$(VAR)` expanded.
    pub args: Vec<String>,
    /// The whole environment of the manifest and the claims, in order.
    pub env: Vec<(String, String)>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// What appears where, in the order of mounting (parents first).
    pub mounts: Vec<Mount>,
    /// The file that appears at the container's `terminationMessagePath`.
    pub message_file: PathBuf,
    /// What providers gave.
    pub claim: ClaimValue,
    /// Locks that the container's init or keeper holds until its last process has ended.
    pub held: Vec<Arc<OwnedFd>>,
}

impl StartRequest {
    /// The plan of the container.
    pub fn container(&self) -> Option<&ContainerPlan> {
        self.plan.container(&self.instance.container)
    }
}

/// Something that appears in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Below it, resolved so that no link leads out of the source; `None`: the whole.
    pub sub_path: Option<PathBuf>,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
    /// `mountPropagation`: `None`, `HostToContainer` or `Bidirectional`.
    pub propagation: Option<String>,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A path of this machine.
    Path(PathBuf),
    /// A memory volume of the pod, by name.
    Memory(String),
}

/// A container that runs.
pub struct Running {
    /// Its name from now on.
    pub id: ContainerId,
    /// When its process began.
    pub started_at: Timestamp,
    /// Whom it runs as, where the launcher knows.
    pub user: Option<LinuxUser>,
    /// What it writes.
    pub output: Output,
    /// Its open stdin, where the manifest asks for one.
    pub stdin: Option<Outgoing>,
    /// Its terminal, where the manifest asks for one.
    pub terminal: Option<Arc<dyn Terminal>>,
    /// Resolves when its main process has ended and no process of it is left.
    pub ended: BoxFuture<'static, Exit>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("id", &self.id).field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// How a container's output arrives.
#[derive(Debug)]
pub enum Output {
    /// By pipes that the runner drains (`stderr` is `None` with a terminal).
    Pipes {
        /// Read end of stdout, or the terminal's main side.
        stdout: OwnedFd,
        /// Read end of stderr.
        stderr: Option<OwnedFd>,
    },
    /// By messages.
    Messages(mpsc::Receiver<(LogStream, Bytes)>),
    /// The engine keeps the log in this file, in the CRI format, and rotates it.
    Kept(PathBuf),
}

/// Which stream a piece of output belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// stdout.
    Stdout,
    /// stderr.
    Stderr,
}

/// A terminal whose size can change.
pub trait Terminal: Send + Sync {
    /// Sets the size in characters.
    fn resize(&self, columns: u16, rows: u16);
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command; no shell.
    pub command: Vec<String>,
    /// Whether it gets a stdin.
    pub stdin: bool,
    /// Whether it gets a terminal of this size (columns, rows); stderr is then part of stdout.
    pub terminal: Option<(u16, u16)>,
}

/// A command that runs in a container. Dropping it kills the command.
pub struct ExecSession {
    /// Its stdin.
    pub stdin: Option<Outgoing>,
    /// Its stdout.
    pub stdout: Incoming,
    /// Its stderr.
    pub stderr: Option<Incoming>,
    /// Its terminal.
    pub terminal: Option<Arc<dyn Terminal>>,
    /// Its exit code, 128 + signal where a signal ended it. [`LaunchError::NotExecuted`] where it never ran,
    /// [`LaunchError::Gone`] where it was killed because its container ended.
    pub ended: BoxFuture<'static, Result<i32, LaunchError>>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").finish_non_exhaustive()
    }
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since its start.
    pub cpu: Duration,
    /// Memory now, in bytes, as a working set where the kernel tells one.
    pub memory: u64,
}

/// Why an image is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ImageError {
    /// The kubelet's reason.
    pub problem: ImageProblem,
    /// What happened, to which image, and what to do.
    pub message: String,
}

/// Why a container did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// At which step.
    pub problem: StartProblem,
    /// What happened, to what, and what to do.
    pub message: String,
    /// For [`StartProblem::Exec`]: the command was not found (127), or found and not executable (126).
    pub exit_code: Option<i32>,
    /// The container's name where it had come to be before its command failed.
    pub id: Option<ContainerId>,
}

impl StartError {
    /// A start that failed at this step, with nothing more to tell.
    pub fn new(problem: StartProblem, message: String) -> Self {
        Self { problem, message, exit_code: None, id: None }
    }
}

/// Why a launcher could not do something else.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The container is not there, or has ended.
    #[error("container {0} does not run")]
    Gone(ContainerId),
    /// The command could not be executed.
    #[error("failed to exec in container: {what}")]
    NotExecuted {
        /// Which command, and why.
        what: String,
        /// What a shell answers: 127 where it was not found, 126 where it is not executable.
        code: i32,
    },
    /// This launcher cannot do this.
    #[error("the {launcher} launcher cannot {what}")]
    Unsupported {
        /// Which launcher.
        launcher: &'static str,
        /// What was asked.
        what: String,
    },
    /// The machine refused.
    #[error("{what}")]
    Machine {
        /// What could not be done, to what.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The container that a launcher names, for messages.
pub fn label(instance: &Instance) -> String {
    let ContainerName(name) = &instance.container;
    format!("{name}#{}", instance.attempt)
}
