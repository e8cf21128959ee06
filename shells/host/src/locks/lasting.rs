//! Lock files that outlast whoever made them, and how one file takes another's place.
//!
//! ```text
//!   0644  everybody's: the lock is what counts, and ends with the last process that has it
//!   0600  one user's: while it is there, nobody else can open it, let alone lock it, whether its maker lives or not
//! ```
//!
//! What it does not do: it does not tell whether what was left by a process that has ended is still wanted.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use tracing::error;

use super::users::FileId;
use super::{LockHolder, file_id};

/// The mode of one that outlasts its maker.
const LASTING: u32 = 0o600;

/// Whether it is one that outlasts its maker.
pub(super) fn is_lasting(there: &Metadata) -> bool {
    there.is_file() && there.mode() & 0o777 == LASTING
}

/// Whether it is one of ours.
pub(super) fn is_ours(there: &Metadata) -> bool {
    is_lasting(there) && there.uid() == rustix::process::geteuid().as_raw()
}

/// Whoever has one that only root may open.
pub(super) fn closed(path: &Path) -> Option<LockHolder> {
    let there = fs::symlink_metadata(path).ok().filter(|there| is_lasting(there) && there.uid() == 0)?;
    Some(LockHolder { uid: Some(there.uid()), path: path.to_owned(), is_lasting: true, ..LockHolder::default() })
}

/// Puts a new file in the place of one that nobody has: in a shared directory only whoever owns one of both may.
pub(super) fn renew(path: &Path, lasts: bool) -> io::Result<()> {
    let (_locked, beside) = new_beside(path, lasts)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// Puts another file in the place of one whose lock does not count; answers whether that is done, so that its lock can be had.
/// There is a file of the name at every moment, and nobody gets the lock of the new one until it is known that nobody had come
/// to the old one.
pub(super) fn exchange(path: &Path, old: FileId, counts: impl Fn(FileId) -> bool) -> bool {
    let Ok((locked, beside)) = new_beside(path, false) else { return false };
    let swap = || renameat_with(CWD, &beside, CWD, path, RenameFlags::EXCHANGE);
    let is_it = match swap() {
        Ok(()) => file_id(&beside) == Some(old) && !counts(old),
        // Whoever had it has given it back.
        Err(Errno::NOENT) => return fs::remove_file(&beside).is_ok(),
        Err(_) => {
            let _ = fs::remove_file(&beside);
            return false;
        }
    };
    if let Err(errno) = if is_it { Ok(()) } else { swap() } {
        error!("The lock {} is at {} and cannot be put back: {errno}", path.display(), beside.display());
        // Then at least nobody else gets it.
        std::mem::forget(locked);
        return false;
    }
    // Where it was no file it may be a directory; one with something in it stays, under a name that is no lock's.
    let _ = fs::remove_file(&beside).or_else(|_| fs::remove_dir(&beside));
    is_it
}

/// A new file beside a lock's, with our lock on it.
fn new_beside(path: &Path, lasts: bool) -> io::Result<(File, PathBuf)> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_file_name(format!(".{name}.{}.{number}", process::id()));
        // As long as it is not locked nobody else can open it.
        let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(LASTING).open(&beside) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        flock(&file, FlockOperation::LockExclusive)?;
        // Whatever our umask is.
        file.set_permissions(Permissions::from_mode(if lasts { LASTING } else { 0o644 }))?;
        return Ok((file, beside));
    }
}
