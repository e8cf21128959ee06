//! Tells when something in a directory may have changed: by inotify, or by the clock where that is not to be had.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::time::sleep;
use tracing::warn;

/// How often the files are looked at without inotify.
const POLL: Duration = Duration::from_millis(250);

/// Watches one directory.
#[derive(Debug)]
pub struct Changes(Source);

#[derive(Debug)]
enum Source {
    /// The inotify descriptor: like a pipe it is readable when there are events.
    Told(pipe::Receiver),
    Polled,
}

impl Changes {
    /// Watches a directory from now on: files that appear in it, are replaced or written to. One that does not exist yet
    /// is polled. Must be called within a tokio runtime.
    pub fn of(directory: &Path) -> Self {
        match watch(directory) {
            Ok(watch) => Self(Source::Told(watch)),
            Err(error) => {
                warn!("Following what is in {} by looking every {POLL:?}: inotify: {error}", directory.display());
                Self(Source::Polled)
            }
        }
    }

    /// Waits until something may have changed since the last call. Cancelling it loses nothing.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Source::Polled => sleep(POLL).await,
            Source::Told(watch) => {
                if watch.readable().await.is_err() || !drain(watch) {
                    self.0 = Source::Polled;
                }
            }
        }
    }
}

fn watch(directory: &Path) -> io::Result<pipe::Receiver> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, directory, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    pipe::Receiver::from_file_unchecked(File::from(watch))
}

/// Takes every event that is there; `false` where the descriptor fails.
fn drain(watch: &pipe::Receiver) -> bool {
    let mut events = [0; 4096];
    loop {
        match watch.try_read(&mut events) {
            Ok(read) if read > 0 => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Ok(_) | Err(_) => return false,
        }
    }
}
