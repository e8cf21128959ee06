//! What a cluster sees instead of the machine's own: `/proc`, `/sys`, `/run`, `/var/lib`, `/var/log`, `/dev/shm`.
//!
//! Everything else is the machine's, so that programs and files have the same paths inside and outside. All of it is in a mount
//! namespace of the cluster's own, and goes with its last process.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::group::Cgroups;
use super::place::Place;

/// What the machine's users may have put their caches below, and a cluster hides.
pub const COVERED: &[&str] = &["/run", "/var/run", "/var/lib", "/var/log"];

/// What a kubelet sets for the whole machine (`pkg/util/sysctl`): it finds each as it wants it, and leaves the machine's alone.
const SYSCTLS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Makes the mounts, in the namespaces of this process.
pub fn lay(place: &Place, cgroups: &Cgroups) -> Result<()> {
    // What the machine unmounts goes here too, so that nothing of it stays busy; what is mounted here stays here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).context("cannot part from /")?;
    fresh("proc", "/proc", "proc", None)?;
    fresh("sysfs", "/sys", "sysfs", None)?;
    cgroups.mount()?;
    fresh("tmpfs", "/run", "tmpfs", Some(c"mode=755"))?;
    fs::create_dir_all("/run/lock")?;
    fresh("tmpfs", "/dev/shm", "tmpfs", Some(c"mode=1777"))?;
    for (own, covered) in [("var-lib", "/var/lib"), ("var-log", "/var/log")] {
        mount_bind(place.path(own), covered).with_context(|| format!("cannot cover {covered}"))?;
    }
    for folder in ["/var/lib/kubelet", "/run/sysctl"] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
    }
    for (name, value) in SYSCTLS {
        cover_sysctl(name, value)?;
    }
    // A pod may ask that its mounts reach the node, and a node's reach it.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).context("cannot share / inside")
}

fn cover_sysctl(name: &str, value: &str) -> Result<()> {
    let real = Path::new("/proc/sys").join(name);
    if !real.exists() {
        return Ok(());
    }
    let cover = Path::new("/run/sysctl").join(name.replace('/', "."));
    fs::write(&cover, format!("{value}\n")).with_context(|| format!("cannot write {}", cover.display()))?;
    mount_bind(&cover, &real).with_context(|| format!("cannot cover {}", real.display()))
}

fn fresh(source: &str, target: &str, kind: &str, data: Option<&std::ffi::CStr>) -> Result<()> {
    mount(source, target, kind, MountFlags::NOSUID | MountFlags::NODEV, data)
        .with_context(|| format!("cannot mount {kind} at {target}"))
}
