//! Locks of what a machine has once: a device, a CPU, a port. Whoever uses it holds its lock, whatever user and process
//! that is, and a lock ends with the last process that holds its descriptor, however that ends.
//!
//! ```text
//!   /run/outrigger/lock/          1777, made by root's first command or by tmpfiles.d
//!   └── devices/                  1777, one for each kind of thing
//!       ├── k7q2m4x9ab            0644, flock on a read-only descriptor; its text says who holds it
//!       ├── char-10:232           of what several share, and of each number, replica and part a file of its own
//!       ├── char-10:232+1
//!       └── block-8:16            0600: one that lasts until it is given back, also where its holder dies ([`Wish::lasts`])
//! ```
//!
//! A file is opened without `O_CREAT` first and then with `O_EXCL`: with `fs.protected_regular=2`
//! (`Documentation/admin-guide/sysctl/fs.rst`) an `O_CREAT` open of another user's file in such a directory fails, even
//! for root. Files stay when they are not locked, but those that last go when they are given back. What is no file is no lock.
//!
//! What it does not do: it does not judge whether a holder may have the thing ([`Attempt::Held`] tells whom to ask), and
//! does not wait.

mod file;
mod lasting;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

pub use users::Credentials;
use users::FileId;

/// Where they are, and where they are when that cannot be made.
const PLACES: [&str; 2] = ["run/outrigger/lock", "dev/shm/outrigger-lock"];

/// Everybody may make files in it, and remove only their own.
const SHARED: u32 = 0o1777;

/// The initial process namespace (`PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`).
const INITIAL_PROCESSES: &str = "pid:[4026531836]";

/// How much of a holder's text is read, in bytes.
const MAX_TEXT: u64 = 4096;

/// How long is waited for the end of somebody's look at a lock, and how often: a look takes microseconds.
const LOOK: Duration = Duration::from_micros(200);
const LOOKS: u32 = 250;

/// The directory of a machine's locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locks {
    directory: PathBuf,
}

/// A lock that is held until the last clone of its descriptor is closed, here and in every process that has one.
#[derive(Clone, Debug)]
pub struct MachineLock {
    descriptor: Arc<OwnedFd>,
}

/// How a lock is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'w> {
    /// One line that tells others who has it.
    pub text: &'w str,
    /// Whether others may have it too.
    pub shared: bool,
    /// Whether it lasts until [`Locks::give_back`], also where this process dies: nobody but its user can open its file. Only for
    /// one that is not shared; where the file is another user's and cannot be replaced, it is as any other.
    pub lasts: bool,
}

/// What came of trying to lock something.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Locked(MachineLock),
    /// Somebody else has it.
    Held(LockHolder),
}

/// Who holds a lock, as far as that can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockHolder {
    /// What the holder wrote; empty where the file belongs to another user, who could not write it.
    pub text: String,
    /// The process that took the lock (`/proc/locks`). It may have ended and left the lock to its children.
    pub pid: Option<i32>,
    /// The user of that process, else of the file.
    pub uid: Option<u32>,
    /// The lock's file.
    pub path: PathBuf,
    /// Whether it lasts ([`Wish::lasts`]), and is root's or this user's: no other user can have made it or hold it.
    pub is_lasting: bool,
}

/// Why nothing can be locked here.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the lock {}: run a command of outrigger once as root, which makes /run/outrigger/lock", path.display())]
pub struct LockError {
    /// Which file or directory.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

impl Locks {
    /// Those of the machine whose root this is. The first place that is there or can be made.
    pub fn of_machine(root: &Path) -> Result<Self, LockError> {
        let mut failed = None;
        for place in PLACES {
            let locks = Self::at(root.join(place));
            match shared_directory(&locks.directory) {
                Ok(()) => return Ok(locks),
                Err(source) => failed = failed.or(Some(LockError { path: locks.directory, source })),
            }
        }
        Err(failed.unwrap_or_else(|| LockError { path: root.to_owned(), source: io::ErrorKind::NotFound.into() }))
    }

