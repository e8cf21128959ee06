//! The one thing of the launcher that needs `unsafe`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use tokio::io::unix::AsyncFd;

/// Lets the runtime watch a pipe or terminal.
pub fn watched(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: the file is moved in and owns its descriptor, which stays open and the same until the file is dropped.
    Ok(unsafe { AsyncFd::register(file) }?)
}
