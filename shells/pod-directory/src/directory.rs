//! The state directory: where every pod of this machine that we ran is written down.
//!
//! ```text
//! STATE/pods/NAMESPACE/NAME/
//!   lock                      held by the runner of this pod name, so that a second run of it is refused
//!   RUN/                      one pod directory for each run: 1, 2, 3, …
//!     spec.json               what was asked for; names Secrets, never holds their values
//!     status.json             v1.PodStatus, the state machine's record, the runner, where its control socket is
//!     .reserve                room for the next status.json, where the disk fills up; gone when the pod has ended
//!     lock                    held exactly as long as the runner lives
//!     control.sock            the runner's control socket, where the file system has sockets
//!     logs/CONTAINER/ATTEMPT.log       the CRI log; rotated files are ATTEMPT.log.1, .2, … (a greater number is newer)
//!     messages/CONTAINER/ATTEMPT       the termination message
//!     volumes/NAME/           volumes on disk
//!     secrets/NAME/           volumes with secrets where no memory volume could be had; gone when the pod has ended
//!     launcher/               the launcher's own files
//! STATE/jobs/NAMESPACE/NAME/RUN/       the same for a Job: spec.json, status.json and lock, stop.json
//!                             where its end is wanted; its pods stand among the pods
//! ```
//!
//! Files are 0600, directories 0700, written to a temporary name and renamed. A directory of a run appears under its
//! number only when its spec is in it and its lock is held, so a reader never sees half of one.
//!
//! What it does not do: it decides nothing about a pod; it starts and stops nothing.

mod dead_job;
mod format;
mod identity;
mod keep;
mod lock;
mod names;
mod read;
mod run;
mod state;
mod write;

pub use format::{
    End, Ending, FORMAT, JobSpec, JobStatusFile, PodSpec, RecordedGiven, RecordedNote, StatusFile, StopFile,
};
pub use identity::RunnerIdentity;
pub use keep::{KeepRules, Pruned};
pub use lock::{Lock, RunnerLife};
pub(crate) use names::part as checked_part;
pub use names::{Kind, NameError, ObjectName};
pub use run::{OwnedRun, RunDirectory};
pub use state::StateDirectory;
pub(crate) use write::{directory as make_directory, remove as remove_path};

use std::io;
use std::path::PathBuf;

/// Why something in the state directory could not be done.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The name of a pod, container or volume could lead out of its directory.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A pod or Job of this name runs already.
    #[error("{kind} {name} runs already (run {run}); stop it first, or give this one another name")]
    Runs {
        /// Pod or Job.
        kind: Kind,
        /// Its name.
        name: ObjectName,
        /// The number of the run that lasts.
        run: u32,
    },
    /// There is no such pod or Job.
    #[error("there is no {kind} {name} in {}", .state.display())]
    Missing {
        /// Pod or Job.
        kind: Kind,
        /// Its name.
        name: ObjectName,
        /// The state directory.
        state: PathBuf,
    },
    /// A file is of a newer release.
    #[error("{} has format {found}, and this release knows formats up to {FORMAT}; use the newer release", .path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A file is not what we write.
    #[error("{} cannot be understood", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file system refused.
    #[error("{} {}", .what, .path.display())]
    Io {
        /// What could not be done: `cannot write`.
        what: &'static str,
        /// To which path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl DirectoryError {
    /// It and its cause in words, without the kernel's number for it.
    pub fn in_words(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        outrigger_config::plain(&format!("{self}{cause}"))
    }

    /// Whether the disk has no room for it, or the user may have no more of it.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if write::is_full(source))
    }

    /// For `map_err`: `what` is like `cannot read`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
