//! The vocabulary between the state machine and its shell.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::plan::ContainerName;

/// One run of one container: the name and how many runs there were before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Which container.
    pub container: ContainerName,
    /// 0 for the first run; equal to `restartCount` while this run lasts.
    pub attempt: u32,
}

/// What happened, told by the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed: [`super::Machine::wake`] is due.
    Tick,
    /// [`Action::Prepare`] succeeded: claims are held, volumes are there, namespaces stand.
    Prepared(PodAddresses),
    /// [`Action::Prepare`] failed; it is tried again with back-off unless `fatal`.
    PrepareFailed {
        /// At which step.
        problem: PrepareProblem,
        /// What went wrong, for the pod's status and events.
        message: String,
        /// `Some(reason)` where no later attempt can succeed: the pod fails with this reason.
        fatal: Option<String>,
    },
    /// [`Action::Pull`] has not found the image, or must look for a newer one, and begins to fetch it.
    PullBegan {
        /// For which run.
        instance: Instance,
    },
    /// [`Action::Pull`] found or fetched the image.
    ImageReady {
        /// For which run.
        instance: Instance,
        /// What `status.containerStatuses[].imageID` says; empty where a launcher uses no image.
        image_id: String,
        /// `Some` where it was pulled, `None` where it was there already.
        pulled: Option<Pulled>,
    },
    /// [`Action::Pull`] failed.
    ImageFailed {
        /// For which run.
        instance: Instance,
        /// The kubelet's reason.
        problem: ImageProblem,
        /// Its message.
        message: String,
    },
    /// The container's process runs (its `exec` has succeeded).
    Started {
        /// Which run.
        instance: Instance,
        /// The launcher's opaque id, for `containerID`: `host://…`.
        id: String,
        /// Whom its process runs as, where the launcher tells.
        user: Option<LinuxUser>,
    },
    /// [`Action::Start`] failed before the process ran.
    StartFailed {
        /// Which run.
        instance: Instance,
        /// At which step.
        problem: StartProblem,
        /// The cause.
        message: String,
        /// The launcher's opaque id where the container had come to be, as with [`StartProblem::Exec`].
        id: Option<String>,
    },
    /// The container's main process has ended and nothing of this run is left.
    Exited {
        /// Which run.
        instance: Instance,
        /// How it ended.
        exit: Exit,
        /// The termination message, read by the shell as the policy says; at most 4096 bytes.
        message: String,
    },
    /// A hook has ended, or was given up at its limit.
    HookDone {
        /// Of which run.
        instance: Instance,
        /// Which hook.
        hook: HookKind,
        /// How it went.
        outcome: HookOutcome,
    },
    /// A probe has answered.
    Probed {
        /// Which run.
        instance: Instance,
        /// Which probe.
        kind: ProbeKind,
        /// What it found.
        outcome: ProbeOutcome,
    },
    /// Somebody wants the pod gone (`outrigger stop`, Ctrl-C, a deletion in the API).
    Delete(Deletion),
    /// The pod must end now with `phase: Failed` and this reason: a volume over its limit, a lost claim.
    Evict {
        /// For example `Evicted`.
        reason: String,
        /// Why.
        message: String,
    },
    /// [`Action::Remove`] is done: no process, mount or claim of the pod is left.
    Removed,
}

/// What the shell must do, told by the machine. Each is safe to repeat after a restart.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take the claims, lay out the volumes, let the launcher prepare the pod. [`Action::Remove`] may follow before its
    /// answer: then it is to be given up.
    Prepare,
    /// See that the image is there, pulling it as the container's policy says. Given up when [`Action::Remove`] follows.
    Pull(Instance),
    /// Resolve environment and arguments, then start the container.
    Start(Instance),
    /// Run a hook; give up at `limit`.
    Hook {
        /// Of which run.
        instance: Instance,
        /// Which hook.
        hook: HookKind,
        /// `None`: the hook itself decides how long it takes (`postStart`).
        limit: Option<Duration>,
    },
    /// Ask a probe once; its time limit is in the plan.
    Probe {
        /// Of which run.
        instance: Instance,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Send `signal`, and kill what is left after `grace`. Repeated with a shorter grace where that becomes known.
    Stop {
        /// Which run.
        instance: Instance,
        /// A signal name with `SIG`.
        signal: String,
        /// Zero: kill at once.
        grace: Duration,
    },
    /// Every container has ended for good: give back claims, take volumes and namespaces down.
    Remove,
    /// Tell it to whoever watches: the kubelet's event of the same reason.
    Note(Note),
}

