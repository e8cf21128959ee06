//! `fsGroup`: whom the files of a volume belong to (`pkg/volume/volume_linux.go`, `changeFilePermission`).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// Gives everything below `root` to the group, readable for it and, unless `read_only`, writable; directories pass the
/// group on. Where the rights are missing nothing changes, which the launcher has told as a shortfall.
pub(super) fn give_to_group(root: &Path, group: Option<i64>, read_only: bool) {
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok())
        // A volume in memory is known by a link of `/proc`; the end of the path names the directory itself.
        && let Err(error) = give(&root.join("."), group, read_only)
    {
        tracing::debug!(path = %root.display(), "Cannot give a volume to group {group}: {error}");
    }
}

fn give(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() & 0o7777 | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}
