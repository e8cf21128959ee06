//! Files laid out as a kubelet's atomic writer does (`pkg/volume/util/atomic_writer.go`, `AtomicWriter.Write`).
//!
//! ```text
//! VOLUME/..2026_01_02_03_04_05.123456789/dir/key     the files
//! VOLUME/..data -> ..2026_01_02_03_04_05.123456789   replaced by one rename
//! VOLUME/dir -> ..data/dir                           what people see
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use outrigger_pod_core::files::{File, Files};

/// Lays `files` out in `volume`, over what an earlier call left there. `own` is called for what is new before anyone sees
/// it.
pub(super) fn write(
    volume: &Path,
    files: &Files,
    now: Timestamp,
    own: impl FnOnce(&Path),
) -> Result<(), (PathBuf, io::Error)> {
    let data = volume.join("..data");
    let before = fs::read_link(&data).ok();
    let name = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let stamped = volume.join(&name);
    if before.as_deref() != Some(Path::new(&name)) {
        let fail = |error| (stamped.clone(), error);
        DirBuilder::new().mode(0o755).create(&stamped).map_err(fail)?;
        fs::set_permissions(&stamped, Permissions::from_mode(0o755)).map_err(fail)?;
        for (path, file) in files {
            write_file(&stamped, path, file).map_err(|error| (stamped.join(path), error))?;
        }
        own(&stamped);
        let new = volume.join("..data_tmp");
        remove(&new).and_then(|()| symlink(&name, &new)).and_then(|()| fs::rename(&new, &data)).map_err(fail)?;
    }
    show(volume, files)?;
    if let Some(before) = before
        && before != Path::new(&name)
    {
        let old = volume.join(before);
        fs::remove_dir_all(&old).map_err(|error| (old, error))?;
    }
    Ok(())
}

fn write_file(root: &Path, path: &str, file: &File) -> io::Result<()> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the volume"));
    }
    let path = root.join(path);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    to.write_all(&file.bytes)?;
    to.set_permissions(Permissions::from_mode(file.mode))
}

/// Makes the links that people see, and removes those to files that are gone.
fn show(volume: &Path, files: &Files) -> Result<(), (PathBuf, io::Error)> {
    let mut shown = BTreeSet::new();
    for path in files.keys() {
        if let Some(Component::Normal(first)) = Path::new(path).components().next()
            && shown.insert(first.to_owned())
        {
            let link = volume.join(first);
            match symlink(Path::new("..data").join(first), &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err((link, error)),
                _ => (),
            }
        }
    }
    let fail = |error| (volume.to_owned(), error);
    for entry in fs::read_dir(volume).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if !name.as_encoded_bytes().starts_with(b"..") && !shown.contains(&name) {
            remove(&volume.join(&name)).map_err(fail)?;
        }
    }
    Ok(())
}

fn remove(link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str, mode: u32) -> (String, File) {
        (path.into(), File { bytes: content.into(), mode })
    }

    fn lay<const N: usize>(volume: &Path, files: [(String, File); N], second: i64) {
        write(volume, &files.into(), Timestamp::from_second(second).unwrap(), |_| ()).unwrap();
    }

    fn listing(volume: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(volume).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_behind_links_with_their_modes() {
        let place = tempfile::tempdir().unwrap();
        lay(place.path(), [file("key", "value", 0o644), file("dir/deep", "more", 0o400)], 0);
        assert_eq!(listing(place.path()), ["..1970_01_01_00_00_00.000000000", "..data", "dir", "key"]);
        assert_eq!(fs::read_link(place.path().join("key")).unwrap(), Path::new("..data/key"));
        assert_eq!(fs::read_link(place.path().join("dir")).unwrap(), Path::new("..data/dir"));
        assert_eq!(fs::read_to_string(place.path().join("dir/deep")).unwrap(), "more");
        assert_eq!(fs::metadata(place.path().join("dir/deep")).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_second_layout_replaces_the_first_at_once_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        lay(place.path(), [file("old", "1", 0o644), file("both", "1", 0o644)], 0);
        lay(place.path(), [file("both", "2", 0o644)], 1);
        assert_eq!(listing(place.path()), ["..1970_01_01_00_00_01.000000000", "..data", "both"]);
        assert_eq!(fs::read_to_string(place.path().join("both")).unwrap(), "2");
        lay(place.path(), [file("both", "2", 0o644)], 1);
        assert_eq!(listing(place.path()).len(), 3);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let volume = place.path().join("volume");
        fs::create_dir(&volume).unwrap();
        for path in ["../out", "/etc/out", "a/../../out"] {
            assert!(write(&volume, &[file(path, "x", 0o644)].into(), Timestamp::now(), |_| ()).is_err(), "{path}");
        }
        assert!(!place.path().join("out").exists());
    }
}
