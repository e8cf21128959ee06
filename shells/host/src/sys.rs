//! Descriptors that the runtime watches: the one promise to it that the compiler cannot check.
#![allow(unsafe_code)]

use std::future::pending;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the current tokio runtime watches.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open as long as it is not dropped, and the `AsyncFd` owns it: it is neither taken out nor
    // replaced while it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// Waits until nobody reads any more what is written to this pipe or socket: its other end is closed. For ever where it is
/// neither.
pub async fn unread(descriptor: BorrowedFd<'_>) {
    let watched = descriptor.try_clone_to_owned().and_then(|own| watched(own, Interest::ERROR));
    let Ok(watched) = watched else { return pending().await };
    if watched.ready(Interest::ERROR).await.is_err() {
        // The runtime shuts down.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_pipe_is_unread_when_its_reader_has_closed_it_and_a_file_never() {
        let (reader, writer) = std::io::pipe().unwrap();
        let moment = Duration::from_millis(50);
        assert!(timeout(moment, unread(writer.as_fd())).await.is_err());
        drop(reader);
        unread(writer.as_fd()).await;
        let file = tempfile::tempfile().unwrap();
        assert!(timeout(moment, unread(file.as_fd())).await.is_err());
    }
}
