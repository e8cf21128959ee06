//! One group: its limits, its processes, what they use, its end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupError, CgroupLimits, Controller};

/// The period over which CPU time is limited, in microseconds (the kubelet's `QuotaPeriod`).
const PERIOD: u64 = 100_000;

/// The group of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Unified(PathBuf),
    Split(BTreeMap<Controller, PathBuf>),
}

/// How a process gets into a group by itself.
#[derive(Debug)]
pub enum Doors {
    /// Version 2: the group's directory, for `CLONE_INTO_CGROUP` (`clone(2)`), or for its file `cgroup.procs`.
    Unified(OwnedFd),
    /// Version 1: the file `tasks` of each controller; a process of one thread enters by writing `0`.
    Split(Vec<OwnedFd>),
}

/// What the processes of a group use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// CPU time since the group was made.
    pub cpu: Duration,
    /// Memory in bytes without what the kernel can drop at once (the working set, as cAdvisor computes it).
    pub memory: u64,
}

impl Cgroup {
    pub(super) fn unified(directory: PathBuf) -> Self {
        Self { version: Version::Unified(directory) }
    }

    pub(super) fn split(directories: BTreeMap<Controller, PathBuf>) -> Self {
        Self { version: Version::Split(directories) }
    }

    fn directories(&self) -> Vec<&PathBuf> {
        match &self.version {
            Version::Unified(directory) => vec![directory],
            Version::Split(directories) => directories.values().collect(),
        }
    }

    fn of(&self, controller: Controller) -> Option<&PathBuf> {
        match &self.version {
            Version::Unified(directory) => Some(directory),
            Version::Split(directories) => directories.get(&controller),
        }
    }

    /// Opens the ways into the group. Moving *another* process takes a lock that every fork of the machine holds, for
    /// which the kernel waits some 10 ms; these do without it (version 1 since Linux 5.17).
    pub fn doors(&self) -> io::Result<Doors> {
        let open =
            |directory: &PathBuf| OpenOptions::new().write(true).open(directory.join("tasks")).map(OwnedFd::from);
        match &self.version {
            Version::Unified(directory) => Ok(Doors::Unified(File::open(directory)?.into())),
            Version::Split(directories) => directories.values().map(open).collect::<io::Result<_>>().map(Doors::Split),
        }
    }

    /// Whether the kernel has killed a process of the group for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let file = match &self.version {
            Version::Unified(_) => "memory.events",
            Version::Split(_) => "memory.oom_control",
        };
        let text = self.of(Controller::Memory).and_then(|directory| fs::read_to_string(directory.join(file)).ok());
        text.and_then(|text| field(&text, "oom_kill")).is_some_and(|count| count > 0)
    }

    /// What its processes use; zero where that is not measured.
    pub fn usage(&self) -> CgroupUsage {
        let read = |controller, file: &str| fs::read_to_string(self.of(controller)?.join(file)).ok();
        let number = |text: Option<String>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(0_u64);
        let (cpu, used, idle) = match &self.version {
            Version::Unified(_) => (
                read(Controller::Cpu, "cpu.stat")
                    .and_then(|text| field(&text, "usage_usec"))
                    .map(Duration::from_micros),
                number(read(Controller::Memory, "memory.current")),
                "inactive_file",
            ),
            Version::Split(_) => (
                Some(Duration::from_nanos(number(read(Controller::CpuAccounting, "cpuacct.usage")))),
                number(read(Controller::Memory, "memory.usage_in_bytes")),
                "total_inactive_file",
            ),
        };
        let idle = read(Controller::Memory, "memory.stat").and_then(|text| field(&text, idle)).unwrap_or(0);
        CgroupUsage { cpu: cpu.unwrap_or_default(), memory: used.saturating_sub(idle) }
    }

    /// Removes it. Its processes have ended.
    pub fn remove(&self) {
        for directory in self.directories() {
            remove_directory(directory);
        }
    }

    pub(super) fn limit(&self, limits: &CgroupLimits) -> Result<(), CgroupError> {
        let quota = limits.cpu.map(quota);
        let shares = limits.cpu_request.map(shares);
        let set = |controller, file: &str, value: String| match self
            .of(controller)
            .map(|directory| directory.join(file))
        {
            Some(path) if path.exists() => fs::write(&path, value).map_err(|source| CgroupError::File { path, source }),
            // The controller is not in force here; the caller has asked and has said so.
            _ => Ok(()),
        };
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        let files = match &self.version {
            Version::Unified(_) => [
                (Controller::Cpu, "cpu.max", quota.map(|quota| format!("{quota} {PERIOD}"))),
                (Controller::Cpu, "cpu.weight", text(shares.map(weight))),
                (Controller::Memory, "memory.max", text(limits.memory)),
                (Controller::Memory, "memory.swap.max", limits.memory.map(|_| "0".to_owned())),
                (Controller::Memory, "memory.oom.group", limits.memory.map(|_| "1".to_owned())),
            ],
            Version::Split(_) => [
                (Controller::Cpu, "cpu.cfs_period_us", quota.map(|_| PERIOD.to_string())),
                (Controller::Cpu, "cpu.cfs_quota_us", text(quota)),
                (Controller::Cpu, "cpu.shares", text(shares)),
                (Controller::Memory, "memory.limit_in_bytes", text(limits.memory)),
                // Memory and swap together: no swap beyond the limit.
                (Controller::Memory, "memory.memsw.limit_in_bytes", text(limits.memory)),
            ],
        };
        let sets = [("cpuset.cpus", &limits.cpus), ("cpuset.mems", &limits.memory_nodes)];
        let sets = sets.map(|(file, list)| (Controller::CpuSet, file, list.clone()));
        files
            .into_iter()
            .chain(sets)
            .filter_map(|(controller, file, value)| Some((controller, file, value?)))
            .try_for_each(|(controller, file, value)| set(controller, file, value))
    }
}

