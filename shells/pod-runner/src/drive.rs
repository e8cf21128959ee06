//! Running one pod: the state machine decides, this carries out.
//!
//! ```text
//! what happened ──► Machine::step ──► record on disk ──► acts, each a named task ──► what happened
//!       ▲                                  └──► snapshot by watch, notes by broadcast
//!       └── requests by mpsc, the stop token, the clock
//! ```
//!
//! One [`Runner`] owns one pod: its machine, its directory, its claims. Everything that takes time is a task that answers
//! with what happened; the record of an intent is in `status.json` before its act begins, so a runner that dies is
//! continued or cleared up from there ([`Runner::new`] does the first where the directory has a record).
//!
//! What it does not do: it reads no manifest, and it shows nothing to people.

mod acts;
mod claim;
mod clock;
mod container;
mod hook;
mod image;
mod pod;
mod prepare;
mod publish;
mod requests;
mod resolve;
mod runner;
mod stdin;

pub use clock::Clock;
pub use runner::{Outcome, Runner, RunnerConfig, RunnerOptions};

use outrigger_launcher::LaunchError;
use outrigger_pod_core::life::RestoreError;
use outrigger_pod_directory::DirectoryError;
use outrigger_runtime::ChildrenOverran;

use crate::control::BindError;

/// Why a pod could not be run to its end. What goes wrong inside the pod is no such error: it is in the status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The pod's directory cannot be written or read: going on would leave no truth behind.
    #[error("the pod's directory cannot be used")]
    Directory(#[from] DirectoryError),
    /// The directory's record does not fit.
    #[error("the pod cannot be continued from its record")]
    Restore(#[from] RestoreError),
    /// What exists of the pod cannot be found out.
    #[error("the pod's containers cannot be listed")]
    List(#[source] LaunchError),
    /// Nobody could ask anything of the pod.
    #[error("the pod's control socket cannot be made")]
    Control(#[from] BindError),
    /// Something of the pod did not end.
    #[error("not everything of the pod ended")]
    Overran(#[from] ChildrenOverran),
}

/// An error with its causes as a note or an answer says it: on one line, without the kernel's numbers.
pub(crate) fn in_words(error: impl std::error::Error + Send + Sync + 'static) -> String {
    outrigger_config::plain(&format!("{:#}", anyhow::Error::new(error)))
}
