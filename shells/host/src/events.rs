//! What the kernel tells about devices while they come, change and go: uevents, mounts, swap areas, directories.
//!
//! ```text
//!   netlink ──► uevents of the subsystems that matter ──► now, and again after 20, 100 and 500 ms
//!   netlink ──► overrun ────────────────────────────────► everything, once
//!   mountinfo, swaps ──► poll wakes ────────────────────► tables
//!   directories ──► inotify ────────────────────────────► paths
//!   no netlink here ──► every 5 s, said once in the log ► everything
//! ```
//!
//! A uevent comes before udev has made links and set owners; in a container its messages never come. So the reader looks
//! again a few times instead of waiting for udev.
//!
//! `mount` and `mkfs` cause no uevent; file systems that were mounted in another mount namespace are seen at the next look.
//!
//! What it does not do: it reads no devices, [`look`](crate::devices::look) does.

mod netlink;

use std::collections::BTreeSet;
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub use netlink::{Action, Uevent};

use crate::devices::Roots;
use crate::sys;
use crate::watches::{Changes, Watches};
use netlink::{Netlink, Received};

/// When to look again after a uevent: udev needs some time for links and owners.
const AGAIN: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];

/// When to look again after a mount or unmount: the kernel tells of an unmount before the file system has ended, and of that
/// not at all. What is left to be written then takes as long as the disk does.
const SETTLES: [Duration; 9] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// How often to look where the kernel does not tell.
const POLL: Duration = Duration::from_secs(5);

/// The initial user namespace (`PROC_USER_INIT_INO` of the kernel's `include/linux/proc_ns.h`).
const INITIAL_USERS: &str = "user:[4026531837]";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Devices came, changed or went; in the order in which they did.
    Devices(Vec<Uevent>),
    /// Some time after that: links and owners may be there now.
    Again,
    /// The mount table changed.
    Mounts,
    /// The swap areas changed.
    Swaps,
    /// Something changed in one of the directories.
    Paths,
    /// Anything may have changed: messages were lost, or nothing tells here and it is time to look.
    Everything,
}

/// How many messages there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// From the kernel, of whatever subsystem.
    pub uevents: u64,
    /// Not from the kernel.
    pub forged: u64,
    /// From the kernel, but not understood.
    pub malformed: u64,
    /// How often messages were lost.
    pub overruns: u64,
}

/// What a reader wants to know about.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Subsystems of devices, as `block`; uevents of others wake nobody.
    pub subsystems: BTreeSet<String>,
    /// Directories of which the names matter, as paths of the host.
    pub directories: Vec<PathBuf>,
}

/// The stream of events.
#[derive(Debug)]
pub struct Events {
    netlink: Option<Netlink>,
    /// Why the kernel's messages may not come, where that is so.
    unheard: Option<String>,
    mounts: Option<AsyncFd<OwnedFd>>,
    swaps: Option<AsyncFd<OwnedFd>>,
    directories: Changes,
    subsystems: BTreeSet<String>,
    /// When to look again, the latest first.
    again: Vec<Instant>,
    poll: Duration,
    next_poll: Instant,
    counts: Counts,
}

impl Events {
    /// Begins to listen; what cannot be listened to is said once in the log. Must be called inside a tokio runtime with
    /// I/O and time.
    ///
    /// Open it first and look then: what happens in between is told.
    pub fn open(roots: &Roots, watches: &Watches, wanted: Wanted) -> Self {
        let (netlink, unheard) = match Netlink::open() {
            Ok(netlink) => (Some(netlink), unheard()),
            Err(error) => (None, Some(format!("no netlink: {error}"))),
        };
        let mounts = roots.mountinfo().and_then(|path| polled(&path).map_err(|error| error.to_string()));
        let swaps = polled(&roots.at("/proc/swaps")).map_err(|error| error.to_string());
        let told = [
            ("uevents", unheard.clone()),
            ("mounts", mounts.as_ref().err().cloned()),
            ("swaps", swaps.as_ref().err().cloned()),
        ];
        for (source, why) in told.into_iter().filter_map(|(source, why)| Some((source, why?))) {
            let every = POLL.as_secs();
            warn!(source, why, "The kernel may not tell about {source} here ({why}): looking every {every} s");
        }
        if unheard.is_none() {
            info!(source = "netlink", "The kernel tells about devices");
        }
        let Wanted { subsystems, directories } = wanted;
        Self {
            netlink,
            unheard,
            mounts: mounts.ok(),
            swaps: swaps.ok(),
            directories: watches.directories(directories.iter().map(|directory| roots.at(directory))),
            subsystems,
            again: Vec::new(),
            poll: POLL,
            next_poll: Instant::now() + POLL,
            counts: Counts::default(),
        }
    }

