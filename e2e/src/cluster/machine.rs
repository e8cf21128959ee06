//! What of the machine a cluster could have changed, as text that two looks can compare.
//!
//! Other tests change the machine at the same time, so that only what bears a cluster's marks is looked at: its addresses and
//! chains, the places where Kubernetes keeps things, groups by their names, and what a kubelet sets for the whole machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Where Kubernetes, containerd and CNI keep things.
const PLACES: &[&str] = &[
    "/etc/cni",
    "/etc/containerd",
    "/etc/kubernetes",
    "/etc/nri",
    "/opt/cni",
    "/opt/containerd",
    "/opt/nri",
    "/root/.kube",
    "/run/cdi",
    "/run/cluster",
    "/run/containerd",
    "/run/kubernetes",
    "/run/nri",
    "/run/sysctl",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/nri",
    "/var/log/containers",
    "/var/log/pods",
];

/// What a kubelet and a kube-proxy set.
const SYSCTLS: &[&str] = &[
    "kernel/hostname",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Marks of a cluster's network.
const MARKS: &[&str] = &["KUBE", "CNI-", "pods0", "10.244.", "10.96."];

/// All of it, a line for each thing.
pub fn look() -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for command in ["iptables-save", "ip6tables-save", "ip -oneline address", "ip route show table all"] {
        let said = super::output(Command::new("sh").args(["-c", command]))?;
        let marked = said.lines().filter(|line| MARKS.iter().any(|mark| line.contains(mark)));
        seen.extend(marked.map(|line| format!("{command}: {line}")));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read mounts")?;
    let own = ["/cluster/state/", "/netns/cni-"];
    let is_marked =
        |line: &&str| own.iter().any(|mark| line.contains(mark)) || PLACES.iter().any(|place| line.contains(place));
    seen.extend(mounts.lines().filter(is_marked).map(|line| format!("mount: {line}")));
    for name in SYSCTLS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        seen.insert(format!("{name}: {}", value.trim()));
    }
    for place in PLACES {
        list(Path::new(place), 1, &mut seen);
    }
    Ok(seen)
}

/// The groups of a cluster, in every hierarchy.
pub fn groups(name: &str) -> Vec<String> {
    let group = format!("outrigger-cluster-{name}");
    let mut found = Vec::new();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok);
    for hierarchy in std::iter::once("/sys/fs/cgroup".into()).chain(hierarchies.map(|entry| entry.path())) {
        let candidate = hierarchy.join(&group);
        if candidate.exists() {
            found.push(candidate.display().to_string());
        }
    }
    found
}

/// The namespaces of a process, as the kernel numbers them.
pub fn namespaces(pid: &str) -> Vec<String> {
    let kinds = ["net", "mnt", "pid", "uts", "ipc", "cgroup"];
    kinds
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
        .map(|path| shown(&path))
        .collect()
}

/// The processes in any of these namespaces, each with its start: a number alone is given again, as those of namespaces are.
pub fn processes_in(namespaces: &[String]) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_inside = |pid: &String| self::namespaces(pid).iter().any(|own| namespaces.contains(own));
    pids.filter(|name| name.parse::<u32>().is_ok()).filter(is_inside).filter_map(|pid| with_start(&pid)).collect()
}

/// Those of these processes that still are.
pub fn still_there(processes: &[String]) -> Vec<&String> {
    let is_there = |process: &&String| process.split(' ').next().and_then(with_start).as_ref() == Some(*process);
    processes.iter().filter(is_there).collect()
}

/// A process's number and field 22 of its `stat`. One that has ended and waits for the machine's init to take it in is none.
fn with_start(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z") && fields.first() != Some(&"X")).then_some(())?;
    Some(format!("{pid} {}", fields.get(19)?))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn list(path: &Path, depth: u32, seen: &mut BTreeSet<String>) {
    if fs::symlink_metadata(path).is_err() {
        return;
    }
    seen.insert(shown(path));
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|_| 0 < depth) {
        list(&entry.path(), depth - 1, seen);
    }
}
