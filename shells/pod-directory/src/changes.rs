//! Tells when something in a directory may have changed: by whoever writes there where that is this process, by inotify,
//! or by the clock where that is not to be had.
//!
//! The watch is made when it is first waited for: the kernel takes some 10 ms to let go of one, which the run of a short
//! pod would feel.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

/// How often the files are looked at without inotify.
const POLL: Duration = Duration::from_millis(250);

/// Watches one directory.
#[derive(Debug)]
pub struct Changes(Source);

#[derive(Debug)]
enum Source {
    /// Nobody has waited yet.
    Unwatched(PathBuf),
    /// The writer is of this process.
    Writer(watch::Receiver<()>),
    /// The inotify descriptor: like a pipe it is readable when there are events.
    Told(pipe::Receiver),
    Polled,
}

impl Changes {
    /// Watches a directory: files that appear in it, are replaced or written to. One that does not exist when it is first
    /// waited for is polled.
    pub fn of(directory: &Path) -> Self {
        Self(Source::Unwatched(directory.to_owned()))
    }

    /// Watches the directory in which a file really lies.
    pub fn beside(file: &Path) -> Self {
        let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        Self::of(real.parent().unwrap_or(Path::new("/")))
    }

    /// Hears it from the writer. One that is gone leaves its readers to the clock.
    pub fn told_by(writer: watch::Receiver<()>) -> Self {
        Self(Source::Writer(writer))
    }

    /// Waits until something may have changed since the last call; the first call may answer at once. Cancelling it loses
    /// nothing. Must be called within a tokio runtime.
    pub async fn next(&mut self) {
        match &mut self.0 {
            // What changed before this moment is seen by whoever looks again now.
            Source::Unwatched(directory) => self.0 = Source::watching(directory),
            Source::Polled => sleep(POLL).await,
            Source::Writer(writer) => {
                if writer.changed().await.is_err() {
                    self.0 = Source::Polled;
                }
            }
            Source::Told(watch) => {
                if watch.readable().await.is_err() || !drain(watch) {
                    self.0 = Source::Polled;
                }
            }
        }
    }
}

impl Source {
    fn watching(directory: &Path) -> Self {
        match watch_directory(directory) {
            Ok(watch) => Self::Told(watch),
            Err(error) => {
                warn!("Following what is in {} by looking every {POLL:?}: inotify: {error}", directory.display());
                Self::Polled
            }
        }
    }
}

fn watch_directory(directory: &Path) -> io::Result<pipe::Receiver> {
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
