//! The one promise to the runtime that the compiler cannot check.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the current tokio runtime watches.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open as long as it is not dropped, and the `AsyncFd` owns it: it is neither taken out nor
    // replaced while it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