    /// Tells of other subsystems and directories from now on. What the kernel has told and the moments to look again stay.
    /// Look when this has returned: what happened before where nobody listened, or in a directory of before, is not told.
    pub fn follow(&mut self, roots: &Roots, watches: &Watches, wanted: Wanted) {
        let Wanted { subsystems, directories } = wanted;
        self.directories = watches.directories(directories.iter().map(|directory| roots.at(directory)));
        self.subsystems = subsystems;
    }

    /// Looks so often where the kernel does not tell, instead of every 5 s.
    #[must_use]
    pub fn polling_every(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self.next_poll = Instant::now() + poll;
        self
    }

    /// Whether something is looked at by the clock, because the kernel may not tell.
    pub fn is_polling(&self) -> bool {
        self.unheard.is_some() || self.mounts.is_none() || self.swaps.is_none()
    }

    /// How many messages there were so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Waits for what happens next. Safe to drop and call again.
    pub async fn next(&mut self) -> Event {
        loop {
            let (again, is_polling) = (self.again.last().copied(), self.is_polling());
            let again_at = again.unwrap_or(self.next_poll);
            tokio::select! {
                biased;
                received = received(self.netlink.as_ref()) => {
                    if let Some(event) = self.take(received) {
                        return event;
                    }
                }
                () = changed(self.mounts.as_ref()) => {
                    self.look_again(&SETTLES);
                    return Event::Mounts;
                }
                () = changed(self.swaps.as_ref()) => return Event::Swaps,
                () = self.directories.changed() => return Event::Paths,
                () = sleep_until(again_at), if again.is_some() => {
                    let now = Instant::now();
                    self.again.retain(|moment| *moment > now);
                    return Event::Again;
                }
                () = sleep_until(self.next_poll), if is_polling => {
                    self.next_poll = Instant::now() + self.poll;
                    return Event::Everything;
                }
            }
        }
    }

    /// Notes moments to look again, beside those that are to come later anyway.
    fn look_again(&mut self, after: &[Duration]) {
        let now = Instant::now();
        let last = after.last().map(|after| now + *after);
        self.again.retain(|moment| last.is_none_or(|last| *moment > last));
        self.again.extend(after.iter().rev().map(|after| now + *after));
    }

    /// What is of interest in what was received.
    fn take(&mut self, received: Received) -> Option<Event> {
        self.counts.uevents += received.uevents.len() as u64;
        self.counts.forged += received.forged;
        self.counts.malformed += received.malformed;
        let is_wanted = |uevent: &Uevent| self.subsystems.contains(&uevent.subsystem);
        let wanted: Vec<Uevent> = received.uevents.into_iter().filter(is_wanted).collect();
        if received.overrun || !wanted.is_empty() {
            self.look_again(&AGAIN);
        }
        if received.overrun {
            self.counts.overruns += 1;
            return Some(Event::Everything);
        }
        (!wanted.is_empty()).then_some(Event::Devices(wanted))
    }
}

/// Why the kernel's messages may not come: they go to network namespaces of the initial user namespace alone
/// (`uevent_net_broadcast_untagged` of the kernel's `lib/kobject_uevent.c`), and from inside another one it cannot be told
/// whose ours is.
fn unheard() -> Option<String> {
    let namespace = std::fs::read_link("/proc/self/ns/user").ok();
    let is_initial = namespace.is_some_and(|namespace| namespace == Path::new(INITIAL_USERS));
    (!is_initial).then(|| "this process is in a user namespace of its own".to_owned())
}

/// A table of `/proc` whose changes wake a poll for what is urgent.
fn polled(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    sys::watched(File::open(path)?.into(), Interest::PRIORITY)
}

async fn changed(table: Option<&AsyncFd<OwnedFd>>) {
    let Some(table) = table else { return pending().await };
    match table.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        // The runtime shuts down.
        Err(_) => pending().await,
    }
}

async fn received(netlink: Option<&Netlink>) -> Received {
    match netlink {
        Some(netlink) => netlink.receive().await,
        None => pending().await,
    }
}
