//! The state directory as a whole: making a run, finding and listing runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::format::{self, JobSpec, PodSpec};
use super::lock::{self, Lock};
use super::run::{OwnedRun, RunDirectory};
use super::{DirectoryError, Kind, ObjectName, write};

/// How long it may take until it is seen what the holder of a name's lock does with it.
const MOMENT: Duration = Duration::from_secs(2);

/// A state directory: this user's own, or for reading another user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// The state directory at `root`, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory of a new run of a pod and owns it.
    ///
    /// Refused with [`DirectoryError::Runs`] while another run of this name lasts.
    pub fn create_pod(&self, name: &ObjectName, spec: &PodSpec) -> Result<OwnedRun, DirectoryError> {
        self.create(Kind::Pod, name, spec)
    }

    /// Makes the directory of a new run of a Job and owns it. Refused like [`StateDirectory::create_pod`].
    pub fn create_job(&self, name: &ObjectName, spec: &JobSpec) -> Result<OwnedRun, DirectoryError> {
        self.create(Kind::Job, name, spec)
    }

    fn create<T: Serialize>(&self, kind: Kind, name: &ObjectName, spec: &T) -> Result<OwnedRun, DirectoryError> {
        let of_name = self.of_name(kind, name);
        write::directory(&of_name)?;
        let refused = |run| DirectoryError::Runs { kind, name: name.clone(), run };
        let name_lock = self.lock_name(kind, name)?.map_err(refused)?;
        for run in self.runs(kind, name)? {
            if run.life()?.may_live() {
                return Err(refused(run.number()));
            }
        }
        let number = self.runs(kind, name)?.last().map_or(0, RunDirectory::number) + 1;
        let directory = RunDirectory::new(kind, name.clone(), number, &of_name);
        let unfinished = of_name.join(".new");
        write::remove(&unfinished)?;
        write::directory(&unfinished)?;
        format::save(&unfinished.join("spec.json"), spec, false)?;
        let run_lock = Lock::take(&lock::file(&unfinished))?.ok_or_else(|| refused(number))?;
        fs::rename(&unfinished, directory.path()).map_err(DirectoryError::io("cannot make", directory.path()))?;
        Ok(OwnedRun::new(directory, run_lock, name_lock))
    }

    /// The lock of a name, or the number of the run that has it. Whoever holds the lock without a living run is about to
    /// make one, or looks whether the name can be forgotten: both take a moment.
    fn lock_name(&self, kind: Kind, name: &ObjectName) -> Result<Result<Lock, u32>, DirectoryError> {
        let until = Instant::now() + MOMENT;
        loop {
            if let Some(lock) = Lock::take(&lock::file(&self.of_name(kind, name)))? {
                return Ok(Ok(lock));
            }
            let runs = self.runs(kind, name)?;
            for run in runs.iter().rev() {
                if run.life()?.may_live() {
                    return Ok(Err(run.number()));
                }
            }
            if Instant::now() >= until {
                return Ok(Err(runs.last().map_or(1, |run| run.number() + 1)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The latest run of this name.
    pub fn latest(&self, kind: Kind, name: &ObjectName) -> Result<RunDirectory, DirectoryError> {
        self.runs(kind, name)?.pop().ok_or_else(|| self.missing(kind, name))
    }

    /// The run of this name and number.
    pub fn run(&self, kind: Kind, name: &ObjectName, number: u32) -> Result<RunDirectory, DirectoryError> {
        let mut runs = self.runs(kind, name)?;
        runs.retain(|run| run.number() == number);
        runs.pop().ok_or_else(|| self.missing(kind, name))
    }

    /// The runs of this name, oldest first.
    pub fn runs(&self, kind: Kind, name: &ObjectName) -> Result<Vec<RunDirectory>, DirectoryError> {
        let of_name = self.of_name(kind, name);
        let mut numbers: Vec<u32> = entries(&of_name)?.iter().filter_map(|entry| run_number(entry)).collect();
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(|number| RunDirectory::new(kind, name.clone(), number, &of_name)).collect())
    }

    /// Every name that has runs, in order.
    pub fn names(&self, kind: Kind) -> Result<Vec<ObjectName>, DirectoryError> {
        let folder = self.root.join(kind.folder());
        let mut names = Vec::new();
        for namespace in entries(&folder)? {
            for name in entries(&folder.join(&namespace))? {
                names.extend(ObjectName::new(&*namespace, name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Every run of every name, in order of name and number.
    pub fn list(&self, kind: Kind) -> Result<Vec<RunDirectory>, DirectoryError> {
        let mut all = Vec::new();
        for name in self.names(kind)? {
            all.extend(self.runs(kind, &name)?);
        }
        Ok(all)
    }

    /// The directory of all runs of a name.
    pub(crate) fn of_name(&self, kind: Kind, name: &ObjectName) -> PathBuf {
        self.root.join(kind.folder()).join(name.namespace()).join(name.name())
    }

    fn missing(&self, kind: Kind, name: &ObjectName) -> DirectoryError {
        DirectoryError::Missing { kind, name: name.clone(), state: self.root.clone() }
    }
}

/// The directories in a directory, by name; none where it is missing. Names that are no text are not ours.
fn entries(path: &Path) -> Result<Vec<String>, DirectoryError> {
    let listed = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(DirectoryError::io("cannot list", path))?,
    };
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(DirectoryError::io("cannot list", path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// `7` is a run; `07`, `lock` and `.new` are not.
fn run_number(entry: &str) -> Option<u32> {
    let number = entry.parse().ok()?;
    (number > 0 && entry == u32::to_string(&number)).then_some(number)
}
