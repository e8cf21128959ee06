//! What a running pod shows to the world and accepts from it: the control socket and the live view hold a [`Handle`].
//!
//! State goes out by `watch`, notes and output by `broadcast`, requests come in by `mpsc` with a reply. Nobody who holds a
//! handle can slow the pod: what a slow reader misses of a broadcast it is told (`Lagged`), and finds in the files.
//! Logs are read from the files in the pod's directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use outrigger_launcher::{ExecRequest, ExecSession, LaunchError, Outgoing, Terminal, Usage};
use outrigger_pod_core::life::{Instance, Note};
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use outrigger_pod_directory::log::{OutputPiece, WrittenLogs};
use outrigger_pod_directory::{End, RunDirectory};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// A running pod, for whoever watches it or wants something of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// The pod.
    pub plan: Arc<PodPlan>,
    /// Its directory.
    pub directory: RunDirectory,
    /// Where it stands; the sender goes away when the runner has ended.
    pub status: watch::Receiver<Arc<Snapshot>>,
    /// What a kubelet would record as events, from now on: `notes.subscribe()`. Those that were are in `status.json`.
    pub notes: broadcast::Sender<TimedNote>,
    /// What the containers write, from now on: `output.subscribe()`.
    pub output: broadcast::Sender<OutputPiece>,
    /// The logs that the runner writes now.
    pub written: WrittenLogs,
    /// What is wanted of it. A closed channel means that the runner has ended.
    pub requests: mpsc::Sender<Request>,
}

/// Where a pod stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The `v1.PodStatus`.
    pub status: PodStatus,
    /// The runs of containers whose process lives, and when each began.
    pub running: BTreeMap<Instance, Timestamp>,
    /// What the pod waits for before its first container: a place in a queue of licenses, for example.
    pub waiting: Option<String>,
    /// Containers whose command could not be executed at the last start: 126 or 127.
    pub not_executed: BTreeMap<ContainerName, i32>,
    /// Set once nothing of the pod is left.
    pub end: Option<End>,
}

/// A note and when it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedNote {
    /// When.
    pub at: Timestamp,
    /// What.
    pub note: Note,
}

/// Something that is wanted of a running pod.
#[derive(Debug)]
pub enum Request {
    /// End the pod in order. Answered once the machine knows it; the end is seen in [`Handle::status`].
    Stop {
        /// Over the pod's own grace; zero kills at once.
        grace: Option<Duration>,
        /// Told when it is on its way.
        reply: oneshot::Sender<()>,
    },
    /// Run a command in a running container.
    Exec {
        /// Where.
        container: ContainerName,
        /// What.
        request: ExecRequest,
        /// The session, or why there is none.
        reply: oneshot::Sender<Result<ExecSession, RequestError>>,
    },
    /// The stdin and terminal of a running container; what it writes comes by [`Handle::output`].
    Attach {
        /// To which container.
        container: ContainerName,
        /// Whether its stdin is wanted; one session at a time has it.
        stdin: bool,
        /// The session, or why there is none.
        reply: oneshot::Sender<Result<AttachSession, RequestError>>,
    },
    /// What the running containers use; one that has just ended is left out.
    Usage {
        /// By container.
        reply: oneshot::Sender<BTreeMap<ContainerName, Usage>>,
    },
}

/// An attached container.
pub struct AttachSession {
    /// Which run.
    pub instance: Instance,
    /// Its stdin, where one was wanted and is open. Dropping it gives it back for the next session, or closes it where
    /// the manifest says `stdinOnce`.
    pub stdin: Option<Outgoing>,
    /// Its terminal, where it has one.
    pub terminal: Option<Arc<dyn Terminal>>,
    /// What it writes from this moment on; filter by `instance`.
    pub output: broadcast::Receiver<OutputPiece>,
}

impl std::fmt::Debug for AttachSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachSession").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// Why a request was not granted.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The pod has no such container.
    #[error("the pod has no container {0}")]
    NoSuchContainer(ContainerName),
    /// The container does not run now.
    #[error("container {0} does not run now")]
    NotRunning(ContainerName),
    /// The container was made without a stdin, or another session has it.
    #[error(
        "the stdin of container {0} is not to be had: it has none (stdin: true), it was closed, or another session has it"
    )]
    NoStdin(ContainerName),
    /// The launcher could not do it.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}
