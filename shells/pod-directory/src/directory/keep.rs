//! Which finished runs stay, and removing the others.
//!
//! A finished run stays for some days or until later runs of its name push it out, whichever comes first; one that is
//! marked to be kept stays until it is removed by name. A run whose end was never written down stays too, until a command
//! has found out the truth about it.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use jiff::Timestamp;

use super::lock::{self, Lock};
use super::run::RunDirectory;
use super::state::StateDirectory;
use super::{DirectoryError, Kind, ObjectName, write};

/// How long finished runs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepRules {
    /// For how long after its end.
    pub age: Duration,
    /// How many runs of one name, the latest included.
    pub runs: usize,
}

impl Default for KeepRules {
    /// 7 days, three runs.
    fn default() -> Self {
        Self { age: Duration::from_hours(7 * 24), runs: 3 }
    }
}

/// What [`StateDirectory::prune`] removed.
pub type Pruned = Vec<RunDirectory>;

impl StateDirectory {
    /// Removes every finished run that the rules do not keep.
    pub fn prune(&self, rules: KeepRules, now: Timestamp) -> Result<Pruned, DirectoryError> {
        let mut pruned = Vec::new();
        for kind in [Kind::Pod, Kind::Job] {
            for name in self.names(kind)? {
                pruned.extend(self.prune_name(kind, &name, rules, now)?);
            }
        }
        Ok(pruned)
    }

    /// Removes the finished runs of one name that the rules do not keep, and the directory of the name when it is empty.
    pub fn prune_name(
        &self,
        kind: Kind,
        name: &ObjectName,
        rules: KeepRules,
        now: Timestamp,
    ) -> Result<Pruned, DirectoryError> {
        let mut pruned = Vec::new();
        let runs = self.runs(kind, name)?;
        for (newer, run) in runs.into_iter().rev().enumerate() {
            let Some(ended) = removable(&run)? else { continue };
            let age = Duration::try_from(now.duration_since(ended)).unwrap_or_default();
            if newer >= rules.runs || age >= rules.age {
                run.remove()?;
                pruned.push(run);
            }
        }
        self.forget_empty(kind, name)?;
        Ok(pruned)
    }

    /// Removes all runs of a name whose runners have ended, and with the last of them the directory of the name.
    pub fn remove(&self, kind: Kind, name: &ObjectName) -> Result<(), DirectoryError> {
        for run in self.runs(kind, name)? {
            if !run.life()?.may_live() {
                run.remove()?;
            }
        }
        self.forget_empty(kind, name)
    }

    /// Removes the directory of a name without runs, unless a run of it is just being made.
    ///
    /// Whoever finds the directory or its lock gone makes both anew ([`Lock::take`]); whoever has done so before the
    /// directory is removed has put something into it, which keeps it: so it is removed only when it is empty.
    fn forget_empty(&self, kind: Kind, name: &ObjectName) -> Result<(), DirectoryError> {
        let of_name = self.of_name(kind, name);
        if !of_name.is_dir() {
            return Ok(());
        }
        let lock = lock::file(&of_name);
        let Some(_held) = Lock::take(&lock)? else { return Ok(()) };
        if !self.runs(kind, name)?.is_empty() {
            return Ok(());
        }
        // What a command that was killed has left.
        for entry in fs::read_dir(&of_name).map_err(DirectoryError::io("cannot list", &of_name))?.flatten() {
            if entry.path() != lock {
                write::remove(&entry.path())?;
            }
        }
        write::remove(&lock)?;
        match fs::remove_dir(&of_name) {
            Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
                Err(DirectoryError::io("cannot remove", &of_name)(error))
            }
            _ => Ok(()),
        }
    }
}

/// When the run ended, if it may be removed without being asked for by name. A run that cannot be read is left alone.
fn removable(run: &RunDirectory) -> Result<Option<Timestamp>, DirectoryError> {
    if run.life()?.may_live() {
        return Ok(None);
    }
    let (keep, end) = match run.kind() {
        Kind::Pod => (run.pod_spec().map(|spec| spec.keep), run.status().map(|file| file.and_then(|file| file.end))),
        Kind::Job => {
            (run.job_spec().map(|spec| spec.keep), run.job_status().map(|file| file.and_then(|file| file.end)))
        }
    };
    match (keep, end) {
        (Ok(false), Ok(Some(end))) => Ok(Some(end.at.0)),
        _ => Ok(None),
    }
}
