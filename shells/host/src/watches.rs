//! Watched directories: one inotify instance for the whole process, however many want to know.
//!
//! A directory may be missing: then its nearest existing ancestor is watched until it appears. It may be removed and made
//! anew, renamed away, or be a link that is swapped, as `..data` of a volume is: the watch follows the *path*.
//!
//! ```text
//!               ┌── the kernel tells ──► changed
//! subscribed ───┤
//!               └── refused (no instance, no watch left) ──► looked at every 5 s, said once in the log ──► changed
//!                                     └──► as soon as the kernel has room again, it tells again
//! ```
//!
//! Nothing has to be started for it: whoever waits for a change reads the queue for everybody. Subscribe first and look
//! then; a change in between is told.
//!
//! What it does not do: it does not say what changed. Changes are coalesced, and after any of them the reader looks again.

mod instance;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use instance::{Instance, Told};
use places::{Fingerprint, Place, Places};

/// How often a directory is looked at that the kernel cannot watch for us.
const POLL: Duration = Duration::from_secs(5);

/// How often a path that changes while its places are watched is walked anew, before it is looked at by the clock.
const WALKS: usize = 16;

/// The watched directories of a process. A clone is the same instance.
#[derive(Clone, Debug)]
pub struct Watches {
    shared: Arc<Shared>,
}

/// The changes of one directory or several, as somebody wants to know them. Dropping it ends the watch.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    ids: Vec<u64>,
    notify: Arc<Notify>,
    /// When the directory is looked at next, where the kernel does not tell.
    next_look: Instant,
}

#[derive(Debug)]
struct Shared {
    instance: Instance,
    poll: Duration,
    /// Whether the log has been told that we poll.
    polling: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    subscriptions: BTreeMap<u64, Subscription>,
    /// Who wants to know about what the kernel watches, by its watch descriptor.
    watched: BTreeMap<i32, BTreeSet<(u64, usize)>>,
}

#[derive(Debug)]
struct Subscription {
    path: PathBuf,
    /// Of the directory itself: what is wanted of the kernel.
    wanted: WatchFlags,
    notify: Arc<Notify>,
    places: Places,
    /// What the directory looked like; only kept while the kernel does not tell.
    looked: Option<Fingerprint>,
}

impl Default for Watches {
    fn default() -> Self {
        Self::new()
    }
}

impl Watches {
    /// One instance, polling every 5 s what the kernel cannot watch.
    pub fn new() -> Self {
        Self::polling_every(POLL)
    }

    /// One instance; what the kernel cannot watch is looked at so often.
    pub fn polling_every(poll: Duration) -> Self {
        let instance = Instance::default();
        Self { shared: Arc::new(Shared { instance, poll, polling: AtomicBool::new(false), state: Mutex::default() }) }
    }

    /// Changes of the names in a directory: entries that come, go, are renamed, or change owner or mode; and the
    /// directory's own coming and going. What is written into its files is not told, so that a watch on `/dev` sleeps.
    ///
    /// Must be called inside a tokio runtime with I/O and time.
    pub fn directory(&self, path: impl Into<PathBuf>) -> Changes {
        self.subscribe([path.into()], places::NAMES)
    }

    /// As [`Watches::directory`], for several together.
    pub fn directories(&self, paths: impl IntoIterator<Item = PathBuf>) -> Changes {
        self.subscribe(paths, places::NAMES)
    }

    /// As [`Watches::directory`], and a file in it that was open for writing has been closed.
    pub fn contents(&self, path: impl Into<PathBuf>) -> Changes {
        self.subscribe([path.into()], places::NAMES | WatchFlags::CLOSE_WRITE)
    }

    fn subscribe(&self, paths: impl IntoIterator<Item = PathBuf>, wanted: WatchFlags) -> Changes {
        let notify = Arc::new(Notify::new());
        let mut state = self.shared.lock();
        let mut ids = Vec::new();
        for path in paths {
            let path = std::path::absolute(&path).unwrap_or(path);
            let id = state.next_id;
            state.next_id += 1;
            let notify = Arc::clone(&notify);
            let (places, looked) = (Places::default(), None);
            state.subscriptions.insert(id, Subscription { path, wanted, notify, places, looked });
            self.shared.follow(&mut state, id);
            ids.push(id);
        }
        drop(state);
        Changes { next_look: Instant::now() + self.shared.poll, shared: Arc::clone(&self.shared), ids, notify }
    }

    /// Whether some directory is looked at by the clock, because the kernel refused.
    pub fn is_polling(&self) -> bool {
        self.shared.lock().subscriptions.values().any(|subscription| subscription.looked.is_some())
    }
}

impl Changes {
    /// Waits until something has changed since the last call (the first time: since the subscription). Any number of
    /// changes is one. Safe to drop and call again.
    pub async fn changed(&mut self) {
        loop {
            let is_polled = self.is_polled();
            tokio::select! {
                biased;
                () = self.notify.notified() => return,
                told = self.shared.instance.told() => self.shared.pass_on(told),
                () = sleep_until(self.next_look), if is_polled => {
                    self.next_look = Instant::now() + self.shared.poll;
                    self.ids.iter().for_each(|id| self.shared.look(*id));
                }
            }
        }
    }

