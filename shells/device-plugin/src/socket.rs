//! Our sockets: their names, how they are made, whether they are still ours, and what dead predecessors left.
//!
//! A socket is made under a name that nobody dials, `.NAME`, and renamed when it listens. So a file with a final name that
//! refuses connections has no living owner, and may be removed; renaming replaces nothing.
//!
//! What it does not do: it answers no connection.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::resource::{ResourceName, SocketName};

/// The alphabet of base32hex in lower case: the order of its texts is the order of the numbers.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Which instance serves: the time of its start in milliseconds, or one more than the greatest that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instance(u64);

/// What the path of a file meant when it was looked at. A file that is removed and made anew is another one, also where the
/// file system gives the same inode number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

/// A socket that we made, and its file.
#[derive(Debug)]
pub(crate) struct OwnSocket {
    path: PathBuf,
    id: FileId,
    /// The file name.
    pub(crate) name: String,
    /// `None` for a fixed name.
    pub(crate) instance: Option<Instance>,
}

/// Who serves a socket.
#[derive(Debug)]
pub(crate) enum Served {
    /// Somebody does: the connection ends when they do.
    By(UnixStream),
    /// Somebody may: the system does not say that nobody does.
    Perhaps,
    /// There is a socket and nobody serves it.
    ByNobody,
    /// There is no such file.
    Gone,
}

/// Why a socket was not made.
#[derive(Debug, Error)]
pub(crate) enum BindError {
    /// Another process serves the fixed name.
    #[error("another process serves {}; this one waits until it has ended", .path.display())]
    InUse { path: PathBuf },
    /// Something that is no socket has the name.
    #[error("{} is in the way: it is no socket; remove it", .path.display())]
    NoSocket { path: PathBuf },
    /// The directory is missing, or not ours to write to.
    #[error("cannot make the socket {}", .path.display())]
    Make { path: PathBuf, source: io::Error },
}

impl FileId {
    /// What the path means now; links are not followed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok() })
    }
}

impl Instance {
    /// An instance that is newer than every socket of this resource in the directory, and than `last`.
    pub(crate) fn next(directory: &Path, resource: &ResourceName, last: Option<Self>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(0);
        let present = derived(directory, resource).into_iter().map(|(instance, _)| instance);
        let greatest = present.chain(last).max().map_or(0, |instance| instance.0 + 1);
        Self(now.max(greatest))
    }
}

/// `or-<hash>-`, with which all derived names of a resource begin.
fn prefix(resource: &ResourceName) -> String {
    // FNV-1a: the same in every release, and nobody gains by a collision, since the resource is checked by the kubelet.
    let hash = resource
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("or-{}-", digits(hash, 8))
}

fn derived_name(resource: &ResourceName, instance: Instance) -> String {
    format!("{}{}.sock", prefix(resource), digits(instance.0, 9))
}

/// The longest name that is derived from a resource; all are equally long.
pub(crate) fn longest_derived(resource: &ResourceName) -> String {
    derived_name(resource, Instance(0))
}

/// The name of a socket that does not listen yet.
pub(crate) fn unready(name: &str) -> String {
    format!(".{name}")
}

/// The last `count` digits of a number.
fn digits(number: u64, count: u32) -> String {
    let digit = |place: u32| char::from(DIGITS[usize::try_from(number >> (5 * place) & 31).unwrap_or(0)]);
    (0..count).rev().map(digit).collect()
}

/// The sockets of all instances of a resource, whoever made them.
pub(crate) fn derived(directory: &Path, resource: &ResourceName) -> Vec<(Instance, PathBuf)> {
    named(directory, |name| instance(resource, name))
}

/// Those that did not listen yet when they were last seen.
fn unready_ones(directory: &Path, resource: &ResourceName) -> Vec<(Instance, PathBuf)> {
    named(directory, |name| instance(resource, name.strip_prefix('.')?))
}

fn named(directory: &Path, instance: impl Fn(&str) -> Option<Instance>) -> Vec<(Instance, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((instance(entry.file_name().to_str()?)?, entry.path()))).collect()
}

