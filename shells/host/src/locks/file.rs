//! Opens lock files, and clears away what is none. Everybody may make something in the directory of locks: a pipe, which whoever
//! opens it would wait for, or a link, a socket, a directory.
//!
//! What it does not do: it locks nothing.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{file_id, lasting};

/// Opens what is there, if that is a file; never waits.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::InvalidInput.into()) }
}

/// Opens a lock's file, which is made where it is missing: one that lasts is nobody else's from the first moment.
pub(super) fn open(path: &Path, lasts: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    loop {
        match open_to_read(path) {
            Err(missing) if missing.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mode = if lasts { 0o600 } else { 0o644 };
        match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).custom_flags(flags).open(path) {
            Ok(made) if lasts => return Ok(made),
            // Others must be able to read it, whatever our umask is.
            Ok(made) => made.set_permissions(Permissions::from_mode(0o644))?,
            Err(other) if other.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts a file in the place of what is no lock at all. Answers whether it is gone, by us or by somebody else.
pub(super) fn clear(path: &Path) -> bool {
    let Some(there) = file_id(path) else { return true };
    match open_to_read(path) {
        Err(error) if is_none(&error) => lasting::exchange(path, there, |_| false),
        opened => opened.is_ok(),
    }
}

/// Whether something cannot be opened because somebody made it so that it is no lock: a file that is closed to all, a link, a
/// socket, anything else that is no file.
fn is_none(error: &io::Error) -> bool {
    let of_kind = [ErrorKind::PermissionDenied, ErrorKind::InvalidInput].contains(&error.kind());
    of_kind || [Errno::LOOP, Errno::NXIO].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