    /// Those in this directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tries to lock one thing of a kind; `text`, one line, tells others who has it. Names are file names.
    pub fn try_lock(&self, kind: &str, name: &str, text: &str) -> Result<Attempt, LockError> {
        let mut looks = 0..LOOKS;
        self.try_lock_beside(kind, name, Wish { text, shared: false, lasts: false }, || again(&mut looks))
    }

    /// Tries to lock one thing together with others who lock it so: that keeps away whoever wants it alone. Its text is that
    /// of the last one, and [`Locks::holders`] does not tell of it.
    pub fn try_share(&self, kind: &str, name: &str, text: &str) -> Result<Attempt, LockError> {
        self.try_lock_beside(kind, name, Wish { text, shared: true, lasts: false }, || false)
    }

    /// As [`Locks::try_lock`], for a lock that lasts.
    fn try_last(&self, kind: &str, name: &str, text: &str) -> Result<Attempt, LockError> {
        let mut looks = 0..LOOKS;
        self.try_lock_beside(kind, name, Wish { text, shared: false, lasts: true }, || again(&mut looks))
    }

    /// As [`Locks::try_lock`]; `waits` lets somebody's look end, or tells that it has taken too long to be one.
    fn try_lock_beside(
        &self,
        kind: &str,
        name: &str,
        wish: Wish<'_>,
        mut waits: impl FnMut() -> bool,
    ) -> Result<Attempt, LockError> {
        let directory = self.directory.join(kind);
        shared_directory(&directory).map_err(|source| LockError { path: directory.clone(), source })?;
        let path = directory.join(name);
        let failed = |source| LockError { path: path.clone(), source };
        let operation =
            if wish.shared { FlockOperation::NonBlockingLockShared } else { FlockOperation::NonBlockingLockExclusive };
        loop {
            let file = match file::open(&path, wish.lasts) {
                Ok(file) => file,
                Err(error) => match lasting::closed(&path) {
                    Some(holder) => return Ok(Attempt::Held(holder)),
                    None if file::clear(&path) => continue,
                    None => return Err(failed(error)),
                },
            };
            match flock(&file, operation) {
                Ok(()) if is_at(&file, &path) => {
                    let lasts = lasting::is_ours(&file.metadata().map_err(failed)?);
                    if lasts != wish.lasts && lasting::renew(&path, wish.lasts).is_ok() {
                        continue;
                    }
                    write_text(&path, wish.text);
                    return Ok(Attempt::Locked(MachineLock { descriptor: Arc::new(file.into()) }));
                }
                // It was removed between opening and locking.
                Ok(()) | Err(Errno::INTR) => (),
                Err(Errno::WOULDBLOCK) if is_only_looked_at(&file) && waits() => (),
                Err(Errno::WOULDBLOCK) => return Ok(Attempt::Held(holder(&file, path, &Held::now()))),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Who holds which locks of a kind now, by name, without those that `is_own` says are the caller's.
    ///
    /// The kernel's list tells which files may be locked, and sharing one for a moment tells whether it is. From inside a
    /// process namespace of its own the list does not tell, and every file is tried. Whoever wants a lock meanwhile is not
    /// refused for that: [`Locks::try_lock`] waits for the end of such a look.
    pub fn holders(&self, kind: &str, is_own: impl Fn(&str) -> bool) -> BTreeMap<String, LockHolder> {
        let entries = fs::read_dir(self.directory.join(kind)).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)));
        let others: Vec<_> = named.filter(|(name, _)| !is_own(name)).collect();
        if others.is_empty() {
            return BTreeMap::new();
        }
        let (listed, is_root) = (Held::now(), rustix::process::geteuid().is_root());
        let held = others.into_iter().filter_map(|(name, entry)| {
            let is_free = listed.tells_all && !listed.by_inode.contains_key(&entry.ino());
            if is_free && is_root {
                return None;
            }
            let Ok(file) = file::open_to_read(&entry.path()) else {
                return Some((name, lasting::closed(&entry.path())?));
            };
            let is_held = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
            is_held.then(|| (name, holder(&file, entry.path(), &listed)))
        });
        held.collect()
    }