/// CPU time in a period, in microseconds, at least 1 ms (`MilliCPUToQuota`).
fn quota(millis: u64) -> u64 {
    (millis.saturating_mul(PERIOD) / 1000).max(1000)
}

/// The weight of version 1 (`MilliCPUToShares`).
fn shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// The weight of version 2 (`getCPUWeight` in `pkg/kubelet/cm/cgroup_manager_linux.go`).
fn weight(shares: u64) -> u64 {
    if shares >= 262_144 { 10_000 } else { 1 + (shares - 2) * 9999 / 262_142 }
}

/// The number after a word in a text of lines `word number`.
fn field(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == word)?.1.trim().parse().ok())
}

/// Kills all processes of a group: at once with version 2, else one by one until none is found.
pub(super) fn kill_all(directory: &Path) {
    let killed =
        OpenOptions::new().write(true).open(directory.join("cgroup.kill")).and_then(|mut file| file.write_all(b"1"));
    if killed.is_ok() {
        return;
    }
    for _ in 0..100 {
        let inside = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if inside.is_empty() {
            return;
        }
        for pid in inside.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Removes a group's directory; the kernel may take a moment after the last process has ended.
pub(super) fn remove_directory(directory: &Path) {
    for _ in 0..1000 {
        match fs::remove_dir(directory) {
            Err(busy) if busy.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // What cannot be removed is found by the next sweep.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_quotas_are_those_of_a_kubelet() {
        assert_eq!([0, 1, 100, 1000, 300_000_000].map(shares), [2, 2, 102, 1024, 262_144]);
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
        assert_eq!([1, 500, 2000].map(quota), [1000, 50_000, 200_000]);
    }

    #[test]
    fn limits_are_written_to_the_files_of_version_2() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["cpu.max", "cpu.weight", "memory.max", "memory.swap.max", "memory.oom.group", "cpuset.cpus"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let group = Cgroup::unified(directory.path().to_owned());
        let limits = CgroupLimits {
            cpu: Some(1500),
            cpu_request: Some(1000),
            memory: Some(1 << 20),
            cpus: Some("0-1".to_owned()),
            memory_nodes: None,
        };
        group.limit(&limits).unwrap();
        let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!((read("memory.swap.max").as_str(), read("memory.oom.group").as_str()), ("0", "1"));
        assert_eq!(read("cpuset.cpus"), "0-1");
    }

    #[test]
    fn usage_is_read_from_the_files_of_version_2() {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cpu.stat", "usage_usec 1500000\nuser_usec 1\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 1\ninactive_file 300\n"),
            ("memory.events", "oom 2\noom_kill 1\n"),
        ] {
            fs::write(directory.path().join(file), text).unwrap();
        }
        let group = Cgroup::unified(directory.path().to_owned());
        assert_eq!(group.usage(), CgroupUsage { cpu: Duration::from_millis(1500), memory: 700 });
        assert!(group.ran_out_of_memory());
    }
}
