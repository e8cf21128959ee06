//! A log file that rotates, and a full disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How large logs may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRules {
    /// The size in bytes at which a file is put aside (a kubelet's `containerLogMaxSize`).
    pub size: u64,
    /// How many files there are of one run of a container, the current one included; at least 1 (`containerLogMaxFiles`).
    pub files: usize,
}

impl Default for LogRules {
    /// 10 MiB, 5 files: a kubelet's defaults.
    fn default() -> Self {
        Self { size: 10 * 1024 * 1024, files: 5 }
    }
}

/// How long a log stays silent after its disk refused a write.
const PAUSE: Duration = Duration::from_secs(5);

/// What a write came to.
#[derive(Debug)]
pub(crate) enum Wrote {
    /// It is in the file, or the disk still refuses and that has been told.
    Well,
    /// The disk refuses; told once until it takes again.
    Refused(io::Error),
    /// The disk takes again; this many bytes of records were dropped meanwhile.
    Again(u64),
}

/// The log of one run of a container.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    rules: LogRules,
    file: Option<File>,
    size: u64,
    /// When the disk last refused, and how many bytes were dropped since.
    refused: Option<(Instant, u64)>,
}

impl LogFile {
    /// The log at `path`; a file that stands there is continued, without what is left of a record that a crash cut off.
    pub(crate) fn open(path: PathBuf, rules: LogRules) -> (Self, Wrote) {
        let mut log = Self { path, rules, file: None, size: 0, refused: None };
        let wrote = match log.reopen() {
            Ok(()) => Wrote::Well,
            Err(error) => log.refuse(0, error),
        };
        (log, wrote)
    }

    /// Appends whole records. A refused write leaves only whole records in the file.
    pub(crate) fn write(&mut self, records: &[u8]) -> Wrote {
        if records.is_empty() {
            return Wrote::Well;
        }
        let length = records.len() as u64;
        if let Some((since, dropped)) = &mut self.refused
            && since.elapsed() < PAUSE
        {
            *dropped += length;
            return Wrote::Well;
        }
        match self.append(records, length) {
            Ok(()) => match self.refused.take() {
                Some((_, dropped)) => Wrote::Again(dropped),
                None => Wrote::Well,
            },
            Err(error) => self.refuse(length, error),
        }
    }

    fn append(&mut self, records: &[u8], length: u64) -> io::Result<()> {
        if self.size > 0 && self.size + length > self.rules.size {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(records) {
            let _ = file.set_len(self.size).and_then(|()| file.seek(SeekFrom::End(0)));
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    fn refuse(&mut self, dropped: u64, error: io::Error) -> Wrote {
        let told = self.refused.is_some();
        let before = self.refused.take().map_or(0, |(_, dropped)| dropped);
        self.refused = Some((Instant::now(), before + dropped));
        if told { Wrote::Well } else { Wrote::Refused(error) }
    }

    /// Puts the current file aside under the next number and removes the oldest beyond the rule.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let aside = rotated(&self.path)?;
        let next = aside.last().map_or(1, |(number, _)| number + 1);
        if self.rules.files > 1 {
            fs::rename(&self.path, numbered(&self.path, next))?;
            let surplus = (aside.len() + 2).saturating_sub(self.rules.files);
            for (_, oldest) in aside.iter().take(surplus) {
                fs::remove_file(oldest)?;
            }
        } else {
            fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        self.size = whole_records(&mut file)?;
        if file.seek(SeekFrom::End(0))? > self.size {
            file.set_len(self.size)?;
            file.seek(SeekFrom::End(0))?;
        }
        self.file = Some(file);
        Ok(())
    }
}

/// How many bytes at the beginning of the file are whole records.
fn whole_records(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; 32 * 1024];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let length = usize::try_from(end - begin).unwrap_or(block.len());
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block[..length])?;
        if let Some(at) = block[..length].iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The files that were put aside for the log at `path`, oldest first, with their numbers.
pub fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry?;
        let file = entry.file_name();
        let number = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(path: &Path) -> Vec<u64> {
        rotated(path).unwrap().into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn only_the_oldest_whole_file_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        let (mut log, _) = LogFile::open(path.clone(), LogRules { size: 10, files: 3 });
        for number in 0..9 {
            log.write(format!("{number}234\n").as_bytes());
        }
        assert_eq!(numbers(&path), [3, 4]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "8234\n");
        let texts: Vec<String> =
            rotated(&path).unwrap().iter().map(|(_, path)| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["4234\n5234\n", "6234\n7234\n"]);
    }

    #[test]
    fn a_single_file_begins_anew() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        let (mut log, _) = LogFile::open(path.clone(), LogRules { size: 10, files: 1 });
        log.write(b"1234\n");
        log.write(b"2234\n");
        log.write(b"3234\n");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), numbers(&path).len()), ("3234\n", 0));
    }

    #[test]
    fn a_log_is_continued_after_its_last_whole_record() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        fs::write(&path, "whole\ncut o").unwrap();
        let (mut log, _) = LogFile::open(path.clone(), LogRules::default());
        log.write(b"next\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nnext\n");
    }

    #[test]
    fn a_refusing_disk_is_told_once() {
        let (mut log, wrote) = LogFile::open("/dev/full".into(), LogRules::default());
        assert!(matches!(wrote, Wrote::Well));
        assert!(matches!(log.write(b"a\n"), Wrote::Refused(error) if error.raw_os_error() == Some(libc::ENOSPC)));
        assert!(matches!(log.write(b"b\n"), Wrote::Well));
        log.path = "/dev/null".into();
        log.file = None;
        log.refused = log.refused.map(|(_, dropped)| (Instant::now().checked_sub(PAUSE).unwrap(), dropped));
        assert!(matches!(log.write(b"c\n"), Wrote::Again(4)));
        assert!(matches!(log.write(b"d\n"), Wrote::Well));
    }
}