    /// Locks of this user that last though nobody holds them: whoever had them has ended without giving them back. By name,
    /// without those that `is_own` says are the caller's own.
    pub fn left(&self, kind: &str, is_own: impl Fn(&str) -> bool) -> BTreeMap<String, LockHolder> {
        let entries = fs::read_dir(self.directory.join(kind)).into_iter().flatten().flatten();
        let left = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| !is_own(name))?;
            let file = left_at(&entry.path())?;
            Some((name, holder(&file, entry.path(), &Held::default())))
        });
        left.collect()
    }

    /// Removes one of those, where it is still nobody's.
    pub fn forget(&self, kind: &str, name: &str) {
        let path = self.directory.join(kind).join(name);
        if left_at(&path).is_some_and(|file| is_at(&file, &path)) {
            let _ = fs::remove_file(path);
        }
    }

    /// Gives back a lock that was got under this name, whether it lasts or not.
    pub fn give_back(&self, kind: &str, name: &str, lock: MachineLock) {
        let path = self.directory.join(kind).join(name);
        let there = fs::symlink_metadata(&path).ok().filter(lasting::is_ours);
        let ours = rustix::fs::fstat(&*lock.descriptor).ok();
        if there.zip(ours).is_some_and(|(there, ours)| (there.dev(), there.ino()) == (ours.st_dev, ours.st_ino)) {
            // Before it is free: whoever comes then finds that it is not there.
            let _ = fs::remove_file(path);
        }
        drop(lock);
    }

    /// Everybody whose processes hold these locks, by name; none where that cannot be told, as by an ordinary user.
    pub fn users<'n>(
        &self,
        kind: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<BTreeMap<String, Vec<Credentials>>> {
        let directory = self.directory.join(kind);
        let files: BTreeMap<String, FileId> =
            names.into_iter().filter_map(|name| Some((name.to_owned(), file_id(&directory.join(name))?))).collect();
        let users = users::holding(&files.values().copied().collect())?;
        Some(files.into_iter().map(|(name, file)| (name, users.get(&file).cloned().unwrap_or_default())).collect())
    }

    /// As [`Locks::try_lock`] or [`Locks::try_share`], where a lock does not count that nobody holds but users who `may` not: its file is taken away
    /// from them. Where it cannot be told who holds it, as in a process namespace of its own, it counts.
    pub fn try_lock_against(
        &self,
        kind: &str,
        name: &str,
        wish: Wish<'_>,
        may: impl Fn(&Credentials) -> bool,
    ) -> Result<Attempt, LockError> {
        let try_it = || match wish {
            Wish { text, shared: true, .. } => self.try_share(kind, name, text),
            Wish { text, lasts: true, .. } => self.try_last(kind, name, text),
            Wish { text, .. } => self.try_lock(kind, name, text),
        };
        let attempt = try_it()?;
        let path = self.directory.join(kind).join(name);
        let Attempt::Held(_) = attempt else { return Ok(attempt) };
        let counts = |file: FileId| {
            let users = users::holding(&BTreeSet::from([file])).and_then(|mut users| users.remove(&file));
            users.is_none_or(|users| users.is_empty() || users.iter().any(&may))
        };
        let Some(file) = file_id(&path).filter(|file| !counts(*file)) else { return Ok(attempt) };
        if lasting::exchange(&path, file, counts) { try_it() } else { Ok(attempt) }
    }
}

impl MachineLock {
    /// The descriptor that is the lock, to be handed on to whoever must keep it too.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }
}

