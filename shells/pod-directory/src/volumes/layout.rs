//! Making every volume of a pod, and removing them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume};
use outrigger_launcher::{MemoryVolume, MountSource, PreparedPod};
use outrigger_pod_core::env::ConfigError;
use outrigger_pod_core::files::{Files, holds_secrets};
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_core::quantity::Quantity;

use super::{Limited, VolumeError, atomic, host_path, owner};
use crate::directory::{DirectoryError, RunDirectory, checked_part, make_directory, remove_path};

/// The volumes of a pod, laid out.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    pub(super) places: BTreeMap<String, Place>,
    limited: Vec<Limited>,
}

/// Where a volume is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What a launcher mounts.
    pub source: MountSource,
    /// Where this process reads and writes it.
    pub path: PathBuf,
    /// Whether every mount of it is read-only, whatever the manifest says.
    pub read_only: bool,
}

/// What volumes are laid out from.
pub struct Given<'a> {
    /// The pod.
    pub plan: &'a PodPlan,
    /// Its directory.
    pub directory: &'a RunDirectory,
    /// What the launcher made.
    pub prepared: &'a PreparedPod,
    /// Directories for persistent volume claims, by the claim's name.
    pub claim_directories: &'a BTreeMap<String, PathBuf>,
    /// The files of a volume that has contents; `None` for other kinds.
    pub contents: &'a dyn Fn(&Volume) -> Result<Option<Files>, ConfigError>,
    /// The time, for the names of directories.
    pub now: Timestamp,
}

impl Volumes {
    /// Lays out every volume. Repeating it lays the same out again and keeps what containers wrote.
    pub fn lay_out(given: &Given<'_>) -> Result<Self, VolumeError> {
        let mut volumes = Self::default();
        for volume in &given.plan.volumes {
            let place = volumes.lay_out_one(given, volume)?;
            volumes.places.insert(volume.name.clone(), place);
        }
        Ok(volumes)
    }

    /// The `emptyDir` volumes on disk that have a limit.
    pub fn limited(&self) -> Vec<Limited> {
        self.limited.clone()
    }

    fn lay_out_one(&mut self, given: &Given<'_>, volume: &Volume) -> Result<Place, VolumeError> {
        if let Some(empty) = &volume.empty_dir {
            return self.empty(given, volume, empty);
        }
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            let checked = host_path::check(&path, host.type_.as_deref().unwrap_or_default());
            checked.map_err(|why| VolumeError::HostPath { volume: volume.name.clone(), why })?;
            return Ok(Place { source: MountSource::Path(path.clone()), path, read_only: false });
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            let path = given.claim_directories.get(&claim.claim_name).cloned().ok_or_else(|| {
                VolumeError::NoClaimDirectory { volume: volume.name.clone(), claim: claim.claim_name.clone() }
            })?;
            let read_only = claim.read_only.unwrap_or_default();
            return Ok(Place { source: MountSource::Path(path.clone()), path, read_only });
        }
        let contents = (given.contents)(volume);
        match contents.map_err(|source| VolumeError::Contents { volume: volume.name.clone(), source })? {
            Some(files) => filled(given, volume, &files),
            None => Err(VolumeError::Unknown { volume: volume.name.clone() }),
        }
    }

    /// `pkg/volume/emptydir/empty_dir.go`, `setupDir`.
    fn empty(
        &mut self,
        given: &Given<'_>,
        volume: &Volume,
        empty: &EmptyDirVolumeSource,
    ) -> Result<Place, VolumeError> {
        let place = place(given, &volume.name, false)?;
        open_to_all(volume, &place.path)?;
        owner::give_to_group(&place.path, given.plan.fs_group, false);
        if let (MountSource::Path(path), Some((limit, written))) = (&place.source, limit(empty)) {
            self.limited.push(Limited { name: volume.name.clone(), path: path.clone(), limit, written });
        }
        Ok(place)
    }
}

/// A volume that holds files of ours. Nobody but us writes to it.
fn filled(given: &Given<'_>, volume: &Volume, files: &Files) -> Result<Place, VolumeError> {
    let place = place(given, &volume.name, holds_secrets(volume))?;
    open_to_all(volume, &place.path)?;
    let group = given.plan.fs_group;
    let written = atomic::write(&place.path, files, given.now, |new| owner::give_to_group(new, group, true));
    written.map_err(|(path, source)| VolumeError::Write { volume: volume.name.clone(), path, source })?;
    Ok(Place { read_only: true, ..place })
}

/// Where a volume of ours stands: in the launcher's memory where it is to be there and can be, else on disk.
fn place(given: &Given<'_>, name: &str, secret: bool) -> Result<Place, VolumeError> {
    checked_part("volume", name)?;
    if let Some(path) = given.prepared.memory_volumes.get(name) {
        return Ok(Place { source: MountSource::Memory(name.to_owned()), path: path.clone(), read_only: false });
    }
    let path = if secret { given.directory.secrets() } else { given.directory.volumes() }.join(name);
    make_directory(&path)?;
    Ok(Place { source: MountSource::Path(path.clone()), path, read_only: false })
}

/// A volume's own directory is open to all; what surrounds it is not.
fn open_to_all(volume: &Volume, path: &Path) -> Result<(), VolumeError> {
    let opened = fs::set_permissions(path, Permissions::from_mode(0o777));
    opened.map_err(|source| VolumeError::Write { volume: volume.name.clone(), path: path.to_owned(), source })
}

/// Whether the volume is to live in memory, and its limit.
pub fn in_memory(volume: &Volume) -> Option<MemoryVolume> {
    let memory = volume.empty_dir.as_ref().filter(|empty| empty.medium.as_deref() == Some("Memory"));
    if memory.is_none() && !holds_secrets(volume) {
        return None;
    }
    let size_limit = memory.and_then(limit).map(|(limit, _)| limit);
    Some(MemoryVolume { name: volume.name.clone(), size_limit })
}

/// `sizeLimit` in bytes and as written; zero is no limit (`eviction_manager.go`, `emptyDirLimitEviction`).
fn limit(empty: &EmptyDirVolumeSource) -> Option<(u64, String)> {
    let written = &empty.size_limit.as_ref()?.0;
    let bytes = u64::try_from(Quantity::parse(written).ok()?.value()).ok()?;
    (bytes > 0).then(|| (bytes, written.clone()))
}

/// Removes the volumes that stand in the pod's directory, those with secrets first.
pub fn remove(directory: &RunDirectory) -> Result<(), DirectoryError> {
    remove_path(&directory.secrets())?;
    remove_path(&directory.volumes())
}
