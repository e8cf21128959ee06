//! The cgroup groups of a cluster: one in each hierarchy of version 1, or one in the hierarchy of version 2.
//!
//! Every process of the cluster is in them from its first instruction on, and they are the root of all that the cluster sees of
//! cgroups. So whatever is in them is the cluster's, and when they are gone nothing of it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process};

use crate::step::CannotRunHere;

const MOUNT: &str = "/sys/fs/cgroup";

/// How long the kernel may take to let go of a group whose last process was killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// With version 2 the group of what is no pod.
const LEAF: &str = "init";

/// What a kubelet cannot do without; with version 1 `cpuacct` too.
const NEEDED: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// How the machine's cgroups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// Hierarchies of version 1, each with its controllers (`cpu,cpuacct`, `name=systemd`).
    V1(Vec<Hierarchy>),
    /// One hierarchy of version 2.
    V2,
}

/// One hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted in the machine.
    mount: PathBuf,
    /// Its controllers, as a mount is told them.
    controllers: String,
}

impl Cgroups {
    /// Those of this machine.
    pub fn here() -> Result<Self> {
        if let Ok(controllers) = fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers")) {
            complete(NEEDED, |wanted| controllers.split_whitespace().any(|own| own == wanted))?;
            return Ok(Self::V2);
        }
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let hierarchies: Vec<Hierarchy> = mounts.lines().filter_map(Hierarchy::parse).collect();
        let has = |wanted: &str| hierarchies.iter().any(|hierarchy| hierarchy.has(wanted));
        complete(NEEDED, has)?;
        complete(&["cpuacct"], has)?;
        Ok(Self::V1(hierarchies))
    }

    /// The groups of a cluster.
    fn groups(&self, name: &str) -> Vec<PathBuf> {
        let group = format!("outrigger-cluster-{name}");
        match self {
            Self::V1(hierarchies) => hierarchies.iter().map(|hierarchy| hierarchy.mount.join(&group)).collect(),
            Self::V2 => vec![Path::new(MOUNT).join(group)],
        }
    }

    /// Makes the groups. They may be there.
    pub fn make(&self, name: &str) -> Result<()> {
        if *self == Self::V2 {
            // The machine's own root: no more is changed there than must be.
            enable(Path::new(MOUNT), |controller| NEEDED.contains(&controller))?;
        }
        for group in self.groups(name) {
            if let Err(error) = fs::create_dir(&group)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error).with_context(|| format!("cannot make the group {}", group.display()));
            }
            // A cpuset of version 1 begins empty, and takes no process so.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (own, parent) = (group.join(file), group.with_file_name(file));
                if *self != Self::V2 && own.exists() {
                    let value =
                        fs::read_to_string(&parent).with_context(|| format!("cannot read {}", parent.display()))?;
                    fs::write(&own, value).with_context(|| format!("cannot write {}", own.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Moves this process into the groups.
    pub fn enter(&self, name: &str) -> Result<()> {
        self.groups(name).iter().try_for_each(|group| enter(group))
    }

    /// Moves this process beside the cluster's first, and with it whatever it starts: it ends with the cluster.
    pub fn join(&self, name: &str) -> Result<()> {
        match self {
            Self::V1(_) => self.enter(name),
            Self::V2 => enter(&self.groups(name)[0].join(LEAF)),
        }
    }

    /// With version 2 only a group without processes may give controllers to groups below: moves this process one down.
    pub fn leave_root(&self, name: &str) -> Result<()> {
        if *self == Self::V2 {
            let leaf = self.groups(name)[0].join(LEAF);
            fs::create_dir(&leaf).with_context(|| format!("cannot make the group {}", leaf.display()))?;
            enter(&leaf)?;
        }
        Ok(())
    }

    /// Mounts the groups as the root of all cgroups, in the mount and cgroup namespaces of this process.
    pub fn mount(&self) -> Result<()> {
        match self {
            Self::V2 => {
                mount("cgroup2", MOUNT, "cgroup2", MountFlags::empty(), None).context("cannot mount cgroup2")?;
                enable(Path::new(MOUNT), |_| true)
            }
            Self::V1(hierarchies) => {
                let mode = c"mode=755";
                mount("cgroup", MOUNT, "tmpfs", MountFlags::empty(), mode)
                    .context("cannot mount a tmpfs for cgroups")?;
                hierarchies.iter().try_for_each(Hierarchy::mount_below)
            }
        }
    }

    /// Ends every process in the groups, and removes them.
    pub fn remove(&self, name: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let left: Vec<PathBuf> = self.groups(name).into_iter().filter(|group| !remove_tree(group)).collect();
            let Some(group) = left.first() else { return Ok(()) };
            if PATIENCE < begin.elapsed() {
                bail!("the group {} cannot be removed: {:?} still run in it", group.display(), processes(group));
            }
            for pid in processes(group) {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether any group of the cluster is there.
    pub fn any(&self, name: &str) -> bool {
        self.groups(name).iter().any(|group| group.exists())
    }
}

impl Hierarchy {
    /// Of a line of `/proc/mounts`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let (mount, kind, options) = (fields.nth(1)?, fields.next()?, fields.next()?);
        let flags = ["rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "xattr", "clone_children"];
        let unwanted = |option: &&str| !flags.contains(option) && !option.starts_with("release_agent=");
        let controllers: Vec<&str> = options.split(',').filter(unwanted).collect();
        (kind == "cgroup" && mount.starts_with(MOUNT))
            .then(|| Self { mount: mount.into(), controllers: controllers.join(",") })
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|own| own == controller)
    }

    fn mount_below(&self) -> Result<()> {
        let folder = self.controllers.trim_start_matches("name=");
        let target = Path::new(MOUNT).join(folder);
        fs::create_dir(&target)?;
        let none = if self.controllers.starts_with("name=") { "none," } else { "" };
        let data = std::ffi::CString::new(format!("{none}{}", self.controllers))?;
        mount("cgroup", &target, "cgroup", MountFlags::empty(), data.as_c_str())
            .with_context(|| format!("cannot mount the cgroup hierarchy {}", self.controllers))?;
        for alias in folder.split(',').filter(|alias| *alias != folder) {
            std::os::unix::fs::symlink(folder, Path::new(MOUNT).join(alias))?;
        }
        Ok(())
    }
}

fn enter(group: &Path) -> Result<()> {
    fs::write(group.join("cgroup.procs"), "0").with_context(|| format!("cannot enter the group {}", group.display()))
}

/// Whether all of these controllers are there.
fn complete(needed: &[&str], has: impl Fn(&str) -> bool) -> Result<()> {
    if let Some(missing) = needed.iter().find(|wanted| !has(wanted)) {
        bail!(CannotRunHere(format!(
            "a kubelet needs the cgroup controller {missing}: mount it below {MOUNT}, or use a kernel that has it"
        )));
    }
    Ok(())
}

/// Gives controllers of a group of version 2 to the groups below it.
fn enable(group: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    let controllers = fs::read_to_string(group.join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(group.join("cgroup.subtree_control"))?;
    for controller in controllers.split_whitespace().filter(|controller| is_wanted(controller)) {
        if !enabled.split_whitespace().any(|own| own == controller) {
            fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
                .with_context(|| format!("cannot give the controller {controller} to groups in {}", group.display()))?;
        }
    }
    Ok(())
}

/// Removes a group and those below it; whether none of them is left.
fn remove_tree(group: &Path) -> bool {
    for below in folders(group) {
        remove_tree(&below);
    }
    let _ = fs::remove_dir(group);
    !group.exists()
}

/// The processes in a group and in those below it.
fn processes(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    own.chain(folders(group).iter().flat_map(|below| processes(below))).collect()
}

fn folders(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(String, String)> {
        Hierarchy::parse(line).map(|one| (one.mount.display().to_string(), one.controllers))
    }

    #[test]
    fn a_missing_controller_is_named() {
        let failure = complete(NEEDED, |wanted| wanted != "pids").unwrap_err();
        assert!(failure.is::<CannotRunHere>() && failure.to_string().contains("controller pids:"), "{failure}");
    }

    #[test]
    fn only_wanted_controllers_that_are_not_given_yet_are_given() {
        let group = tempfile::tempdir().unwrap();
        let control = group.path().join("cgroup.subtree_control");
        fs::write(group.path().join("cgroup.controllers"), "cpu io memory\n").unwrap();
        fs::write(&control, "cpu\n").unwrap();
        enable(group.path(), |controller| controller != "io").unwrap();
        assert_eq!(fs::read_to_string(&control).unwrap(), "+memory");
    }

    #[test]
    fn hierarchies_are_read_with_their_controllers_alone() {
        let both = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0";
        assert_eq!(parse(both), Some(("/sys/fs/cgroup/cpu,cpuacct".into(), "cpu,cpuacct".into())));
        let named = "cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,xattr,release_agent=/a/b,name=systemd 0 0";
        assert_eq!(parse(named), Some(("/sys/fs/cgroup/systemd".into(), "name=systemd".into())));
        assert_eq!(parse("cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0"), None);
        assert_eq!(parse("cgroup /elsewhere/cpu cgroup rw,cpu 0 0"), None);
    }
}