/// Sees that the directory is there and open to everybody. One that somebody else made is taken as it is, but not through a
/// link, and not where its users could remove each other's files.
fn shared_directory(path: &Path) -> io::Result<()> {
    let is_shared = |there: &Metadata| there.is_dir() && there.mode() & 0o1002 == 0o1002;
    // As nearly always; a lock of a device is on the way of a pod.
    if fs::symlink_metadata(path).is_ok_and(|there| is_shared(&there)) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(SHARED).create(path) {
        // The mode of a new directory is cut by the umask.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(SHARED)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(path)?;
            let user = rustix::process::geteuid().as_raw();
            match there.is_dir() && there.uid() == user {
                _ if is_shared(&there) => Ok(()),
                // A kubelet makes directories of the host that pods name, with a mode of its own.
                true if user == 0 => fs::set_permissions(path, Permissions::from_mode(SHARED)),
                true => Ok(()),
                false => Err(io::Error::other("it is no directory with mode 1777")),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether to wait once more for the end of a look; then it has waited.
fn again(looks: &mut std::ops::Range<u32>) -> bool {
    looks.next().inspect(|_| sleep(LOOK)).is_some()
}

/// A lock of ours that lasts, where nobody holds it; nobody gets it while this is open.
fn left_at(path: &Path) -> Option<File> {
    fs::symlink_metadata(path).ok().filter(lasting::is_ours)?;
    let file = file::open_to_read(path).ok()?;
    (flock(&file, FlockOperation::NonBlockingLockShared).is_ok()).then_some(file)
}

/// What tells a file from another one that comes to have its name.
fn file_id(path: &Path) -> Option<FileId> {
    fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|ours| Some((ours.dev(), ours.ino())) == file_id(path))
}

/// Another user's file stays as it is: its text is then not believed, see [`holder`].
fn write_text(path: &Path, text: &str) {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().write(true).truncate(true).custom_flags(flags.bits().cast_signed()).open(path);
    if let Ok(mut file) = opened {
        // It only informs; the lock is what counts.
        let _ = file.write_all(format!("{}\t{text}\n", std::process::id()).as_bytes());
    }
}

/// Whether nobody has it but somebody who looks whether anybody has it ([`Locks::holders`]).
fn is_only_looked_at(file: &File) -> bool {
    let is_shared = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    is_shared && flock(file, FlockOperation::Unlock).is_ok()
}

/// Whoever wrote the text wrote its process id before it. One that is not the locking process wrote for an earlier lock.
fn holder(file: &File, path: PathBuf, held: &Held) -> LockHolder {
    let metadata = file.metadata().ok();
    let pid = metadata.as_ref().and_then(|there| held.by_inode.get(&there.ino()).copied());
    let mut written = String::new();
    let _ = file.take(MAX_TEXT).read_to_string(&mut written);
    let text = written.split_once('\t').filter(|(writer, _)| pid.is_none() || writer.parse().ok() == pid);
    let is_lasting = metadata.as_ref().is_some_and(lasting::is_ours);
    let uid = pid.and_then(|pid| fs::metadata(format!("/proc/{pid}")).ok()).or(metadata).map(|there| there.uid());
    let text = text.map_or("", |(_, text)| text).trim().to_owned();
    LockHolder { text, pid, uid, path, is_lasting }
}

/// The files that are locked exclusively, as the kernel lists them (`proc_locks(5)`).
#[derive(Default)]
struct Held {
    /// The process that locked the file of an inode; two files of different file systems may have one number.
    by_inode: BTreeMap<u64, i32>,
    /// Whether the list is of the whole machine; from inside another process namespace it is of that alone.
    tells_all: bool,
}

impl Held {
    fn now() -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid");
        let is_initial = namespace.is_ok_and(|namespace| namespace == Path::new(INITIAL_PROCESSES));
        let list = fs::read_to_string("/proc/locks");
        Self { tells_all: is_initial && list.is_ok(), by_inode: Self::listed(&list.unwrap_or_default()) }
    }

    /// Lines as `1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF`.
    fn listed(list: &str) -> BTreeMap<u64, i32> {
        let held = list.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let is_held = words.next() == Some("FLOCK") && words.nth(1) == Some("WRITE");
            let pid = words.next().filter(|_| is_held)?.parse().ok()?;
            Some((words.next()?.rsplit(':').next()?.parse().ok()?, pid))
        });
        held.collect()
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType};

    use super::*;

    /// The lock that an attempt gets at last: a child that another test starts has our descriptors too until it executes
    /// something, and so what we have given back.
    fn taken(mut attempt: impl FnMut() -> Attempt) -> MachineLock {
        let begun = std::time::Instant::now();
        loop {
            match attempt() {
                Attempt::Locked(lock) => return lock,
                Attempt::Held(holder) => assert!(begun.elapsed() < Duration::from_secs(20), "held by {holder:?}"),
            }
            sleep(LOOK);
        }
    }

    /// Waits until it is so, for the same reason.
    fn wait_until(is_so: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain");
            sleep(LOOK);
        }
    }

    fn is_free(locks: &Locks) -> bool {
        ["devices", "nothing"].iter().all(|kind| locks.holders(kind, |_| false).is_empty())
    }

    #[test]
    fn one_has_it_until_its_last_descriptor_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        assert_eq!(locks.directory(), place.path().join("run/outrigger/lock"));
        let lock = taken(|| locks.try_lock("devices", "a", "pod default/one").unwrap());
        let kept = lock.descriptor();
        drop(lock);
        assert_eq!(locks.holders("devices", |_| false)["a"].text, "pod default/one");
        assert!(locks.holders("devices", |name| name == "a").is_empty(), "the caller's own");
        let Attempt::Held(holder) = locks.try_lock("devices", "a", "pod default/two").unwrap() else {
            panic!("given twice")
        };
        assert_eq!(holder.text, "pod default/one");
        assert_eq!(holder.pid, Some(std::process::id().cast_signed()));
        assert_eq!(holder.uid, Some(rustix::process::geteuid().as_raw()));
        taken(|| locks.try_lock("devices", "b", "another").unwrap());
        drop(kept);
        wait_until(|| is_free(&locks));
        taken(|| locks.try_lock("devices", "a", "pod default/two").unwrap());
    }

    const LASTS: Wish<'static> = Wish { text: "a pod", shared: false, lasts: true };

    /// Waits until nobody holds the one that lasts.
    fn until_left(locks: &Locks) {
        wait_until(|| locks.left("devices", |_| false).contains_key("a"));
    }

    /// For a lock that counts whoever holds it.
    fn try_lasting(locks: &Locks) -> Attempt {
        locks.try_lock_against("devices", "a", LASTS, |_| true).unwrap()
    }

    #[test]
    fn one_that_lasts_stays_until_it_is_given_back() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        let file = locks.directory().join("devices/a");
        // Nobody has the one that everybody can open, and somebody may have it open.
        taken(|| locks.try_lock("devices", "a", "a pod").unwrap());
        wait_until(|| is_free(&locks));
        let opened = File::open(&file).unwrap();
        let lock = taken(|| try_lasting(&locks));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        flock(&opened, FlockOperation::NonBlockingLockExclusive).unwrap();
        let holders = locks.holders("devices", |_| false);
        assert!(holders["a"].is_lasting && holders["a"].text == "a pod" && locks.left("devices", |_| false).is_empty());
        locks.forget("devices", "a");
        drop(lock);
        until_left(&locks);
        let left = locks.left("devices", |_| false);
        assert!(left["a"].is_lasting && left["a"].text == "a pod", "{left:?}");
        assert!(locks.holders("devices", |_| false).is_empty() && locks.left("devices", |_| true).is_empty());
        let again = taken(|| try_lasting(&locks));
        locks.give_back("devices", "a", again);
        assert!(!file.exists());
        drop(taken(|| try_lasting(&locks)));
        until_left(&locks);
        locks.forget("devices", "a");
        assert!(!file.exists());
        drop(taken(|| try_lasting(&locks)));
        until_left(&locks);
        taken(|| locks.try_lock("devices", "a", "a run").unwrap());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644, "as it was asked for last");
    }

    /// A lock that does not count is replaced while somebody who may have it comes to it: both must not have it. Tried with a
    /// file that is only moved away and back.
    #[test]
    fn a_rightful_holder_that_comes_in_the_last_moment_keeps_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        drop(taken(|| locks.try_lock("devices", "a", "us").unwrap()));
        wait_until(|| is_free(&locks));
        let path = locks.directory().join("devices/a");
        let file = file_id(&path).unwrap();
        let rightful = std::cell::RefCell::new(None);
        let is_free = lasting::exchange(&path, file, |_| {
            // It had opened the old file before; whoever comes now, gets nothing.
            let old = fs::read_dir(path.parent().unwrap()).unwrap().flatten().find(|entry| entry.file_name() != *"a");
            let old = File::open(old.unwrap().path()).unwrap();
            flock(&old, FlockOperation::NonBlockingLockExclusive).unwrap();
            rightful.replace(Some(old));
            assert!(matches!(locks.try_lock("devices", "a", "a third").unwrap(), Attempt::Held(_)));
            true
        });
        assert!(!is_free && file_id(&path) == Some(file));
        assert!(matches!(locks.try_lock("devices", "a", "a third").unwrap(), Attempt::Held(_)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(lasting::exchange(&path.with_file_name("b"), file, |_| false), "it was given back meanwhile");
    }

    #[test]
    fn directories_are_open_to_everybody_and_files_are_not() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        taken(|| locks.try_lock("devices", "a", "me").unwrap());
        let mode = |path: &str| fs::metadata(locks.directory().join(path)).unwrap().mode() & 0o7777;
        assert_eq!([mode(""), mode("devices"), mode("devices/a")], [0o1777, 0o1777, 0o644]);
    }

    /// A kubelet makes a `hostPath` of type `DirectoryOrCreate` with mode 0755 (`pkg/volume/hostpath`, 1.36).
    #[test]
    fn a_directory_with_another_mode_is_opened_to_everybody_by_root_alone() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("run/outrigger/lock");
        fs::create_dir_all(&directory).unwrap();
        Locks::of_machine(place.path()).unwrap();
        let is_root = rustix::process::geteuid().as_raw() == 0;
        let mode = fs::metadata(directory).unwrap().mode() & 0o7777;
        assert_eq!(mode == 0o1777, is_root, "{mode:o}");
    }

    #[test]
    fn a_second_place_serves_where_the_first_cannot_be_made() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("run"), "no directory").unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        assert_eq!(locks.directory(), place.path().join("dev/shm/outrigger-lock"));
        fs::write(place.path().join("dev/shm/outrigger-lock/devices"), "no directory").unwrap();
        let error = locks.try_lock("devices", "a", "me").unwrap_err();
        assert!(error.path.ends_with("devices"), "{error}");
    }

    /// Whoever looks shares the file for a moment; a refusal because of that would end a pod for good.
    #[test]
    fn a_look_at_who_holds_a_lock_keeps_nobody_from_it() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        taken(|| locks.try_lock("devices", "a", "me").unwrap());
        wait_until(|| is_free(&locks));
        let look = File::open(locks.directory().join("devices/a")).unwrap();
        flock(&look, FlockOperation::NonBlockingLockShared).unwrap();
        let alone = Wish { text: "me", shared: false, lasts: false };
        let attempt = locks.try_lock_beside("devices", "a", alone, || false).unwrap();
        assert!(matches!(attempt, Attempt::Held(_)), "whoever shares it for long has it");
        let mut look = Some(look);
        taken(|| locks.try_lock_beside("devices", "a", alone, || look.take().is_some()).unwrap());
    }

    #[test]
    fn several_share_a_lock_and_keep_away_whoever_wants_it_alone() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        let held = |attempt: Attempt| matches!(attempt, Attempt::Held(_));
        let both = ["one", "two"].map(|who| taken(|| locks.try_share("devices", "a", who).unwrap()));
        let Attempt::Held(holder) = locks.try_lock("devices", "a", "three").unwrap() else { panic!("given beside") };
        assert_eq!(holder.text, "two");
        drop(both);
        wait_until(|| matches!(locks.try_lock("devices", "a", "three").unwrap(), Attempt::Locked(_)));
        wait_until(|| is_free(&locks));
        let alone = taken(|| locks.try_lock("devices", "a", "three").unwrap());
        assert!(held(locks.try_share("devices", "a", "four").unwrap()));
        drop(alone);
        wait_until(|| is_free(&locks));
        taken(|| locks.try_share("devices", "a", "four").unwrap());
    }

    /// Everybody may make something there. Tried with a pipe that is opened: nothing is heard any more.
    #[test]
    fn what_is_no_file_is_neither_followed_nor_waited_for_and_whoever_may_puts_a_lock_in_its_place() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        let path = locks.directory().join("devices/a");
        shared_directory(path.parent().unwrap()).unwrap();
        let makes: [fn(&Path); 4] = [
            |path| std::os::unix::fs::symlink("/etc/hostname", path).unwrap(),
            |path| rustix::fs::mknodat(CWD, path, FileType::Fifo, 0o666.into(), 0).unwrap(),
            |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            |path| fs::create_dir(path).unwrap(),
        ];
        for (number, make) in makes.into_iter().enumerate() {
            make(&path);
            let (locks, (tell, told)) = (locks.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || {
                let looked = locks.holders("devices", |_| false).len() + locks.left("devices", |_| false).len();
                let _ = tell.send((looked, taken(|| locks.try_lock("devices", "a", "me").unwrap())));
            });
            let (looked, _lock) = told.recv_timeout(Duration::from_secs(20)).expect("it is waited for");
            assert_eq!((looked, path.symlink_metadata().unwrap().is_file()), (0, true), "{number}");
            fs::remove_file(&path).unwrap();
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "{number}");
        }
    }

    #[test]
    fn a_lock_counts_only_where_somebody_holds_it_who_may() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::of_machine(place.path()).unwrap();
        let theirs = taken(|| locks.try_lock("devices", "a", "them").unwrap());
        let against = |may: bool| locks.try_lock_against("devices", "a", LASTS, |_| may).unwrap();
        assert!(matches!(against(true), Attempt::Held(_)));
        let Some(users) = locks.users("devices", ["a"]) else {
            assert!(matches!(against(false), Attempt::Held(_)), "nobody can tell whose it is");
            return;
        };
        assert!(!users["a"].is_empty(), "this process");
        wait_until(|| locks.users("devices", ["a"]).is_some_and(|users| users["a"].len() == 1));
        let ours = taken(|| against(false));
        drop(theirs);
        assert!(matches!(locks.try_lock("devices", "a", "others").unwrap(), Attempt::Held(_)));
        assert_eq!(fs::read_dir(locks.directory().join("devices")).unwrap().count(), 1);
        drop(ours);
    }

    #[test]
    fn the_locking_process_is_read_from_the_kernels_list() {
        let list = "1: POSIX  ADVISORY  WRITE 11 00:1a:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 00:1a:78 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 13 00:1a:78 0 EOF\n3: FLOCK  ADVISORY  READ 14 00:1a:79 0 EOF\nodd\n";
        assert_eq!(Held::listed(list), BTreeMap::from([(78, 12)]));
    }
}