/// Which instance of a resource has a socket of this name.
fn instance(resource: &ResourceName, name: &str) -> Option<Instance> {
    let text = name.strip_prefix(&prefix(resource))?.strip_suffix(".sock")?;
    let number = text.bytes().try_fold(0_u64, |number, byte| {
        let digit = DIGITS.iter().position(|&digit| digit == byte)?;
        Some(number << 5 | u64::try_from(digit).ok()?)
    });
    (text.len() == 9).then_some(Instance(number?))
}

/// Who serves the socket at a path.
pub(crate) async fn served(path: &Path) -> Served {
    match UnixStream::connect(path).await {
        Ok(connection) => Served::By(connection),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Served::ByNobody,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Served::Gone,
        Err(_) => Served::Perhaps,
    }
}

/// Makes the socket of a resource, and removes those that dead predecessors left.
pub(crate) async fn bind(
    directory: &Path,
    resource: &ResourceName,
    socket: &SocketName,
    last: Option<Instance>,
) -> Result<(UnixListener, OwnSocket), BindError> {
    let (name, instance) = match socket {
        SocketName::Derived => {
            // One that is bound and does not listen yet looks dead too; whoever just makes it tries again a millisecond later.
            for (_, path) in derived(directory, resource).into_iter().chain(unready_ones(directory, resource)) {
                remove_if_dead(&path).await;
            }
            let instance = Instance::next(directory, resource, last);
            (derived_name(resource, instance), Some(instance))
        }
        SocketName::Fixed(name) => (name.clone(), None),
    };
    let path = directory.join(&name);
    vacate(&path).await?;
    let unready = directory.join(unready(&name));
    let listener = listen(&unready, &path);
    let (listener, id) = listener.map_err(|source| {
        drop(fs::remove_file(&unready));
        if source.kind() == io::ErrorKind::AlreadyExists {
            BindError::InUse { path: path.clone() }
        } else {
            BindError::Make { path: path.clone(), source }
        }
    })?;
    Ok((listener, OwnSocket { path, id, name, instance }))
}

/// Listens under one name and takes the other, unless somebody has it.
fn listen(unready: &Path, path: &Path) -> io::Result<(UnixListener, FileId)> {
    if fs::symlink_metadata(unready).is_ok() {
        fs::remove_file(unready)?; // Of a predecessor that died in this very moment; nobody dials it.
    }
    let listener = UnixListener::bind(unready)?;
    fs::set_permissions(unready, fs::Permissions::from_mode(0o600))?;
    renameat_with(CWD, unready, CWD, path, RenameFlags::NOREPLACE)?;
    Ok((listener, FileId::of(path)?))
}

/// Sees to it that a name is free.
async fn vacate(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;

    match fs::symlink_metadata(path) {
        Err(_) => Ok(()), // Free, or the next step says what is wrong with the directory.
        Ok(metadata) if !metadata.file_type().is_socket() => Err(BindError::NoSocket { path: path.to_owned() }),
        Ok(_) if remove_if_dead(path).await => Ok(()),
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
    }
}

/// Removes a socket that provably nobody serves; tells whether the name is free now.
async fn remove_if_dead(path: &Path) -> bool {
    let Ok(id) = FileId::of(path) else { return true };
    match served(path).await {
        Served::Gone => return true,
        Served::ByNobody => (),
        Served::By(_) | Served::Perhaps => return false,
    }
    let shown = path.display();
    match remove(path, id) {
        Ok(()) => {
            info!(socket = %shown, "Removed {shown}, which a dead process left");
            true
        }
        Err(error) => {
            warn!(socket = %shown, "Cannot remove {shown}, which a dead process left: {error}");
            false
        }
    }
}

/// Removes a file if it is still the one that was looked at.
fn remove(path: &Path, id: FileId) -> io::Result<()> {
    if FileId::of(path)? != id {
        return Err(io::Error::other("it has been replaced meanwhile"));
    }
    fs::remove_file(path)
}

