//! Where groups can be made: the hierarchies that are mounted, and our own place in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::group::Cgroup;
use super::{CgroupError, Controller};

/// Directories in which the groups of pods can be made.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Version 2: the directories to try, best first.
    unified: Vec<PathBuf>,
    /// Version 1: one directory for each controller.
    split: BTreeMap<Controller, PathBuf>,
    /// Where hierarchies are mounted.
    mounts: Vec<PathBuf>,
    /// Which version has the controllers that are mounted.
    version: Option<u8>,
    can: Vec<Controller>,
    refusal: String,
}

impl Places {
    /// Reads `/proc/self/cgroup` and `/proc/self/mountinfo` below `root`.
    pub fn find(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        let mut places = Self::from_text(&own, &mounts, root);
        places.unified.retain(|directory| is_writable(directory));
        places.split.retain(|_, directory| is_writable(directory));
        places.can = Controller::ALL.into_iter().filter(|controller| places.would_have(*controller)).collect();
        let missing: Vec<&str> =
            Controller::ALL.into_iter().filter(|one| !places.can(*one)).map(Controller::name).collect();
        if !missing.is_empty() {
            places.refusal = format!("this user may make no cgroups with {}", missing.join(", "));
        }
        places
    }

    fn from_text(own: &str, mounts: &str, root: &Path) -> Self {
        let mut places = Self::default();
        let own: Vec<(&str, &str)> = own.lines().filter_map(own_group).collect();
        for mount in mounts.lines().filter_map(Mount::read) {
            let controllers = if mount.kind == "cgroup2" { "" } else { mount.options };
            let Some((_, path)) = own.iter().find(|(names, _)| same_hierarchy(names, controllers)) else { continue };
            let mounted = root.join(mount.point.trim_start_matches('/'));
            places.mounts.push(mounted.clone());
            let inside = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
            let group = mounted.join(inside);
            if mount.kind == "cgroup2" {
                // A group with processes of its own cannot give controllers to its children, so its parent is better.
                places.unified = group
                    .ancestors()
                    .skip(1)
                    .take(1)
                    .filter(|up| up.starts_with(&mounted))
                    .map(Path::to_owned)
                    .collect();
                places.unified.push(group);
                places.version.get_or_insert(2);
            } else {
                for controller in Controller::ALL {
                    if mount.options.split(',').any(|option| option == controller.name()) {
                        places.version = Some(1);
                        places.split.insert(controller, group.clone());
                    }
                }
            }
        }
        places
    }

    pub fn mounts(&self) -> &[PathBuf] {
        &self.mounts
    }

    pub fn can(&self, controller: Controller) -> bool {
        self.can.contains(&controller)
    }

    pub fn version(&self) -> Option<u8> {
        self.version
    }

    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    fn would_have(&self, controller: Controller) -> bool {
        self.split.contains_key(&controller) || self.unified.iter().any(|directory| gives(directory, controller))
    }

    /// The directories of a pod's groups that exist.
    pub fn of_pod(&self, pod: &str) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = self.unified.iter().chain(self.split.values()).map(|one| one.join(pod)).collect();
        // Two controllers may share one hierarchy.
        all.sort_unstable();
        all.dedup();
        all.retain(|directory| directory.is_dir());
        all
    }

    /// Makes the directories of a container's group.
    pub fn make(&self, pod: &str, container: &str, with_cpuset: bool) -> Result<Cgroup, CgroupError> {
        let mut problem = None;
        for place in &self.unified {
            if !gives(place, Controller::Memory) && !gives(place, Controller::Cpu) {
                continue;
            }
            match make_unified(place, pod, container) {
                Ok(directory) => return Ok(Cgroup::unified(directory)),
                Err(error) => problem = Some(error),
            }
        }
        let mut split = BTreeMap::new();
        for (controller, place) in &self.split {
            if *controller == Controller::CpuSet && !with_cpuset {
                continue;
            }
            let directory = place.join(pod).join(container);
            fs::create_dir_all(&directory).map_err(|source| CgroupError::File { path: directory.clone(), source })?;
            if *controller == Controller::CpuSet {
                inherit_cpuset(place, &place.join(pod)).and_then(|()| inherit_cpuset(&place.join(pod), &directory))?;
            }
            split.insert(*controller, directory);
        }
        if split.is_empty() {
            return Err(problem.unwrap_or_else(|| CgroupError::Unusable(self.refusal.clone())));
        }
        Ok(Cgroup::split(split))
    }
}

/// The controllers and the path of one line of `/proc/self/cgroup`: `4:memory:/a/b`.
fn own_group(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.splitn(3, ':').skip(1);
    fields.next().zip(fields.next())
}

