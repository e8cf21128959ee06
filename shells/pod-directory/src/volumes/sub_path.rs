//! Making what a `subPath` names, without being led out of the volume by a link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use outrigger_config::plain;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

/// Checks a `subPath` (`pkg/kubelet/kubelet_pods.go`, `makeMounts`) and sees that it exists below `volume`; a missing one
/// becomes a directory with the volume's mode, as the kubelet's `SafeMakeDir` does.
pub(super) fn prepare(volume: &Path, sub_path: &str) -> Result<PathBuf, String> {
    let relative = Path::new(sub_path);
    if relative.is_absolute() {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    let mut parts = Vec::new();
    for part in relative.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => (),
            _ => return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'")),
        }
    }
    make(volume, &parts)
        .map_err(|error| plain(&format!("failed to create subPath directory {sub_path:?}: {error}")))?;
    Ok(parts.iter().collect())
}

fn make(volume: &Path, parts: &[&OsStr]) -> io::Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let root = openat(CWD, volume, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&root)?.st_mode & 0o7777);
    let mut path = PathBuf::new();
    let mut parent: Option<OwnedFd> = None;
    for (index, part) in parts.iter().enumerate() {
        path.push(part);
        let next = match inside(&root, &path) {
            Err(Errno::NOENT) => {
                let into = parent.as_ref().unwrap_or(&root);
                match mkdirat(into, *part, mode) {
                    Ok(()) | Err(Errno::EXIST) => (),
                    Err(errno) => return Err(errno.into()),
                }
                let made = inside(&root, &path)?;
                let made = openat(&made, ".", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                fchmod(&made, mode)?;
                made
            }
            opened => opened?,
        };
        parent = (index + 1 < parts.len()).then_some(next);
    }
    Ok(())
}

/// Opens what stands at `path` below `root`; links are followed as if `root` were the root of everything.
fn inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6: no link at all may be on the way.
        Err(Errno::NOSYS) => no_links(root, path),
        opened => opened,
    }
}

fn no_links(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", flags, Mode::empty())?;
    for part in path.components() {
        at = openat(&at, part.as_os_str(), flags, Mode::empty())?;
        if fstat(&at)?.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_missing_sub_path_becomes_a_directory_with_the_volumes_mode() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(prepare(place.path(), "a/./b/"), Ok("a/b".into()));
        assert_eq!(fs::metadata(place.path().join("a/b")).unwrap().permissions().mode() & 0o7777, 0o777);
        fs::write(place.path().join("a/file"), "").unwrap();
        assert_eq!(prepare(place.path(), "a/file"), Ok("a/file".into()));
    }

    #[test]
    fn no_sub_path_leads_out() {
        let place = tempfile::tempdir().unwrap();
        let volume = place.path().join("volume");
        fs::create_dir(&volume).unwrap();
        symlink("..", volume.join("up")).unwrap();
        symlink("/", volume.join("root")).unwrap();
        for bad in ["/etc", "..", "a/../..", "up/made", "root/tmp/made-by-a-test"] {
            assert!(prepare(&volume, bad).is_err(), "{bad}");
        }
        assert!(!place.path().join("made").exists());
    }

    #[test]
    fn a_kernel_without_openat2_follows_no_link() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("real")).unwrap();
        symlink("real", place.path().join("link")).unwrap();
        let root = openat(CWD, place.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(no_links(&root, Path::new("real")).is_ok());
        assert_eq!(no_links(&root, Path::new("link")).unwrap_err(), Errno::LOOP);
    }
}
