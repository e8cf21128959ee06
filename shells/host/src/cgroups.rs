//! Control groups: the few files that limit, measure and end the processes of a container.
//!
//! Version 2 where its controllers are usable, else version 1. Each group of ours is two deep: one for the pod, and in it
//! one for each container. Where groups cannot be made here, [`Cgroups::create`] says why, and nothing is left behind.
//!
//! ```text
//!  v2   …/PARENT OF OURS/NAME OF THE POD/NAME OF THE CONTAINER
//!  v1   …/CONTROLLER/…/OUR OWN GROUP/NAME OF THE POD/NAME OF THE CONTAINER      for cpu, cpuacct, memory, cpuset
//! ```

mod group;
mod place;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use group::{Cgroup, CgroupUsage, Doors};
use place::Places;

/// Where the groups of this process' children can be made.
#[derive(Clone, Debug)]
pub struct Cgroups {
    places: Places,
}

/// What a container may use. Values as the kubelet computes them (`pkg/kubelet/cm/helpers_linux.go`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// CPU time in millicpu at most.
    pub cpu: Option<u64>,
    /// CPU time in millicpu when it is scarce, as a weight against others.
    pub cpu_request: Option<u64>,
    /// Memory in bytes at most.
    pub memory: Option<u64>,
    /// The CPUs it may run on, in the kernel's list format.
    pub cpus: Option<String>,
    /// The memory nodes it may use, in the kernel's list format.
    pub memory_nodes: Option<String>,
}

/// A controller that limits something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time, limited and weighed.
    Cpu,
    /// CPU time, measured (version 1 only; version 2 measures always).
    CpuAccounting,
    /// Memory.
    Memory,
    /// CPUs and memory nodes.
    CpuSet,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::CpuAccounting, Self::Memory, Self::CpuSet];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Memory => "memory",
            Self::CpuSet => "cpuset",
        }
    }
}

/// Why a group could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy can be used.
    #[error("no cgroup hierarchy can be used here: {0}")]
    Unusable(String),
    /// A file refused.
    #[error("cannot use {path}")]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Cgroups {
    /// Looks for the hierarchies below `root` (`/`, or a tree made for a test).
    pub fn find(root: &Path) -> Self {
        Self { places: Places::find(root) }
    }

    /// Whether limits of this controller would be in force in groups made here. Finding that out changes nothing.
    pub fn can(&self, controller: Controller) -> bool {
        self.places.can(controller)
    }

    /// The version of the groups that are mounted here, 2 or 1; where both are, controllers are with version 1.
    pub fn version(&self) -> Option<u8> {
        self.places.version()
    }

    /// Why some controller cannot be used, for people; nothing where all can.
    pub fn refusal(&self) -> &str {
        self.places.refusal()
    }

    /// Makes the group of a container, with its limits, inside the group of its pod. A controller that cannot be used is
    /// left out ([`Cgroups::can`] tells).
    pub fn create(&self, pod: &str, container: &str, limits: &CgroupLimits) -> Result<Cgroup, CgroupError> {
        let group = self.places.make(pod, container, limits.cpus.is_some() || limits.memory_nodes.is_some())?;
        match group.limit(limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    /// Ends everything in the groups of a pod and removes them. No fault where there are none.
    pub fn remove_pod(&self, pod: &str) {
        self.places.of_pod(pod).iter().for_each(|directory| remove_tree(directory));
    }

    /// As [`Cgroups::remove_pod`], wherever the groups are: those of a process that is dead may lie where that process was
    /// (another login's, another job's). Goes through all groups of the machine.
    pub fn sweep_pod(&self, pod: &str) {
        let found = self.places.mounts().iter().flat_map(|mount| named(mount, pod));
        found.for_each(|directory| remove_tree(&directory));
    }
}

/// The groups of this name below a directory.
fn named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let found = |path: PathBuf| if path.ends_with(name) { vec![path] } else { named(&path, name) };
    subdirectories(directory).into_iter().flat_map(found).collect()
}

fn remove_tree(directory: &Path) {
    for inner in subdirectories(directory) {
        group::kill_all(&inner);
        group::remove_directory(&inner);
    }
    group::remove_directory(directory);
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_dead_process_are_found_where_it_was() {
        let root = tempfile::tempdir().unwrap();
        let text = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        text("proc/self/cgroup", "4:memory:/ours\n");
        text("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        let memory = root.path().join("sys/fs/cgroup/memory");
        fs::create_dir_all(memory.join("theirs/pod-a/main-0")).unwrap();
        fs::create_dir_all(memory.join("theirs/pod-b/main-0")).unwrap();
        fs::create_dir_all(memory.join("ours")).unwrap();
        let cgroups = Cgroups::find(root.path());
        assert!(cgroups.can(Controller::Memory) && !cgroups.can(Controller::Cpu));
        assert_eq!(cgroups.refusal(), "this user may make no cgroups with cpu, cpuacct, cpuset");
        cgroups.sweep_pod("pod-a");
        assert!(!memory.join("theirs/pod-a").exists());
        assert!(memory.join("theirs/pod-b/main-0").exists());
        let group = cgroups.create("pod-c", "main-0", &CgroupLimits::default()).unwrap();
        assert!(memory.join("ours/pod-c/main-0").exists());
        group.remove();
        cgroups.remove_pod("pod-c");
        assert!(!memory.join("ours/pod-c").exists());
    }
}
