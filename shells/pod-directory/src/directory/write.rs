//! Writing so that a reader, and a machine that loses power, sees the old file or the new one, never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::DirectoryError;

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
    write().map_err(DirectoryError::io("cannot write", path))
}

/// Makes a directory and its missing parents, 0700. No fault where it is there already.
pub(crate) fn directory(path: &Path) -> Result<(), DirectoryError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(DirectoryError::io("cannot make directory", path))
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