impl OwnSocket {
    /// Whether the path still leads to our listener. A bound socket keeps its inode, so no other file can have it.
    pub(crate) fn is_there(&self) -> bool {
        FileId::of(&self.path).is_ok_and(|id| id == self.id)
    }

    /// Removes the file, if it is still ours.
    pub(crate) fn remove(&self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            warn!(socket = %path, "Cannot remove our own socket {path}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;

    fn resource() -> ResourceName {
        ResourceName::new("kubedev.org/sata").unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_26_bytes_and_in_the_order_of_their_instances() {
        let name = |number| derived_name(&resource(), Instance(number));
        assert_eq!(name(0).len(), 26);
        assert_eq!(name((1 << 45) - 1).get(12..), Some("vvvvvvvvv.sock"));
        let ordered = [0, 9, 10, 31, 32, 1_792_345_678_901, 1_792_345_678_902].map(name);
        assert!(ordered.is_sorted(), "{ordered:?}");
        let other = ResourceName::new("kubedev.org/satb").unwrap();
        assert_ne!(prefix(&resource()), prefix(&other));
    }

    /// The name is a promise to other releases: an older instance finds a newer one by it.
    #[test]
    fn the_name_of_a_resource_stays_the_same() {
        assert_eq!(derived_name(&resource(), Instance(1_792_345_678_901)), "or-uotlqb4f-1k582191l.sock");
    }

    #[tokio::test]
    async fn g12_the_socket_of_a_dead_predecessor_is_removed_and_a_living_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number| directory.path().join(derived_name(&resource(), Instance(number)));
        drop(StdListener::bind(path(5)).unwrap());
        let unready_one = directory.path().join(unready(&derived_name(&resource(), Instance(4))));
        drop(StdListener::bind(&unready_one).unwrap());
        let _living = StdListener::bind(path(6)).unwrap();
        let other = directory.path().join("or-00000000-000000005.sock");
        drop(StdListener::bind(&other).unwrap());

        let (_listener, own) = bind(directory.path(), &resource(), &SocketName::Derived, None).await.unwrap();
        assert!(!unready_one.exists(), "killed between bind and rename: {:?}", names(directory.path()));
        assert!(!path(5).exists() && path(6).exists() && other.exists(), "{:?}", names(directory.path()));
        assert!(own.is_there());
        own.remove();
        assert!(!own.is_there() && path(6).exists());
    }

    #[tokio::test]
    async fn an_instance_is_newer_than_those_that_are_there_whatever_the_clock_says() {
        let directory = tempfile::tempdir().unwrap();
        let future = Instance(1 << 44);
        let _living = StdListener::bind(directory.path().join(derived_name(&resource(), future))).unwrap();
        let (_listener, own) = bind(directory.path(), &resource(), &SocketName::Derived, None).await.unwrap();
        assert_eq!(own.instance, Some(Instance((1 << 44) + 1)));
    }

    #[tokio::test]
    async fn k13_a_fixed_socket_that_another_process_serves_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let fixed = SocketName::Fixed("sata.sock".into());
        let living = StdListener::bind(directory.path().join("sata.sock")).unwrap();
        let refused = bind(directory.path(), &resource(), &fixed, None).await.map(|_| ());
        assert!(matches!(refused, Err(BindError::InUse { .. })), "{refused:?}");
        assert_eq!(names(directory.path()), ["sata.sock"]);
        drop(living);
        let (_listener, own) = bind(directory.path(), &resource(), &fixed, None).await.unwrap();
        assert!(own.is_there());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sata.sock")).unwrap();
        let fixed = SocketName::Fixed("sata.sock".into());
        let refused = bind(directory.path(), &resource(), &fixed, None).await.map(|_| ());
        assert!(matches!(refused, Err(BindError::NoSocket { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_socket_that_was_replaced_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let (_listener, own) = bind(directory.path(), &resource(), &SocketName::Derived, None).await.unwrap();
        fs::remove_file(&own.path).unwrap();
        let _other = StdListener::bind(&own.path).unwrap();
        assert!(!own.is_there());
        own.remove();
        assert!(own.path.exists());
    }
}
