//! One run of one pod or Job: the paths in its directory, and reading what stands there.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use outrigger_pod_core::life::Instance;

use super::format::{self, JobSpec, JobStatusFile, PodSpec, StatusFile, StopFile};
use super::lock::{self, Lock, RunnerLife};
use super::{DirectoryError, Kind, ObjectName, StateDirectory, names, write};

/// The directory of one run. Holding this value locks nothing; reading is safe at any time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunDirectory {
    kind: Kind,
    name: ObjectName,
    number: u32,
    path: PathBuf,
}

impl RunDirectory {
    pub(crate) fn new(kind: Kind, name: ObjectName, number: u32, of_name: &Path) -> Self {
        Self { kind, name, number, path: of_name.join(number.to_string()) }
    }

    /// Pod or Job.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its namespace and name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Which run of this name: 1 is the first.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state directory that it is in: `STATE` of `STATE/pods/NAMESPACE/NAME/RUN`.
    pub fn state(&self) -> StateDirectory {
        StateDirectory::at(self.path.ancestors().nth(4).unwrap_or(Path::new("/")))
    }

    /// Whether its runner lives.
    pub fn life(&self) -> Result<RunnerLife, DirectoryError> {
        Lock::life(&lock::file(&self.path))
    }

    /// Whether its runner wrote down the end.
    pub fn has_ended(&self) -> Result<bool, DirectoryError> {
        Ok(match self.kind {
            Kind::Pod => self.status()?.is_some_and(|file| file.end.is_some()),
            Kind::Job => self.job_status()?.is_some_and(|file| file.end.is_some()),
        })
    }

    /// Whether its runner died before it wrote down the end.
    pub fn is_abandoned(&self) -> Result<bool, DirectoryError> {
        Ok(!self.has_ended()? && self.life()? == RunnerLife::Dead)
    }

    /// Waits until its runner has ended, and has let go of the directory. Blocks its thread, without looking again and
    /// again where the file system has locks.
    pub fn wait_for_runner(&self) -> Result<(), DirectoryError> {
        Lock::wait(&lock::file(&self.path))
    }

    /// `spec.json` of a pod.
    pub fn pod_spec(&self) -> Result<PodSpec, DirectoryError> {
        format::load(&self.spec_file())
    }

    /// `spec.json` of a Job.
    pub fn job_spec(&self) -> Result<JobSpec, DirectoryError> {
        format::load(&self.spec_file())
    }

    /// `status.json` of a pod; `None` before its runner wrote the first one.
    pub fn status(&self) -> Result<Option<StatusFile>, DirectoryError> {
        present(format::load(&self.status_file()))
    }

    /// `status.json` of a Job; `None` before its runner wrote the first one.
    pub fn job_status(&self) -> Result<Option<JobStatusFile>, DirectoryError> {
        present(format::load(&self.status_file()))
    }