/// What a kubelet would record as a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The container it is about; `None` for the pod.
    pub container: Option<ContainerName>,
    /// `type: Warning` instead of `Normal`.
    pub warning: bool,
    /// The kubelet's reason: `Pulled`, `Created`, `Started`, `Killing`, `Unhealthy`, `BackOff`, … (`pkg/kubelet/events/event.go`);
    /// of a pod that is refused or must go, the reason that its status has.
    pub reason: Cow<'static, str>,
    /// Its message.
    pub message: String,
}

/// The addresses in the pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddresses {
    /// `podIP` first, then the other family.
    pub pod: Vec<IpAddr>,
    /// `hostIP` first, then the other family.
    pub host: Vec<IpAddr>,
}

/// Whom a container's first process runs as: `status.containerStatuses[].user.linux`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxUser {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its supplementary groups; a kubelet with containerd shows the group first among them.
    pub groups: Vec<u32>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it for want of memory: reason `OOMKilled`.
    pub out_of_memory: bool,
    /// When the process began, if it is known better than from [`Event::Started`].
    pub started_at: Option<Timestamp>,
    /// When it ended, if it is known better than the time of the event.
    pub finished_at: Option<Timestamp>,
}

/// At which step preparing a pod failed; each has the kubelet's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareProblem {
    /// `FailedPrepareDynamicResources`: a claim could not be had.
    Claims,
    /// `FailedCreatePodSandBox`: what its containers share could not be made.
    Sandbox,
    /// `FailedMount`: a volume could not be laid out.
    Volumes,
}

/// A pull, for the event `Pulled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// How long it took.
    pub took: Duration,
    /// The size of the image in bytes.
    pub bytes: u64,
}

/// Why an image is not there (`pkg/kubelet/images/types.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageProblem {
    /// `ErrImagePull`, then `ImagePullBackOff` while waiting.
    Pull,
    /// `ErrImageNeverPull`.
    NeverPull,
    /// `InvalidImageName`.
    InvalidName,
    /// `ImageInspectError`.
    Inspect,
}

/// At which step a start failed; each is what a kubelet with containerd reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartProblem {
    /// `CreateContainerConfigError`: a `ConfigMap`, Secret or key is missing; waiting, tried again.
    Config,
    /// `CreateContainerError`: the runtime could not make it; waiting, tried again.
    Create,
    /// The command does not exist or cannot be executed: terminated with reason `StartError`, exit code 128.
    Exec,
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// `lifecycle.postStart`.
    PostStart,
    /// `lifecycle.preStop`.
    PreStop,
}

/// How a hook went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It ended well.
    Done,
    /// It failed; the text is for the event.
    Failed(String),
    /// It was given up at its limit.
    TimedOut,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `readinessProbe`.
    Readiness,
    /// `livenessProbe`.
    Liveness,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Good.
    Success,
    /// Bad; the text is for the event.
    Failure(String),
    /// It could not be asked (the exec itself failed): neither good nor bad; the text is for the event.
    Unknown(String),
}

/// How the pod is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Over the pod's own grace; zero kills at once.
    pub grace: Option<Duration>,
}

/// A container that the launcher still knows after a restart of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which run, from the launcher's labels.
    pub instance: Instance,
    /// The launcher's opaque id.
    pub id: String,
    /// When its process began.
    pub started_at: Timestamp,
    /// `Some` where it has ended meanwhile, with its termination message.
    pub exit: Option<(Exit, String)>,
}
