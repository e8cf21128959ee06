//! A pod's volumes on this machine: laid out before its first container, mounted by name, taken down after its last.
//!
//! | volume | stands in |
//! |---|---|
//! | `emptyDir` | `volumes/NAME`; with `medium: Memory` the launcher's memory, else the same |
//! | `configMap`, `downwardAPI`, `projected` without secrets | `volumes/NAME`, as a kubelet's atomic writer lays it out |
//! | `secret`, `projected` with secrets | the launcher's memory, else `secrets/NAME`, which goes with the pod |
//! | `hostPath` | where it says |
//! | `persistentVolumeClaim` | the directory that the caller gives for the claim |
//!
//! What it does not do: it mounts nothing (launchers do), and it reads no `ConfigMap` or Secret (`pod-core` does).

mod atomic;
mod host_path;
mod layout;
mod mounts;
mod owner;
mod sub_path;
mod usage;

pub use layout::{Given, Volumes, in_memory, remove};
pub use usage::Limited;

use std::io;
use std::path::PathBuf;

use outrigger_pod_core::env::ConfigError;

use crate::{DirectoryError, NameError};

/// Why a volume is not there.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Its name cannot be part of a path.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its directory cannot be made or removed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A `hostPath` is not what its type says; the text is the kubelet's.
    #[error("MountVolume.SetUp failed for volume {volume:?}: {why}")]
    HostPath {
        /// The volume.
        volume: String,
        /// What it is not.
        why: String,
    },
    /// No directory was given for a claim.
    #[error("volume {volume:?} needs a directory for the claim {claim:?}; give one with --volume {claim}=DIR")]
    NoClaimDirectory {
        /// The volume.
        volume: String,
        /// `persistentVolumeClaim.claimName`.
        claim: String,
    },
    /// What it is to hold cannot be had.
    #[error("MountVolume.SetUp failed for volume {volume:?}")]
    Contents {
        /// The volume.
        volume: String,
        /// Which `ConfigMap`, Secret or key is missing.
        #[source]
        source: ConfigError,
    },
    /// This build has no such volume.
    #[error("volume {volume:?} is of a kind that this build does not know")]
    Unknown {
        /// The volume.
        volume: String,
    },
    /// A file of it cannot be written.
    #[error("MountVolume.SetUp failed for volume {volume:?}: cannot write {}", .path.display())]
    Write {
        /// The volume.
        volume: String,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}
