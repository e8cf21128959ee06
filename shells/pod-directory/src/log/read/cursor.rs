//! A place in a log that is several files, and reading on from it.
//!
//! The current file has the number that it will get when it is put aside: one more than the newest rotated one. So every
//! file has a number for its whole life, and "the next file" is a plain sum, whatever is renamed or removed meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::log::rotated;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// A place in a log.
pub(super) struct Cursor {
    path: PathBuf,
    /// The number of the file that is read; the smallest that will do where none is open.
    number: u64,
    file: Option<File>,
    /// Up to where it has been read: always the beginning of a record.
    offset: u64,
    /// How many files were removed before they were read.
    missed: u64,
}

/// What reading on gave.
pub(super) enum Read {
    /// Whole records.
    Records(Vec<u8>),
    /// There is no more now. What stands after the last whole record, if anything.
    End(Vec<u8>),
}

impl Cursor {
    /// The beginning of the log, or of the file with this number.
    pub(super) fn new(path: &Path, number: u64) -> Self {
        Self { path: path.to_owned(), number, file: None, offset: 0, missed: 0 }
    }

    /// How many files were removed before they were read, since the last call.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Reads on.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        let mut put_aside = false;
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(Read::End(Vec::new()));
            }
            let Some(file) = &self.file else { return Ok(Read::End(Vec::new())) };
            let mut bytes = self.chunk(file)?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
                self.offset += bytes.len() as u64;
                return Ok(Read::Records(bytes));
            }
            if bytes.len() == CHUNK {
                // No record of ours is that long; it is passed on as it stands.
                self.offset += bytes.len() as u64;
                return Ok(Read::Records(bytes));
            }
            if put_aside {
                self.file = None;
                self.number += 1;
                self.offset = 0;
                if !bytes.is_empty() {
                    bytes.push(b'\n'); // A record that a crash cut off.
                    return Ok(Read::Records(bytes));
                }
                put_aside = false;
            } else if self.is_put_aside(file)? {
                // What was written between reading and putting aside is read once more.
                put_aside = true;
            } else {
                return Ok(Read::End(bytes));
            }
        }
    }

    /// What stands at the offset, at most a chunk.
    fn chunk(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        let mut length = 0;
        while length < CHUNK {
            match file.read_at(&mut bytes[length..], self.offset + length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Whether the open file is no longer the current one, and a newer one is there.
    fn is_put_aside(&self, file: &File) -> io::Result<bool> {
        let own = file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(current) => Ok((current.dev(), current.ino()) != (own.dev(), own.ino())),
            // Between putting aside and the new file, or the last of a run that died there. An older file has newer ones.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(rotated(&self.path)?.last().is_some_and(|(newest, _)| *newest > self.number))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the file with this number, or the next that is still there; `false` where there is none.
    fn open(&mut self) -> io::Result<bool> {
        loop {
            if let Some((number, path)) = self.next_rotated()? {
                match File::open(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Removed meanwhile.
                    opened => self.file = Some(opened?),
                }
                if self.number > 0 {
                    self.missed += number - self.number;
                }
                self.number = number;
                return Ok(true);
            }
            match File::open(&self.path) {
                // It may have been put aside just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.next_rotated()?.is_none() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
                // If it was put aside meanwhile, what was opened may be a later file than the one with this number.
                Ok(file) => {
                    let newest = rotated(&self.path)?.last().map_or(0, |(number, _)| *number);
                    if newest < self.number.max(1) {
                        self.file = Some(file);
                        self.number = self.number.max(1);
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn next_rotated(&self) -> io::Result<Option<(u64, PathBuf)>> {
        Ok(rotated(&self.path)?.into_iter().find(|(number, _)| *number >= self.number))
    }
}
