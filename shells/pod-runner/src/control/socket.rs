//! Where a pod's control socket is: made with mode 0600 from its first moment, and reached whatever the length of its path.
//!
//! A unix address holds 107 bytes. So the directory is opened first and the socket is named through
//! `/proc/self/fd/N/control.sock`. Where the file system refuses sockets it is made in a fresh directory under `/tmp`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tracing::info;

/// The socket's name in its directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Connections that wait for the server. A client that finds the queue full waits.
const BACKLOG: i32 = 64;

/// A bound control socket. Dropping it removes its file.
#[derive(Debug)]
pub struct Bound {
    listener: Option<UnixListener>,
    path: PathBuf,
    /// The directory under `/tmp` that was made for it.
    made: Option<PathBuf>,
}

/// Why a control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The pod's directory refused, and not because its file system has no sockets.
    #[error("the control socket {} cannot be made", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No directory for it could be made under `/tmp`.
    #[error("the file system of {} has no sockets, and no directory for one can be made under /tmp", path.display())]
    Fallback {
        /// The pod's directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Makes the control socket of the pod in `directory`. Must be called within a tokio runtime.
///
/// Where it really is, is [`Bound::path`]; the runner writes that to the status file.
pub fn bind(directory: &Path) -> Result<Bound, BindError> {
    let path = directory.join(SOCKET_NAME);
    match listen(directory) {
        Ok(listener) => Ok(Bound { listener: Some(listener), path, made: None }),
        Err(source) if refuses_sockets(&source) => {
            let made =
                fresh_directory().map_err(|source| BindError::Fallback { path: directory.to_owned(), source })?;
            let path = made.join(SOCKET_NAME);
            info!(
                "The file system of {} has no sockets; the control socket is {}",
                directory.display(),
                path.display()
            );
            match listen(&made) {
                Ok(listener) => Ok(Bound { listener: Some(listener), path, made: Some(made) }),
                Err(source) => {
                    let _ = fs::remove_dir(&made); // The bind's error is what matters.
                    Err(BindError::Bind { path, source })
                }
            }
        }
        Err(source) => Err(BindError::Bind { path, source }),
    }
}

impl Bound {
    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listener for [`super::serve`]; the file stays until this value is dropped. `None` when it was taken before.
    pub fn take_listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Both may be gone already with the pod's directory.
        let _ = fs::remove_file(&self.path);
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made);
        }
    }
}

/// Connects to the socket at `path`.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let directory = open_directory(parent)?;
    let stream = UnixStream::connect(through(&directory).join(name)).await?;
    let peer = stream.peer_cred()?.uid();
    if may_speak(peer) {
        Ok(stream)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("the socket belongs to a process of user {peer}")))
    }
}

/// Whether a peer of this user id may speak to us: the same user, or root.
pub(super) fn may_speak(peer: u32) -> bool {
    peer == 0 || peer == rustix::process::geteuid().as_raw()
}

fn listen(directory: &Path) -> io::Result<UnixListener> {
    let directory = open_directory(directory)?;
    let path = through(&directory).join(SOCKET_NAME);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file that bind makes takes its mode from the socket's own inode, so it is never wider than this (unix(7)).
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let address = SocketAddrUnix::new(&path)?;
    match rustix::net::bind(&socket, &address) {
        // Left by a runner that was killed; the caller holds the directory's lock.
        Err(Errno::ADDRINUSE) => {
            fs::remove_file(&path)?;
            rustix::net::bind(&socket, &address)?;
        }
        bound => bound?,
    }
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(StdListener::from(socket))
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn through(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// What file systems answer that have no sockets (some FUSE and network file systems, vfat).
fn refuses_sockets(error: &io::Error) -> bool {
    let refusals = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::IO];
    Errno::from_io_error(error).is_some_and(|errno| refusals.contains(&errno))
}

/// A new directory under `/tmp` that only this user can enter. A name that exists already is never used.
fn fresh_directory() -> io::Result<PathBuf> {
    let base = u128::from(std::process::id()) << 64 | time_bits();
    for attempt in 0..100 {
        let path = PathBuf::from(format!("/tmp/outrigger-{:x}", base.wrapping_add(attempt)));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "a hundred names in a row are taken"))
}

/// Bits that differ from call to call, so that names rarely collide; `mkdir` settles the rest.
fn time_bits() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u128::from(now.tv_sec.unsigned_abs()) << 32 | u128::from(now.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_path_of_any_length_is_bound_private_and_reached() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d".repeat(200)).join("e".repeat(200));
        fs::create_dir_all(&directory).unwrap();
        let bound = bind(&directory).unwrap();
        assert_eq!(bound.path(), directory.join(SOCKET_NAME));
        assert_eq!(fs::metadata(bound.path()).unwrap().permissions().mode() & 0o777, 0o600);
        connect(bound.path()).await.unwrap();
        let path = bound.path().to_owned();
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_left_by_a_killed_runner_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let mut left = bind(root.path()).unwrap();
        drop(left.take_listener());
        let bound = bind(root.path()).unwrap();
        connect(bound.path()).await.unwrap();
    }

    #[test]
    fn a_fresh_directory_is_new_and_private() {
        let (one, two) = (fresh_directory().unwrap(), fresh_directory().unwrap());
        assert_ne!(one, two);
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(one).unwrap();
        fs::remove_dir(two).unwrap();
    }
}
