//! What the machine knows of one container.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::BackOff;
use super::probe::Probes;
use super::{Exit, LinuxUser, StartProblem};

/// One container of the pod, at the same place in the list as in the plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Container {
    /// What it does now.
    pub state: State,
    /// The run of `state`, or the next one where it is idle.
    pub attempt: u32,
    /// What `restartCount` says: the attempt of the last run that came to be.
    pub restarts: u32,
    /// Whether any run came to be.
    pub created: bool,
    /// The last run that has ended.
    pub ended: Option<Ended>,
    /// The run before that one, for `lastState`.
    pub before: Option<Ended>,
    /// Why the last start did not succeed (the kubelet's `reason_cache.go`); forgotten when one does.
    pub why: Option<Why>,
    /// When the last run ended, as far as the launcher knows of it: what restarts are delayed from.
    pub exited_at: Option<Timestamp>,
    /// The next start is due whatever policy and back-off say: a probe killed the run.
    pub forced: bool,
    /// Delay of restarts.
    pub crash: BackOff,
    /// Delay of pulls.
    pub pull: BackOff,
    /// What the last pull said, for `ImagePullBackOff`.
    pub pull_error: String,
    /// `imageID` of the last run.
    pub image_id: String,
    /// The launcher's id of the last run.
    pub id: String,
    /// Whom the last run runs as, where that is known.
    pub user: Option<LinuxUser>,
    /// An init container only: it has done what the next one waits for (and may run again, if it is a sidecar).
    pub passed: bool,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Nothing; where it is wanted, it starts at this time or later.
    Idle(Timestamp),
    /// Its image is looked for.
    Pulling,
    /// The launcher starts it.
    Starting,
    /// Its process runs.
    Running(Run),
}

/// A run that lasts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// The launcher's id.
    pub id: String,
    /// When its process began.
    pub started_at: Timestamp,
    /// Its `postStart` hook has not ended: until it has, the status does not show the run
    /// (`kuberuntime_container.go`, `startContainer` returns after the hook).
    pub hook: bool,
    /// It has started in the sense of the startup probe.
    pub started: bool,
    /// Its probes.
    pub probes: Probes,
    /// Set from when it is to end.
    pub stop: Option<Stop>,
}

/// How a run is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// Why.
    pub cause: StopCause,
    /// When its grace is over.
    pub deadline: Timestamp,
    /// At which step it is.
    pub stage: Stage,
}

/// Why a run is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// The pod ends.
    Pod,
    /// The startup or liveness probe failed; whether it starts again at once.
    Probe {
        /// Whether policy wants it again.
        restart: bool,
    },
    /// `postStart` failed.
    Hook,
    /// A rule restarts all containers.
    RestartAll,
}

/// The steps of `kuberuntime_container.go`, `killContainer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `preStop` runs.
    PreStop,
    /// It waits for containers that end before it.
    Turn,
    /// It was told; what is left is killed at this time.
    Told(Timestamp),
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The exit code.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`, `RestartingAllContainers`.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it began; `None` where nobody knows.
    pub started_at: Option<Timestamp>,
    /// When it ended; `None` where nobody knows.
    pub finished_at: Option<Timestamp>,
    /// The launcher's id.
    pub id: String,
}

/// Why a container waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    /// The kubelet's reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl Container {
    /// A container that never ran.
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: State::Idle(now),
            attempt: 0,
            restarts: 0,
            created: false,
            ended: None,
            before: None,
            why: None,
            exited_at: None,
            forced: false,
            crash: BackOff::default(),
            pull: BackOff::default(),
            pull_error: String::new(),
            image_id: String::new(),
            id: String::new(),
            user: None,
            passed: false,
        }
    }

    /// The run that lasts.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// The run that lasts, to change it.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Whether a process of it may exist.
    pub fn may_run(&self) -> bool {
        matches!(self.state, State::Starting | State::Running(_))
    }

    /// Says why the last start failed.
    pub fn say(&mut self, reason: &str, message: String) {
        self.why = Some(Why { reason: reason.to_owned(), message });
    }

    /// From now on the status is that of this run.
    pub fn show(&mut self) {
        self.created = true;
        self.restarts = self.attempt;
        self.id = self.run().map_or_else(String::new, |run| run.id.clone());
    }

    /// Notes the end of a run, and that the next start may be tried from `next` on.
    pub fn end(&mut self, ended: Ended, next: Timestamp) {
        self.before = self.ended.replace(ended);
        self.attempt += 1;
        self.state = State::Idle(next);
    }
}

impl Ended {
    /// The end of a process (reasons of containerd's `internal/cri/server/events.go` and `container_status.go`).
    pub fn of(exit: Exit, message: String, began: Timestamp, now: Timestamp, id: String) -> Self {
        let reason = match exit {
            Exit { out_of_memory: true, .. } => "OOMKilled",
            Exit { code: 0, .. } => "Completed",
            _ => "Error",
        };
        let started_at = exit.started_at.unwrap_or(began);
        Self {
            code: exit.code,
            reason: reason.to_owned(),
            message,
            started_at: Some(started_at),
            finished_at: Some(exit.finished_at.unwrap_or(now).max(started_at)),
            id,
        }
    }

    /// A process that never began: containerd gives exit code 128 and a start at the epoch.
    pub fn not_started(message: String, now: Timestamp, id: String) -> Self {
        Self {
            code: 128,
            reason: "StartError".to_owned(),
            message,
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: Some(now),
            id,
        }
    }

    /// A run that the launcher does not know any more.
    pub fn unknown(reason: &str, message: &str) -> Self {
        Self {
            code: 137,
            reason: reason.to_owned(),
            message: message.to_owned(),
            started_at: None,
            finished_at: None,
            id: String::new(),
        }
    }
}

impl StartProblem {
    /// The kubelet's reason (`kuberuntime_container.go`, `container/sync_result.go`).
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Config => "CreateContainerConfigError",
            Self::Create => "CreateContainerError",
            Self::Exec => "RunContainerError",
        }
    }
}

/// No container is killed sooner than this after it was told (`kuberuntime_manager.go`, `minimumGracePeriodInSeconds`).
pub(super) const LEAST_GRACE: Duration = Duration::from_secs(2);
