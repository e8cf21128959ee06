//! Opening the files of a run for reading, also where the directory is another user's: that user may put a pipe, a device or
//! a link in a file's place at any moment.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// The most bytes of a file that are read: more than any record has.
const LARGEST: u64 = 64 << 20;

/// Opens a plain file, never anything else: no link is followed in its place or its directory's, and a pipe is not waited for.
/// What was opened is looked at, not what the name says.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let (directory, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags | OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let file = openat(&directory, name, flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
    }
    Ok(file.into())
}

/// What stands in a plain file.
pub(crate) fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {LARGEST} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_of_a_size_that_a_record_has_are_read() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("run")).unwrap();
        fs::write(path("run/spec"), "text").unwrap();
        assert_eq!(whole(&path("run/spec")).unwrap(), b"text");
        assert_eq!(whole(&path("run/missing")).unwrap_err().kind(), io::ErrorKind::NotFound);

        symlink("spec", path("run/link")).unwrap();
        symlink("run", path("linked")).unwrap();
        rustix::fs::mkfifoat(CWD, path("run/pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        File::create(path("run/large")).unwrap().set_len(LARGEST + 1).unwrap();
        for (name, why) in [
            ("run/link", "symbolic link"),
            ("linked/spec", "Not a dir"),
            ("run/pipe", "no plain"),
            ("run/large", "larger"),
        ] {
            let told = whole(&path(name)).unwrap_err().to_string();
            assert!(told.contains(why), "{name}: {told}");
        }
        assert!(whole(&path("run")).is_err());
    }
}
