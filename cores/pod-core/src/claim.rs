//! What one container or pod got from a provider: the claim *value*.
//!
//! A provider (CPU pools, devices, licenses) fills it; the pod runner applies it. The trait by which the runner asks for
//! claims, watches them and gives them back is declared by the pod runner; a descriptor that keeps a claim locked is not
//! part of the value and travels beside it there.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a container receives beside what its manifest says. Merging two values is [`ClaimValue::merge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimValue {
    /// Variables for the container's environment. They lie over the manifest's own, as a device plugin's do
    /// (`pkg/kubelet/cm/devicemanager/manager.go`, `GetDeviceRunContainerOptions`).
    pub env: BTreeMap<String, String>,
    /// Host paths that appear in the container.
    pub mounts: Vec<ClaimMount>,
    /// Device nodes that appear in the container.
    pub devices: Vec<ClaimDevice>,
    /// The CPUs the container may run on, in the kernel's list format (`0-3,8`); `None` where no provider pins it.
    pub cpus: Option<String>,
    /// The memory nodes the container may use, in the kernel's list format; `None` where no provider binds it.
    pub memory_nodes: Option<String>,
    /// Fully qualified CDI device names (`vendor.example/class=name`), for launchers that know the Container Device Interface.
    pub cdi: Vec<String>,
    /// Annotations for the container runtime.
    pub annotations: BTreeMap<String, String>,
    /// What all of this is, for people who ask what the container has.
    pub given: Vec<Given>,
}

/// One thing that a container was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The resource's name as in `limits`: `vendor.example/disk`.
    pub resource: String,
    /// Which of it.
    pub id: String,
    /// Where it is on the host: device nodes, directories. Empty where it has no place.
    pub paths: Vec<String>,
}

/// A host path that a claim shows to the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMount {
    /// Absolute path on the host.
    pub host_path: PathBuf,
    /// Absolute path in the container.
    pub container_path: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// A device node that a claim shows to the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimDevice {
    /// Absolute path on the host.
    pub host_path: PathBuf,
    /// Absolute path in the container.
    pub container_path: PathBuf,
    /// The cgroup's permissions: a mix of `r`, `w` and `m` (make a node).
    pub permissions: String,
}

impl ClaimValue {
    /// Lays `other` over this value: its variables and annotations win, its lists are appended, its CPU set replaces
    /// one that is already there.
    pub fn merge(&mut self, other: Self) {
        self.env.extend(other.env);
        self.mounts.extend(other.mounts);
        self.devices.extend(other.devices);
        self.cpus = other.cpus.or(self.cpus.take());
        self.memory_nodes = other.memory_nodes.or(self.memory_nodes.take());
        self.cdi.extend(other.cdi);
        self.annotations.extend(other.annotations);
        self.given.extend(other.given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_claim_wins_over_an_earlier_one() {
        let mut first =
            ClaimValue { env: [("A".into(), "1".into())].into(), cpus: Some("0".into()), ..ClaimValue::default() };
        let second =
            ClaimValue { env: [("A".into(), "2".into())].into(), cdi: vec!["v/c=n".into()], ..ClaimValue::default() };
        first.merge(second);
        assert_eq!(first.env["A"], "2");
        assert_eq!(first.cpus.as_deref(), Some("0"));
        assert_eq!(first.cdi, ["v/c=n"]);
    }
}
