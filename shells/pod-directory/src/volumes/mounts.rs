//! Which volumes appear where in a container (`pkg/kubelet/kubelet_pods.go`, `makeMounts`).

use std::path::{Component, Path, PathBuf};

use outrigger_launcher::Mount;
use outrigger_pod_core::plan::ContainerPlan;

use super::layout::Volumes;
use super::sub_path;

impl Volumes {
    /// The mounts of a container, parents first. `expand` answers `subPathExpr` with the container's environment.
    pub fn mounts(
        &self,
        container: &ContainerPlan,
        expand: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for mount in &container.mounts {
            let place = self.places.get(&mount.name).ok_or_else(|| {
                format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name.0)
            })?;
            let below = match (&mount.sub_path_expr, &mount.sub_path) {
                (Some(expression), _) if !expression.is_empty() => Some(expand(expression)?),
                (_, below) => below.clone().filter(|below| !below.is_empty()),
            };
            let sub_path = below.map(|below| sub_path::prepare(&place.path, &below)).transpose()?;
            mounts.push(Mount {
                source: place.source.clone(),
                sub_path,
                target: absolute(&mount.mount_path),
                read_only: place.read_only || mount.read_only.unwrap_or_default(),
                propagation: mount.mount_propagation.clone(),
            });
        }
        mounts.sort_by_key(|mount| mount.target.components().count());
        Ok(mounts)
    }
}

/// The path from the root on, without `.` and repeated slashes. (`..` is refused when the manifest is checked.)
fn absolute(path: &str) -> PathBuf {
    let parts = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    Path::new("/").join(parts.collect::<PathBuf>())
}
