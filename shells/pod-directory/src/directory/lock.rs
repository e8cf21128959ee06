//! The lock by which a runner is alive: a `flock` that the kernel frees when the process ends, however it ends.
//!
//! The lock file holds the runner's [`RunnerIdentity`], which decides where `flock` does not work (some network file
//! systems).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{DirectoryError, RunnerIdentity, read, write};

/// How often a runner is looked at where its lock cannot tell.
const POLL: Duration = Duration::from_millis(250);

/// How long is waited for the end of somebody's look at a lock ([`Lock::life`]), and how often: a look takes microseconds.
const LOOK: Duration = Duration::from_micros(200);
const LOOKS: u32 = 250;

/// A lock that is held until this value is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Whether the runner of a directory lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerLife {
    /// It lives.
    Alive,
    /// It has ended.
    Dead,
    /// It ran on this other machine, and the file system cannot tell whether it still does.
    Elsewhere(String),
}

impl RunnerLife {
    /// Whether it may still be at work. In doubt it is.
    pub fn may_live(&self) -> bool {
        *self != Self::Dead
    }
}

impl Lock {
    /// Takes the lock at `path`, or answers `None` where another process holds it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, DirectoryError> {
        loop {
            match Self::take_file(path) {
                Ok(Some(lock)) if lock.is_at(path) => return Ok(Some(lock)),
                // The file was removed, with the directory of a name that had no runs left: between opening and locking,
                // or the directory before the file could be made in it.
                Ok(Some(_)) => (),
                Err(DirectoryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => (),
                refused => return refused,
            }
        }
    }

    fn take_file(path: &Path) -> Result<Option<Self>, DirectoryError> {
        path.parent().map_or(Ok(()), write::directory)?;
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = open.map_err(DirectoryError::io("cannot open", path))?;
        if !locked(&file, path)? {
            return Ok(None);
        }
        let identity = serde_json::to_vec(&RunnerIdentity::this()).unwrap_or_default();
        let write = file.set_len(0).and_then(|()| file.write_all(&identity));
        write.map_err(DirectoryError::io("cannot write", path))?;
        Ok(Some(Self { file }))
    }

    /// Takes the lock at `path` where there is one, and writes nothing: to remove what it is in. `None` also where there is
    /// none.
    pub(crate) fn take_there(path: &Path) -> Result<Option<Self>, DirectoryError> {
        let file = match read::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DirectoryError::io("cannot open", path)(source)),
        };
        let lock = if locked(&file, path)? { Some(Self { file }) } else { None };
        Ok(lock.filter(|lock| lock.is_at(path)))
    }

    fn is_at(&self, path: &Path) -> bool {
        let ours = self.file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let there = fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    /// Waits until the process that took the lock at `path` has ended. Blocks its thread: the kernel tells. Where the file
    /// system cannot tell, it is looked at again and again.
    pub(crate) fn wait(path: &Path) -> Result<(), DirectoryError> {
        let file = match read::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(DirectoryError::io("cannot open", path)(source)),
        };
        loop {
            match flock(&file, FlockOperation::LockShared) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => (),
                Err(errno) if unsupported(errno) => break,
                Err(errno) => return Err(DirectoryError::io("cannot lock", path)(errno.into())),
            }
        }
        tracing::warn!("Waiting for a runner by looking at {} every {POLL:?}: it cannot be locked", path.display());
        while by_identity(written(path)).may_live() {
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether the process that took the lock at `path` lives. A missing file means that nobody did.
    pub(crate) fn life(path: &Path) -> Result<RunnerLife, DirectoryError> {
        let file = match read::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RunnerLife::Dead),
            Err(source) => return Err(DirectoryError::io("cannot open", path)(source)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(RunnerLife::Dead),
            Err(Errno::WOULDBLOCK) => Ok(RunnerLife::Alive),
            Err(errno) if unsupported(errno) => Ok(by_identity(written(path))),
            Err(errno) => Err(DirectoryError::io("cannot lock", path)(errno.into())),
        }
    }
}

