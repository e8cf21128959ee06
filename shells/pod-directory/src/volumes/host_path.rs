//! `hostPath`: what its type demands, checked or made (`pkg/volume/hostpath/host_path.go`, `checkTypeInternal`).

use std::fs::{self, DirBuilder, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use outrigger_config::plain;

/// Sees that `path` is what `kind` says; the text of a failure is the kubelet's.
pub(super) fn check(path: &Path, kind: &str) -> Result<(), String> {
    let there = match fs::metadata(path) {
        Ok(meta) => Some(meta.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(plain(&format!("stat {}: {error}", path.display()))),
    };
    let is = |wanted: fn(&FileType) -> bool, what: &str| {
        let fits = there.as_ref().is_some_and(wanted);
        fits.then_some(()).ok_or_else(|| format!("hostPath type check failed: {} is not a {what}", path.display()))
    };
    match kind {
        // Without a type a container runtime makes what is missing (containerd:
        // `internal/cri/opts/spec_linux_opts.go`, `WithMounts`).
        "" | "DirectoryOrCreate" if there.is_none() => make_directory(path),
        "FileOrCreate" if there.is_none() => make_file(path),
        "" => Ok(()),
        "Directory" | "DirectoryOrCreate" => is(FileType::is_dir, "directory"),
        "File" | "FileOrCreate" => is(FileType::is_file, "file"),
        "Socket" => is(FileType::is_socket, "socket file"),
        "CharDevice" => is(FileType::is_char_device, "character device"),
        "BlockDevice" => is(FileType::is_block_device, "block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn make_directory(path: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| plain(&format!("mkdir {}: {error}", path.display())))
}

fn make_file(path: &Path) -> Result<(), String> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
    made.map(drop).map_err(|error| plain(&format!("open {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn every_type_is_checked_with_the_kubelets_words() {
        let place = tempfile::tempdir().unwrap();
        let (directory, file) = (place.path().join("d"), place.path().join("f"));
        check(&directory, "DirectoryOrCreate").unwrap();
        check(&file, "FileOrCreate").unwrap();
        check(&place.path().join("made/deep"), "").unwrap();
        let socket = place.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (&directory, "Directory"),
            (&directory, "DirectoryOrCreate"),
            (&file, "File"),
            (&file, "FileOrCreate"),
            (&file, ""),
            (&socket, "Socket"),
            (&"/dev/null".into(), "CharDevice"),
        ] {
            assert_eq!(check(path, kind), Ok(()), "{kind}");
        }
        for (path, kind, what) in [
            (&file, "Directory", "directory"),
            (&file, "DirectoryOrCreate", "directory"),
            (&directory, "File", "file"),
            (&directory, "FileOrCreate", "file"),
            (&file, "Socket", "socket file"),
            (&file, "CharDevice", "character device"),
            (&file, "BlockDevice", "block device"),
        ] {
            let expected = format!("hostPath type check failed: {} is not a {what}", path.display());
            assert_eq!(check(path, kind), Err(expected));
        }
        assert_eq!(check(&file, "Odd"), Err("Odd is an invalid volume type".to_owned()));
    }
}
