//! Writing so that a reader, and a machine that loses power, sees the old file or the new one, never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

use super::DirectoryError;

/// The least that is kept for a disk that fills up, in bytes: the status of some dozen containers.
const RESERVE: u64 = 64 << 10;

/// How often a directory is made that others remove at the same time.
const MOST_TRIES: u32 = 100;

/// Writes `bytes` as the file at `path`, 0600; with `sync` they are on the disk before this returns.
///
/// The temporary name is fixed, since only the holder of the directory's lock writes there.
pub(crate) fn whole(path: &Path, bytes: &[u8], sync: bool) -> Result<(), DirectoryError> {
    let mut temporary = path.to_path_buf();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    temporary.set_file_name(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)?;
        if sync {
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        Ok(())
    };
    write().map_err(|source| {
        // Half a file would take room that is needed.
        let _ = fs::remove_file(&temporary);
        DirectoryError::io("cannot write", path)(source)
    })
}

/// As [`whole`], also where the disk has become full: from the first write on room for the next one is kept in a file
/// beside it, until the last one.
pub(crate) fn surely(path: &Path, bytes: &[u8], sync: bool, last: bool) -> Result<(), DirectoryError> {
    let reserve = path.with_file_name(".reserve");
    match whole(path, bytes, sync) {
        Err(DirectoryError::Io { source, .. }) if is_full(&source) && fs::remove_file(&reserve).is_ok() => {
            whole(path, bytes, sync)?;
        }
        written => written?,
    }
    let size = RESERVE.max(2 * bytes.len() as u64);
    if last || fs::metadata(&reserve).map_or(0, |meta| meta.len()) < size {
        // Where there is no room for it, the disk was full before.
        let _ = fs::remove_file(&reserve);
    }
    if !last && !reserve.exists() && keep_room(&reserve, size).is_err() {
        let _ = fs::remove_file(&reserve);
    }
    Ok(())
}

fn keep_room(path: &Path, size: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, size)?)
}

/// Whether the disk has no room, or the user may have no more of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes a directory and its missing parents, 0700. No fault where it is there already.
pub(crate) fn directory(path: &Path) -> Result<(), DirectoryError> {
    let mut made = Ok(());
    for _ in 0..MOST_TRIES {
        made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        // Where it was there, and another process has removed it (a name without runs is forgotten), it is made again.
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists && !path.exists();
        if !made.as_ref().is_err_and(is_gone) {
            break;
        }
    }
    made.map_err(DirectoryError::io("cannot make directory", path))
}

/// Removes a file or a whole directory. No fault where there is none. A directory with a mount in it is refused: what is
/// mounted there is not ours.
pub(crate) fn remove(path: &Path) -> Result<(), DirectoryError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => no_mount_below(path).and_then(|()| fs::remove_dir_all(path)),
        Ok(_) => fs::remove_file(path),
        Err(source) => Err(source),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DirectoryError::io("cannot remove", path)(source))
        }
        _ => Ok(()),
    }
}

fn no_mount_below(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field is the mount point; a space in it is written as \040.
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "));
    match points.find(|point| Path::new(point).starts_with(&path)) {
        Some(point) => Err(io::Error::other(format!("{point} is mounted in it; unmount it first"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_the_owners_only() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("status.json");
        whole(&path, b"a long first text", true).unwrap();
        whole(&path, b"second", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
