//! What is bound into a container, and how it gets there safely.
//!
//! Apptainer opens sources by their paths, follows links in them, and cannot make a mount point inside what it has bound.
//! So the agent outside mounts everything at paths of ours first, with the same care as under the host launcher
//! ([`outrigger_host_launcher::agent`]: `subPath` never leads out of its volume, mount points in volumes, read-only), and Apptainer binds
//! those. What lies in another mount is mounted in that one, and comes along.
//!
//! ```text
//!   volume a at /data, volume b at /data/sub      staged: .../0 (a), .../0/sub (b)      bound: .../0 at /data
//! ```

use std::path::{Path, PathBuf};

use outrigger_host_launcher::parts::{MountTask, View, refused};
use outrigger_launcher::StartError;

use crate::command::{AGENT, Bind};

/// What is mounted outside, what is bound, and which links are made inside.
#[derive(Debug, Default)]
pub struct Layout {
    /// For the agent outside; `None` where there is no mount namespace.
    pub view: Option<View>,
    /// For Apptainer.
    pub binds: Vec<Bind>,
    /// For the agent inside.
    pub links: Vec<(String, String)>,
}

/// Lays out the mounts of `view` (that of the host launcher) for Apptainer, below the empty directory `stage`.
pub fn staged(view: View, agent: &Path, stage: &Path) -> Layout {
    let mut layout = Layout::default();
    let mut mounts = vec![MountTask {
        source: agent.display().to_string(),
        target: stage.join("agent").display().to_string(),
        read_only: true,
        what: "the container's init".to_owned(),
        ..MountTask::default()
    }];
    layout.binds.push(Bind { source: mounts[0].target.clone(), target: AGENT.to_owned(), read_only: true });
    let mut tops: Vec<(PathBuf, PathBuf)> = Vec::new();
    for task in view.mounts {
        let target = PathBuf::from(&task.target);
        if is_device(&task) {
            layout.device(task);
            continue;
        }
        // The same path again too: what is mounted later lies on top there.
        let nested = tops.iter().find_map(|(top, place)| Some(place.join(target.strip_prefix(top).ok()?)));
        let place = nested.unwrap_or_else(|| {
            let place = stage.join(tops.len().to_string());
            layout.bind(&place, &target, task.read_only);
            tops.push((target, place.clone()));
            place
        });
        mounts.push(MountTask { target: place.display().to_string(), ..task });
    }
    layout.view = Some(View { mounts, read_only_root: false, ..view });
    layout
}

/// Where nothing can be mounted outside, Apptainer binds the sources themselves.
pub fn direct(view: View, agent: &Path) -> Result<Layout, StartError> {
    let mut layout = Layout::default();
    layout.binds.push(Bind { source: agent.display().to_string(), target: AGENT.to_owned(), read_only: true });
    for task in view.mounts {
        if is_device(&task) {
            layout.device(task);
            continue;
        }
        let MountTask { source, sub_path, target, read_only, what, .. } = task;
        if let Some(sub_path) = sub_path {
            return Err(refused(format!(
                "subPath {sub_path} of {what} cannot be used safely: this machine allows its users no mount namespace"
            )));
        }
        layout.bind(Path::new(&source), Path::new(&target), read_only);
    }
    Ok(layout)
}

/// Whether Apptainer has to be asked for it as a device.
fn is_device(task: &MountTask) -> bool {
    let is_below_dev = |path: &str| path.starts_with("/dev/") && !path.starts_with("/dev/shm");
    is_below_dev(&task.source) && is_below_dev(&task.target) && task.sub_path.is_none()
}

impl Layout {
    /// Apptainer shows a device at its own path only.
    fn device(&mut self, task: MountTask) {
        let MountTask { source, target, read_only, .. } = task;
        self.binds.push(Bind { source: source.clone(), target: source.clone(), read_only });
        if target != source {
            self.links.push((target, source));
        }
    }

    fn bind(&mut self, source: &Path, target: &Path, read_only: bool) {
        let mut target = target.display().to_string();
        // Apptainer makes a `/dev` of its own, in which it binds devices and what it makes itself.
        if target.starts_with("/dev/") && target != "/dev/shm" {
            let place = format!("/.outrigger{target}");
            self.links.push((std::mem::replace(&mut target, place.clone()), place));
        }
        self.binds.push(Bind { source: source.display().to_string(), target, read_only });
    }
}
