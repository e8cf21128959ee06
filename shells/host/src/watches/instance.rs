//! The inotify instance: made at the first watch, and tried again while the kernel has none left.

use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::sys;

/// Room for many events at once; one needs at most 272 bytes.
const BUFFER: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Instance {
    queue: OnceLock<AsyncFd<OwnedFd>>,
    /// Told when the queue is there, for those who wait for it.
    made: Notify,
}

/// What the kernel told at once.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) events: Vec<Event>,
    /// More happened than the queue could hold: anything may have changed.
    pub(super) overflowed: bool,
}

#[derive(Debug)]
pub(super) struct Event {
    /// Of which watch.
    pub(super) descriptor: i32,
    pub(super) flags: ReadFlags,
    /// The entry that it is about; none where it is the directory itself.
    pub(super) name: Option<PathBuf>,
}

impl Instance {
    /// Watches a directory too; the descriptor is the same for every path to it.
    pub(super) fn watch(&self, directory: &Path, flags: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(self.queue()?.get_ref(), directory, flags)?)
    }

    fn queue(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(queue) = self.queue.get() {
            return Ok(queue);
        }
        let made = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let made = sys::watched(made, Interest::READABLE)?;
        let queue = self.queue.get_or_init(|| made);
        self.made.notify_waiters();
        Ok(queue)
    }

    /// Ends a watch. One that has ended by itself is no fault.
    pub(super) fn unwatch(&self, descriptor: i32) {
        if let Some(queue) = self.queue.get() {
            let _ = inotify::remove_watch(queue.get_ref(), descriptor);
        }
    }

    /// Waits until the kernel tells something, and takes all of it. Several may wait: one gets it, the others nothing.
    pub(super) async fn told(&self) -> Told {
        let queue = loop {
            let made = self.made.notified();
            match self.queue.get() {
                Some(queue) => break queue,
                None => made.await,
            }
        };
        let Ok(mut ready) = queue.readable().await else {
            // The runtime shuts down.
            return pending().await;
        };
        let told = take_all(queue.get_ref());
        ready.clear_ready();
        told
    }
}

fn take_all(queue: &OwnedFd) -> Told {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = inotify::Reader::new(queue, &mut buffer);
    let mut told = Told::default();
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => told.overflowed = true,
            Ok(event) => told.events.push(Event {
                descriptor: event.wd(),
                flags: event.events(),
                name: event.file_name().map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()))),
            }),
            Err(Errno::INTR) => (),
            // The queue is empty; another cause is none that waiting could not meet again.
            Err(_) => return told,
        }
    }
}