    /// Where `status.json` stands; it is replaced by a rename at each change, which inotify tells.
    pub fn status_file(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// Where `spec.json` stands.
    pub fn spec_file(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    /// Where the control socket is bound, if the file system has sockets; `status.json` tells where it really is.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The directory of a container's logs.
    pub fn logs(&self, container: &str) -> Result<PathBuf, DirectoryError> {
        Ok(self.path.join("logs").join(names::part("container", container)?))
    }

    /// The log of one run of a container. Rotated files stand beside it with `.1`, `.2`, …: a greater number is newer.
    pub fn log(&self, instance: &Instance) -> Result<PathBuf, DirectoryError> {
        Ok(self.logs(&instance.container.0)?.join(format!("{}.log", instance.attempt)))
    }

    /// The file that appears at a container's `terminationMessagePath`.
    pub fn message(&self, instance: &Instance) -> Result<PathBuf, DirectoryError> {
        let container = names::part("container", &instance.container.0)?;
        Ok(self.path.join("messages").join(container).join(instance.attempt.to_string()))
    }

    /// Makes the log's directory; answers [`RunDirectory::log`], where a runner is to write.
    pub fn make_place_of_log(&self, instance: &Instance) -> Result<PathBuf, DirectoryError> {
        let path = self.log(instance)?;
        path.parent().map_or(Ok(()), write::directory)?;
        Ok(path)
    }

    /// Makes an empty file for the termination message, writable by whatever user the container has
    /// (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `makeMounts`); answers [`RunDirectory::message`].
    pub fn make_message(&self, instance: &Instance) -> Result<PathBuf, DirectoryError> {
        let path = self.message(instance)?;
        path.parent().map_or(Ok(()), write::directory)?;
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o666).open(&path);
        made.and_then(|file| file.set_permissions(Permissions::from_mode(0o666)))
            .map_err(DirectoryError::io("cannot make", &path))?;
        Ok(path)
    }

    /// Where volumes on disk stand, each in a directory of its name.
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// Where volumes with secrets stand that could not be had in memory. Removed when the pod has ended.
    pub fn secrets(&self) -> PathBuf {
        self.path.join("secrets")
    }

    /// The launcher's own files.
    pub fn launcher(&self) -> PathBuf {
        self.path.join("launcher")
    }

    /// Asks the process that drives a Job to end it: the wish stands in `stop.json`, of which inotify tells.
    pub fn ask_to_stop(&self, wish: &StopFile) -> Result<(), DirectoryError> {
        format::save(&self.path.join("stop.json"), wish, false)
    }

    /// Whether somebody wants the Job to end. A wish that this process may not read, since it is root's, has no grace of
    /// its own.
    pub fn asked_to_stop(&self) -> Option<StopFile> {
        present(format::load(&self.path.join("stop.json"))).unwrap_or_else(|_| Some(StopFile::default()))
    }

    /// Takes over a directory whose runner has died; `None` where the runner lives or another process was faster.
    pub fn take_over(&self) -> Result<Option<OwnedRun>, DirectoryError> {
        let lock = Lock::take(&lock::file(&self.path))?;
        Ok(lock.map(|lock| OwnedRun { directory: self.clone(), _name: None, _run: lock }))
    }

    /// Sets or lifts the exemption from automatic removal.
    pub fn set_keep(&self, keep: bool) -> Result<(), DirectoryError> {
        match self.kind {
            Kind::Pod => format::save(&self.spec_file(), &PodSpec { keep, ..self.pod_spec()? }, false),
            Kind::Job => format::save(&self.spec_file(), &JobSpec { keep, ..self.job_spec()? }, false),
        }
    }

    /// Removes the directory with everything in it. The caller has seen that its runner has ended; one that another process
    /// has meanwhile taken over, or removes too, is left to that.
    pub fn remove(&self) -> Result<(), DirectoryError> {
        let lock = lock::file(&self.path);
        // Who has it keeps the others from removing a run that is made in this one's place.
        let held = Lock::take_there(&lock)?;
        let Ok(meta) = fs::metadata(&self.path) else { return Ok(()) };
        if held.is_none() && lock.exists() {
            return Ok(());
        }
        // Under another name first, so that no reader sees half of a run; one that no other directory has.
        let aside = self.path.with_file_name(format!(".old-{}", meta.ino()));
        match fs::rename(&self.path, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(DirectoryError::io("cannot remove", &self.path))?,
        }
        write::remove(&aside)
    }
}

/// A run that this process owns: its lock, and for a new run that of its name, are held until this is dropped.
#[derive(Debug)]
pub struct OwnedRun {
    directory: RunDirectory,
    // Dropped before the run's own: who has waited for that one may run the name again.
    _name: Option<Lock>,
    _run: Lock,
}

impl OwnedRun {
    pub(crate) fn new(directory: RunDirectory, run: Lock, name: Lock) -> Self {
        Self { directory, _name: Some(name), _run: run }
    }

    /// The directory.
    pub fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Writes `status.json` of a pod. With `sync` it is on the disk before this returns. Room for the next one is kept
    /// until the pod's end is written down, so that a disk that others fill does not hide it.
    pub fn write_status(&self, status: &StatusFile, sync: bool) -> Result<(), DirectoryError> {
        format::save_surely(&self.directory.status_file(), status, sync, status.end.is_some())
    }

    /// Writes `status.json` of a Job, as [`OwnedRun::write_status`] does.
    pub fn write_job_status(&self, status: &JobStatusFile, sync: bool) -> Result<(), DirectoryError> {
        format::save_surely(&self.directory.status_file(), status, sync, status.end.is_some())
    }

    /// Removes the volumes with secrets that stand on disk. No fault where there are none.
    pub fn remove_secrets(&self) -> Result<(), DirectoryError> {
        write::remove(&self.directory.secrets())
    }

    /// Removes the launcher's own files, once nothing of the pod is left. No fault where there are none.
    pub fn remove_launcher(&self) -> Result<(), DirectoryError> {
        write::remove(&self.directory.launcher())
    }
}

fn present<T>(read: Result<T, DirectoryError>) -> Result<Option<T>, DirectoryError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(DirectoryError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
