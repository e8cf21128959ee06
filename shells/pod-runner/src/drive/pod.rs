//! What the tasks of one pod share, and what they tell its runner.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_launcher::claims::{HeldClaim, Provider};
use outrigger_launcher::{ContainerId, Launcher, Outgoing, Running, Terminal};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::env::Sources;
use outrigger_pod_core::life::{Event, Instance, LinuxUser, PodAddresses};
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use outrigger_pod_directory::RunDirectory;
use outrigger_pod_directory::log::{LogThread, LogTrouble, OutputPiece, WrittenLogs};
use outrigger_pod_directory::volumes::Volumes;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::runner::RunnerOptions;

/// One pod, for the tasks that act on it.
pub(super) struct Pod {
    pub plan: Arc<PodPlan>,
    pub sources: Arc<Sources>,
    pub launcher: Arc<dyn Launcher>,
    pub providers: Vec<Arc<dyn Provider>>,
    pub directory: RunDirectory,
    pub logs: Arc<LogThread>,
    pub options: RunnerOptions,
    pub live: broadcast::Sender<OutputPiece>,
    pub written: WrittenLogs,
    pub trouble: mpsc::Sender<LogTrouble>,
    pub happened: mpsc::Sender<Happened>,
    /// Given up once nothing more is to be begun: cancels what prepares and pulls.
    pub ending: CancellationToken,
}

impl Pod {
    /// Tells the runner. It listens until every task has ended.
    pub async fn tell(&self, happened: impl Into<Happened>) {
        let _ = self.happened.send(happened.into()).await;
    }

    /// A container's id as a status shows it: `host://…`.
    pub fn shown_id(&self, id: &str) -> String {
        format!("{}://{id}", self.launcher.name())
    }

    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }
}

/// What a prepared pod stands on.
pub(super) struct Stand {
    pub claims: Vec<Box<dyn HeldClaim>>,
    pub values: BTreeMap<ContainerName, ClaimValue>,
    pub volumes: Volumes,
    pub addresses: PodAddresses,
}

/// What a task tells the runner.
pub(super) enum Happened {
    /// Something for the machine.
    Event(Event),
    /// Claims, volumes and namespaces stand.
    Stands(Box<Stand>),
    /// What the pod waits for before its first container; `None`: nothing any more.
    Waits(Option<String>),
    /// A container runs.
    Runs(Live),
    /// A command could not be executed: 126 or 127.
    NotExecuted(Instance, i32),
    /// Something that the machine does not know of and that people should: a warning note.
    Warn { container: Option<ContainerName>, reason: &'static str, message: String },
}

impl From<Event> for Happened {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// A container that runs.
pub(super) struct Live {
    pub instance: Instance,
    pub id: ContainerId,
    pub started_at: jiff::Timestamp,
    pub user: Option<LinuxUser>,
    pub stdin: Option<Outgoing>,
    pub terminal: Option<Arc<dyn Terminal>>,
}

impl Live {
    /// Takes from `running` what the runner keeps.
    pub fn of(instance: Instance, running: &mut Running) -> Self {
        Self {
            instance,
            id: running.id.clone(),
            started_at: running.started_at,
            user: running.user.take(),
            stdin: running.stdin.take(),
            terminal: running.terminal.clone(),
        }
    }
}