    /// Whether one of its directories is looked at by the clock.
    fn is_polled(&self) -> bool {
        let state = self.shared.lock();
        let mut own = self.ids.iter().filter_map(|id| state.subscriptions.get(id));
        own.any(|subscription| subscription.looked.is_some())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for id in &self.ids {
            state.subscriptions.remove(id);
            self.shared.replace(&mut state, *id, &BTreeSet::new());
        }
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, and what it guards is right after every statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches all places that a subscription's path leads through now, or sees that it is looked at by the clock.
    ///
    /// What stays watched is so without a gap, so that nothing is lost meanwhile.
    fn follow(&self, state: &mut State, id: u64) {
        let Some(subscription) = state.subscriptions.get_mut(&id) else { return };
        let (mut watching, mut watched_meanwhile) = (BTreeSet::new(), BTreeSet::new());
        let mut refused = None;
        for _ in 0..WALKS {
            watched_meanwhile.extend(std::mem::take(&mut watching).into_iter().map(|(descriptor, _)| descriptor));
            subscription.places = Places::of(&subscription.path);
            refused = subscription.places.refusal();
            for (number, place) in subscription.places.all.iter().enumerate() {
                match self.instance.watch(&place.directory, place.flags(subscription.wanted)) {
                    Ok(descriptor) => drop(watching.insert((descriptor, number))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (), // Seen by the next walk.
                    Err(error) => refused = Some(error.to_string()),
                }
            }
            // What came or went while the watches were made is not told by them.
            if subscription.places == Places::of(&subscription.path) {
                break;
            }
        }
        self.settle(subscription, refused);
        for descriptor in watched_meanwhile {
            state.watched.entry(descriptor).or_default();
        }
        self.replace(state, id, &watching);
    }

    /// Lets a subscription know about these watches and no others, and ends those that nobody wants any more.
    fn replace(&self, state: &mut State, id: u64, watching: &BTreeSet<(i32, usize)>) {
        for (descriptor, number) in watching {
            state.watched.entry(*descriptor).or_default().insert((id, *number));
        }
        state.watched.retain(|descriptor, who| {
            who.retain(|(subscription, number)| *subscription != id || watching.contains(&(*descriptor, *number)));
            if who.is_empty() {
                self.instance.unwatch(*descriptor);
            }
            !who.is_empty()
        });
    }

    /// Notes whether the kernel tells about a subscription, and says so once in the log.
    fn settle(&self, subscription: &mut Subscription, refused: Option<String>) {
        let path = subscription.path.display();
        if let Some(reason) = refused {
            subscription.looked.get_or_insert_with(|| Fingerprint::of(&subscription.path));
            if !self.polling.swap(true, Ordering::Relaxed) {
                let every = self.poll.as_secs_f32();
                warn!(%path, %reason, "The kernel cannot watch {path} ({reason}): looking every {every} s");
            }
        } else if let Some(before) = subscription.looked.take() {
            if before != Fingerprint::of(&subscription.path) {
                subscription.notify.notify_one();
            }
            if self.polling.swap(false, Ordering::Relaxed) {
                info!(%path, "The kernel watches {path} again");
            }
        }
    }

    /// Tells everybody what the kernel told.
    fn pass_on(&self, told: Told) {
        let mut state = self.lock();
        let (mut to_follow, mut changed) = (BTreeSet::new(), BTreeSet::new());
        if told.overflowed {
            to_follow.extend(state.subscriptions.keys().copied());
            changed.clone_from(&to_follow);
        }
        for event in told.events {
            for (id, number) in state.watched.get(&event.descriptor).into_iter().flatten() {
                let Some(subscription) = state.subscriptions.get(id) else { continue };
                let Some(place) = subscription.places.all.get(*number) else { continue };
                if event.flags.intersects(places::GONE) || place.is_about(event.name.as_deref()) {
                    to_follow.insert(*id);
                }
                if place.name.is_none() && event.flags.intersects(asked(subscription.wanted)) {
                    changed.insert(*id);
                }
            }
        }
        for id in to_follow {
            let before = state.subscriptions.get(&id).map(|subscription| subscription.places.directory);
            self.follow(&mut state, id);
            if before != state.subscriptions.get(&id).map(|subscription| subscription.places.directory) {
                changed.insert(id);
            }
        }
        for subscription in changed.iter().filter_map(|id| state.subscriptions.get(id)) {
            subscription.notify.notify_one();
        }
    }

    /// Looks at a directory that the kernel does not tell about, and asks the kernel again.
    fn look(&self, id: u64) {
        let mut state = self.lock();
        let Some(subscription) = state.subscriptions.get_mut(&id).filter(|it| it.looked.is_some()) else { return };
        let now = Fingerprint::of(&subscription.path);
        if subscription.looked.is_some_and(|before| before != now) {
            subscription.looked = Some(now);
            subscription.notify.notify_one();
        }
        self.follow(&mut state, id);
    }
}

/// What the kernel tells when it was asked for these: the bits are the same.
fn asked(wanted: WatchFlags) -> ReadFlags {
    ReadFlags::from_bits_truncate(wanted.bits())
}

impl Place {
    /// What to ask the kernel for.
    fn flags(&self, wanted: WatchFlags) -> WatchFlags {
        let own = if self.name.is_some() { places::ON_THE_WAY } else { wanted };
        own | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD
    }

    /// Whether an entry of this name lies on the way.
    fn is_about(&self, name: Option<&Path>) -> bool {
        self.name.is_some() && self.name.as_deref() == name
    }
}
