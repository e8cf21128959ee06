//! What a program says for people, kept in memory until someone asks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// How much of it is read, in bytes, from the beginning.
const LIMIT: usize = 64 << 10;

/// A file in memory that takes stdout and stderr of a program.
#[derive(Debug)]
pub struct Said(OwnedFd);

impl Said {
    /// Nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("apptainer", MemfdFlags::CLOEXEC)?))
    }

    /// What has been said so far.
    pub fn text(&self) -> String {
        let mut bytes = vec![0; LIMIT];
        let read = self.0.try_clone().map(File::from).and_then(|file| file.read_at(&mut bytes, 0));
        // What cannot be read has not been said.
        bytes.truncate(read.unwrap_or(0));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl AsFd for Said {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