fn same_hierarchy(names: &str, options: &str) -> bool {
    if names.is_empty() || options.is_empty() {
        return names.is_empty() && options.is_empty();
    }
    names.split(',').all(|name| options.split(',').any(|option| option == name))
}

/// The parts of a line of `/proc/self/mountinfo` that matter (`proc_pid_mountinfo(5)`).
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (root, point) = head.next().zip(head.next())?;
        let mut tail = tail.split(' ');
        let kind = tail.next()?;
        let options = tail.nth(1)?;
        kind.starts_with("cgroup").then_some(Self { root, point, kind, options })
    }
}

fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether children of this version-2 group can have the controller: it must be there, and be passed on or be allowed to.
fn gives(directory: &Path, controller: Controller) -> bool {
    let listed = |file: &str| {
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        text.split_whitespace().any(|name| name == controller.name())
    };
    if controller == Controller::CpuAccounting {
        return directory.join("cgroup.controllers").exists();
    }
    let may_enable = rustix::fs::access(directory.join("cgroup.subtree_control"), rustix::fs::Access::WRITE_OK).is_ok();
    listed("cgroup.subtree_control") || (listed("cgroup.controllers") && may_enable)
}

fn make_unified(place: &Path, pod: &str, container: &str) -> Result<PathBuf, CgroupError> {
    let failed = |path: &Path, source| CgroupError::File { path: path.to_owned(), source };
    let (outer, inner) = (place.join(pod), place.join(pod).join(container));
    pass_on(place).map_err(|source| failed(&place.join("cgroup.subtree_control"), source))?;
    make_directory(&outer).map_err(|source| failed(&outer, source))?;
    let made = pass_on(&outer)
        .map_err(|source| failed(&outer.join("cgroup.subtree_control"), source))
        .and_then(|()| make_directory(&inner).map_err(|source| failed(&inner, source)));
    if let Err(error) = made {
        // Empty, if it is ours alone; else another container of the pod keeps it.
        let _ = fs::remove_dir(&outer);
        return Err(error);
    }
    Ok(inner)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Gives the children of a version-2 group the controllers we use. A group with processes cannot (the kernel's "no
/// internal processes"), so where we are alone in it we first move into a leaf.
fn pass_on(directory: &Path) -> io::Result<()> {
    let file = directory.join("cgroup.subtree_control");
    let listed = fs::read_to_string(directory.join("cgroup.controllers"))?;
    for controller in [Controller::Cpu, Controller::Memory, Controller::CpuSet] {
        let name = controller.name();
        if !listed.split_whitespace().any(|one| one == name)
            || fs::read_to_string(&file)?.split_whitespace().any(|one| one == name)
        {
            continue;
        }
        match fs::write(&file, format!("+{name}")) {
            Err(busy) if busy.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                move_into_leaf(directory)?;
                fs::write(&file, format!("+{name}"))?;
            }
            // Pinning is done by affinity too, so this one may be missing.
            Err(_) if controller == Controller::CpuSet => {}
            done => done?,
        }
    }
    Ok(())
}

fn move_into_leaf(directory: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    let inside = fs::read_to_string(directory.join("cgroup.procs"))?;
    if inside.split_whitespace().any(|pid| pid != own) {
        return Err(io::Error::other("other processes are in it too; start this in a delegated scope of its own"));
    }
    let leaf = directory.join(format!("outrigger-runner-{own}"));
    make_directory(&leaf)?;
    fs::write(leaf.join("cgroup.procs"), &own)
}

/// A version-1 cpuset is empty until it is filled, and takes no process before.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = child.join(file);
        let copied = fs::read_to_string(&path).and_then(|text| {
            if text.trim().is_empty() { fs::write(&path, fs::read_to_string(parent.join(file))?) } else { Ok(()) }
        });
        copied.map_err(|source| CgroupError::File { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_place_is_found_in_both_versions() {
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/x/y\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let places = Places::from_text(own, mounts, Path::new("/"));
        let expect = [
            (Controller::Cpu, "/sys/fs/cgroup/cpu,cpuacct/"),
            (Controller::CpuAccounting, "/sys/fs/cgroup/cpu,cpuacct/"),
            (Controller::Memory, "/sys/fs/cgroup/memory/b"),
        ];
        assert_eq!(places.split, expect.map(|(controller, path)| (controller, path.into())).into());
        assert_eq!(places.unified, [Path::new("/sys/fs/cgroup/unified/x"), Path::new("/sys/fs/cgroup/unified/x/y")]);
        assert_eq!(places.version(), Some(1));
        let version = |mounts| Places::from_text(own, mounts, Path::new("/")).version();
        assert_eq!(version("32 31 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), Some(2));
        assert_eq!(version("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"), None);
    }
}
