//! What is mounted in a container, as a list for its init: volumes, what claims bring, and the files of the pod.

use std::path::Path;

use outrigger_launcher::{Mount, MountSource, StartError, StartRequest};

use super::pod::{Pod, memory_directory};
use super::spec::refused;

use crate::agent::wire::{MountTask, View};

/// The container's view of the file system.
pub fn view(pod: &Pod, request: &StartRequest) -> Result<View, StartError> {
    let mut mounts = Vec::new();
    for mount in &request.mounts {
        mounts.push(volume(pod, mount)?);
    }
    for mount in &request.claim.mounts {
        let what = format!("{} of a claim", mount.host_path.display());
        mounts.push(plain(&what, &mount.host_path, &mount.container_path, mount.read_only)?);
    }
    for device in &request.claim.devices {
        let what = format!("device {}", device.host_path.display());
        mounts.push(plain(&what, &device.host_path, &device.container_path, false)?);
    }
    let is_mounted =
        |target: &Path, mounts: &[MountTask]| mounts.iter().any(|mount| Path::new(&mount.target) == target);
    for (name, target) in [("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")] {
        let source = pod.files().join(name);
        if source.exists() && Path::new(target).exists() && !is_mounted(Path::new(target), &mounts) {
            mounts.push(own(&format!("the pod's {target}"), &source, Path::new(target))?);
        }
    }
    let container = request.container();
    if let Some(target) = container.map(|container| Path::new(&container.message_path))
        && !is_mounted(target, &mounts)
    {
        mounts.push(own("the termination message", &request.message_file, target)?);
    }
    // Parents first, and in their given order where neither is the other's parent.
    mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
    Ok(View {
        mounts,
        staging: text(&pod.staging())?,
        read_only_root: container.is_some_and(|container| container.security.read_only_root),
        fresh_proc: pod.abilities.fresh_proc,
    })
}

/// Where no mount namespace can be had, a volume can only be where it is.
pub fn check_without_namespace(request: &StartRequest) -> Result<(), StartError> {
    let volumes = request.mounts.iter().map(|mount| match (&mount.source, &mount.sub_path) {
        (MountSource::Path(source), None) => (Some(source.as_path()), mount.target.as_path()),
        _ => (None, mount.target.as_path()),
    });
    let mounts =
        request.claim.mounts.iter().map(|mount| (Some(mount.host_path.as_path()), mount.container_path.as_path()));
    let devices =
        request.claim.devices.iter().map(|device| (Some(device.host_path.as_path()), device.container_path.as_path()));
    match volumes.chain(mounts).chain(devices).find(|(source, target)| *source != Some(*target)) {
        None => Ok(()),
        Some((_, target)) => Err(refused(format!(
            "nothing can be mounted at {}: this machine allows its users no mount namespace; run as root, allow user \
             namespaces, or use --launcher apptainer",
            target.display()
        ))),
    }
}

fn volume(pod: &Pod, mount: &Mount) -> Result<MountTask, StartError> {
    let (source, is_own) = match &mount.source {
        MountSource::Path(path) => (path.clone(), path.starts_with(&pod.directory)),
        MountSource::Memory(name) => (memory_directory(&pod.directory, name), true),
    };
    Ok(MountTask {
        what: format!("the volume for {}", mount.target.display()),
        source: text(&source)?,
        sub_path: mount.sub_path.as_deref().map(text).transpose()?,
        target: text(&mount.target)?,
        read_only: mount.read_only,
        follow_host: mount.propagation.as_deref().is_some_and(|propagation| propagation != "None"),
        own: is_own,
    })
}

fn plain(what: &str, source: &Path, target: &Path, read_only: bool) -> Result<MountTask, StartError> {
    let (source, target) = (text(source)?, text(target)?);
    Ok(MountTask { what: what.to_owned(), source, target, read_only, ..MountTask::default() })
}

fn own(what: &str, source: &Path, target: &Path) -> Result<MountTask, StartError> {
    Ok(MountTask { own: true, ..plain(what, source, target, false)? })
}

fn text(path: &Path) -> Result<String, StartError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| refused(format!("the path {} is not UTF-8, which mounts must be here", path.display())))
}
