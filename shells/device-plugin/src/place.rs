//! Where sockets lie, as we see it and as the kubelet sees it.
//!
//! The two differ inside a container: there the directory may be mounted anywhere, while the kubelet joins *its own* path of
//! the directory with the name that we register. A socket's path has at most 107 bytes, on both sides.
//!
//! What it does not do: it looks at no file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_kubelet_api::{KUBELET_SOCKET, MAX_SOCKET_PATH};
use thiserror::Error;

use crate::resource::{Resource, ResourceName, SocketName};
use crate::socket;

/// Where a kubelet looks for device plugins unless told otherwise.
pub const KUBELET_DIRECTORY: &str = "/var/lib/kubelet/device-plugins";

/// How often is looked at what nothing tells about.
const AUDIT: Duration = Duration::from_secs(30);

/// Where a kubelet is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The kubelet's device-plugins directory, as this process sees it.
    pub directory: PathBuf,
    /// The same directory, as the kubelet sees it.
    pub kubelet_directory: PathBuf,
    /// The kubelet's pod-resources directory, where it is there; with it an audit sees whether the kubelet has lost us.
    pub pod_resources: Option<PathBuf>,
    /// How often an audit looks at sockets and streams. 30 s unless told otherwise.
    pub audit: Duration,
}

/// Why a resource cannot be served at a place. Nothing but its configuration can mend it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The kubelet could not dial the socket.
    #[error(
        "the socket of {resource} would have a path of {bytes} bytes in the kubelet's directory, and {MAX_SOCKET_PATH} are the most: {}",
        .path.display()
    )]
    PathTooLong {
        /// The resource.
        resource: ResourceName,
        /// The path, as the kubelet sees it.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// We could not make the socket.
    #[error(
        "the socket of {resource} would be made at a path of {bytes} bytes, and {MAX_SOCKET_PATH} are the most: {}; mount the directory at a shorter path",
        .path.display()
    )]
    OwnPathTooLong {
        /// The resource.
        resource: ResourceName,
        /// The path, as we see it.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A fixed socket name is no plain file name.
    #[error("\"{socket}\", the socket of {resource}, is no plain file name")]
    NoFileName {
        /// The resource.
        resource: ResourceName,
        /// The name.
        socket: String,
    },
    /// A fixed socket name is the kubelet's own.
    #[error("\"{KUBELET_SOCKET}\", the socket of {resource}, is the kubelet's own")]
    KubeletsOwn {
        /// The resource.
        resource: ResourceName,
    },
    /// Two resources have one fixed socket name.
    #[error("\"{socket}\", the socket of {resource}, is the socket of {other} too")]
    Shared {
        /// The resource.
        resource: ResourceName,
        /// The name.
        socket: String,
        /// Who has it already.
        other: ResourceName,
    },
}

impl Place {
    /// A directory that the kubelet sees at the same path.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self { kubelet_directory: directory.clone(), directory, pod_resources: None, audit: AUDIT }
    }

    /// Whether a resource's socket can be made and dialed here.
    pub fn check(&self, name: &ResourceName, socket: &SocketName) -> Result<(), Unfit> {
        let resource = || name.clone();
        let file = match socket {
            SocketName::Derived => socket::longest_derived(name),
            SocketName::Fixed(file) => file.clone(),
        };
        if file == KUBELET_SOCKET {
            return Err(Unfit::KubeletsOwn { resource: resource() });
        }
        if file.is_empty() || file.contains(['/', '\0']) || file == "." || file == ".." {
            return Err(Unfit::NoFileName { resource: resource(), socket: file });
        }
        let (path, bytes) = joined(&self.kubelet_directory, &file);
        if bytes > MAX_SOCKET_PATH {
            return Err(Unfit::PathTooLong { resource: resource(), path, bytes });
        }
        let (path, bytes) = joined(&self.directory, &socket::unready(&file));
        if bytes > MAX_SOCKET_PATH {
            return Err(Unfit::OwnPathTooLong { resource: resource(), path, bytes });
        }
        Ok(())
    }

    /// Whether `resource` can be served here beside `others`.
    pub(crate) fn check_beside<'a>(
        &self,
        resource: &Resource,
        mut others: impl Iterator<Item = &'a Resource>,
    ) -> Result<(), Unfit> {
        self.check(&resource.name, &resource.socket)?;
        let SocketName::Fixed(socket) = &resource.socket else { return Ok(()) };
        match others.find(|other| other.name != resource.name && other.socket == resource.socket) {
            Some(other) => {
                let (resource, socket, other) = (resource.name.clone(), socket.clone(), other.name.clone());
                Err(Unfit::Shared { resource, socket, other })
            }
            None => Ok(()),
        }
    }

    /// The kubelet's socket.
    pub(crate) fn kubelet_socket(&self) -> PathBuf {
        self.directory.join(KUBELET_SOCKET)
    }
}

fn joined(directory: &Path, file: &str) -> (PathBuf, usize) {
    let path = directory.join(file);
    let bytes = path.as_os_str().len();
    (path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROK8S: &str = "/var/snap/microk8s/common/var/lib/kubelet/device-plugins";

    fn check(place: &Place, resource: &str, socket: &SocketName) -> Result<(), Unfit> {
        place.check(&ResourceName::new(resource).unwrap(), socket)
    }

    #[test]
    fn g07_a_long_resource_name_has_a_short_socket_name() {
        let place = Place::new(MICROK8S);
        let name = format!("{}.io/{}", "v".repeat(60), "n".repeat(63));
        assert_eq!(check(&place, &name, &SocketName::Derived), Ok(()));
    }

    /// The path inside our container says nothing about the path that the kubelet dials.
    #[test]
    fn a_fixed_name_is_measured_in_the_kubelets_directory() {
        let mut place = Place::new("/p");
        place.kubelet_directory = MICROK8S.into();
        let fits = format!("{}.sock", "x".repeat(107 - MICROK8S.len() - 1 - 5));
        assert_eq!(check(&place, "v.io/d", &SocketName::Fixed(fits.clone())), Ok(()));
        let refused = check(&place, "v.io/d", &SocketName::Fixed(format!("x{fits}")));
        assert!(matches!(&refused, Err(Unfit::PathTooLong { bytes: 108, .. })), "{refused:?}");
        assert!(refused.unwrap_err().to_string().contains(MICROK8S));
    }

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        let place = Place::new(KUBELET_DIRECTORY);
        for name in ["", ".", "..", "a/b.sock"] {
            let refused = check(&place, "v.io/d", &SocketName::Fixed(name.into()));
            assert!(matches!(refused, Err(Unfit::NoFileName { .. })), "{name}: {refused:?}");
        }
        let refused = check(&place, "v.io/d", &SocketName::Fixed(KUBELET_SOCKET.into()));
        assert!(matches!(refused, Err(Unfit::KubeletsOwn { .. })), "{refused:?}");
    }
}