/// Locks the file, unless another process has it. Who only looks whether it lives shares it for a moment, which is waited for.
fn locked(file: &File, path: &Path) -> Result<bool, DirectoryError> {
    let mut looks = 0..LOOKS;
    locked_beside(file, path, || {
        looks.next().is_some_and(|_| {
            std::thread::sleep(LOOK);
            true
        })
    })
}

/// As [`locked`]; `waits` lets somebody's look end, or tells that it has taken too long to be one.
fn locked_beside(file: &File, path: &Path, mut waits: impl FnMut() -> bool) -> Result<bool, DirectoryError> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if is_only_looked_at(file) && waits() => (),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) if unsupported(errno) => {
                return Ok(written(path).is_none_or(|runner| runner.lives() == Some(false)));
            }
            Err(errno) => return Err(DirectoryError::io("cannot lock", path)(errno.into())),
        }
    }
}

/// Whether nobody has it but somebody who looks whether anybody has it.
fn is_only_looked_at(file: &File) -> bool {
    let is_shared = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    is_shared && flock(file, FlockOperation::Unlock).is_ok()
}

/// What decides where the file system has no `flock`.
fn by_identity(runner: Option<RunnerIdentity>) -> RunnerLife {
    match runner {
        None => RunnerLife::Dead,
        Some(runner) => match runner.lives() {
            Some(true) => RunnerLife::Alive,
            Some(false) => RunnerLife::Dead,
            None => RunnerLife::Elsewhere(runner.host),
        },
    }
}

fn written(path: &Path) -> Option<RunnerIdentity> {
    serde_json::from_slice(&read::whole(path).ok()?).ok()
}

fn unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)
}

/// The lock file of a directory.
pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_free_when_its_holder_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let path = file(place.path());
        assert_eq!(Lock::life(&path).unwrap(), RunnerLife::Dead);
        let held = Lock::take(&path).unwrap().expect("nobody else holds it");
        assert_eq!(Lock::life(&path).unwrap(), RunnerLife::Alive);
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        assert_eq!(Lock::life(&path).unwrap(), RunnerLife::Dead);
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_is_waited_for_until_its_holder_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let path = file(place.path());
        Lock::wait(&path).unwrap();
        let held = Lock::take(&path).unwrap().expect("nobody else holds it");
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                Lock::wait(&path).unwrap();
                tell.send(Lock::life(&path).unwrap()).unwrap();
            });
            assert!(told.try_recv().is_err());
            drop(held);
            assert_eq!(told.recv().unwrap(), RunnerLife::Dead);
        });
    }

    #[test]
    fn somebodys_look_is_waited_for_and_a_holder_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = file(place.path());
        drop(Lock::take(&path).unwrap());
        let open = || read::open(&path).unwrap();
        let looking = open();
        flock(&looking, FlockOperation::LockShared).unwrap();
        let mut waits = 0;
        let is_ours = locked_beside(&open(), &path, || {
            waits += 1;
            // It ends at the second time.
            waits < 2 || flock(&looking, FlockOperation::Unlock).is_ok()
        });
        assert_eq!((is_ours.unwrap(), waits), (true, 2));
        flock(&looking, FlockOperation::LockShared).unwrap();
        assert!(!locked_beside(&open(), &path, || false).unwrap(), "it takes too long to be a look");
        flock(&looking, FlockOperation::LockExclusive).unwrap();
        assert!(!locked_beside(&open(), &path, || panic!("a holder")).unwrap());
    }

    #[test]
    fn without_flock_the_process_decides() {
        assert_eq!(by_identity(None), RunnerLife::Dead);
        let this = RunnerIdentity::this();
        assert_eq!(by_identity(Some(this.clone())), RunnerLife::Alive);
        assert_eq!(by_identity(Some(RunnerIdentity { started: 1, ..this.clone() })), RunnerLife::Dead);
        let far = RunnerIdentity { boot_id: "other".into(), host: "far".into(), ..this };
        assert_eq!(by_identity(Some(far)), RunnerLife::Elsewhere("far".into()));
    }
}
