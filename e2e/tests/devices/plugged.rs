//! Devices that come, go, and are used by others than pods.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::cluster::Cluster;
use outrigger_e2e::cluster::allocatable::Watch;
use outrigger_e2e::cluster::namespace::{self, Namespace, life};

use crate::site::{AGENTS, DISK, NODE, Site, agent_processes, is_whole, until_allocatable, untouched};

/// What the agent itself says of its devices, from within its pod.
fn listed(cluster: &Cluster) -> Result<String> {
    let list = ["exec", "--namespace", AGENTS, "daemonset/outrigger-devices", "--"];
    let command = ["/outrigger", "devices", "list", "--config", "/etc/outrigger/devices.yaml"];
    cluster.kubectl(&[&list[..], &command[..]].concat())
}

/// The line of a device in the agent's list.
fn line(cluster: &Cluster, node: &str) -> Result<String> {
    let all = listed(cluster)?;
    let found = all.lines().find(|line| line.split_whitespace().any(|word| word == node));
    found.map(str::to_owned).with_context(|| format!("no line tells of {node}:\n{all}"))
}

pub fn a_device_that_is_unplugged_is_unhealthy_and_its_pod_runs_on(namespace: &Namespace, site: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    let nodes = site.nodes.directory().display();
    let script = format!("ls /dev/loop* {nodes}/*; exec sleep 100000");
    namespace.start(&namespace::pod("holder", &script, &[DISK, NODE]))?;
    let before = life(&namespace.running("holder")?);
    let has = namespace.lines("holder", 2)?;
    let disk = site.disks.iter().find(|disk| has.contains(&disk.node)).context("the pod has no disk of ours")?;
    let mut numbers = 0..3;
    let number = numbers.find(|number| has.iter().any(|path| *path == site.nodes.path(*number).to_string_lossy()));
    let number = number.context("the pod has no node of ours")?;
    let watch = Watch::begin(cluster)?;

    disk.unplug()?;
    site.nodes.unplug(number)?;
    let gone = watch.until("a disk and a node are gone", |counts| (counts[DISK], counts[NODE]) == (2, 2));
    // Whoever waits for a disk gets another one, and the one that is gone goes to nobody.
    let others = gone.and_then(|_| {
        until_allocatable(cluster, DISK, "2")?;
        until_allocatable(cluster, NODE, "2")?;
        let line = line(cluster, &disk.node)?;
        ensure!(line.contains("unhealthy") || line.contains("no medium"), "the agent says: {line}");
        namespace.start(&namespace::pod("other", &script, &[DISK, NODE]))?;
        namespace.running("other")?;
        let others = namespace.lines("other", 2)?;
        ensure!(others.iter().all(|path| !has.contains(path)), "what is gone was given: {others:?}");
        untouched(std::slice::from_ref(&before), &[life(&namespace.get("holder")?)])
    });
    disk.plug()?;
    site.nodes.plug(number)?;
    others?;
    watch.until("both are back", is_whole)?;
    untouched(&[before], &[life(&namespace.get("holder")?)])
}

/// The agent's pod has no capability and may open no disk: that one is mounted it knows from the node's mount table.
pub fn a_mounted_disk_is_withheld_from_an_agent_without_rights(namespace: &Namespace, site: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    has_no_rights(cluster)?;
    let node = &site.disks[0].node;
    let watch = Watch::begin(cluster)?;
    watch.until("all devices are offered", is_whole)?;
    for system in ["ext4", "xfs"] {
        cluster.inside(&[&format!("mkfs.{system}"), "-q", node])?;
        cluster.inside(&["sh", "-ec", &format!("mkdir -p /run/m; mount -t {system} {node} /run/m")])?;
        let withheld = watch.until("the mounted disk is withheld", |counts| counts[DISK] == 2);
        let line = withheld.and_then(|_| line(cluster, node));
        cluster.inside(&["umount", "/run/m"])?;
        let expected = format!("mounted at /run/m ({system})");
        let line = line?;
        ensure!(line.contains("withheld") && line.contains(&expected), "the agent says: {line}");
        watch.until("the disk is offered again", is_whole)?;
        cluster.inside(&["wipefs", "--all", "--quiet", node])?;
    }
    Ok(())
}

/// No capability, and with cgroup v1, where that can be read, no disk.
fn has_no_rights(cluster: &Cluster) -> Result<()> {
    let root = cluster.root()?;
    let pids = agent_processes(cluster)?;
    let pid = pids.first().context("no agent runs")?;
    let status = std::fs::read_to_string(root.join(format!("proc/{pid}/status")))?;
    for kind in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(kind)).context("no capabilities are told")?;
        ensure!(line.ends_with("0000000000000000"), "the agent has capabilities: {line}");
    }
    let groups = std::fs::read_to_string(root.join(format!("proc/{pid}/cgroup")))?;
    let group = groups.lines().find_map(|line| line.split_once(":devices:")).map(|(_, group)| group);
    let Some(group) = group else { return Ok(()) };
    // Groups are told as whoever reads sees them: we see the machine's.
    let list = Path::new("/sys/fs/cgroup/devices").join(group.trim_start_matches('/')).join("devices.list");
    let list = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let opens = list.lines().find(|line| !line.starts_with('c') && line.rsplit(' ').next() != Some("m"));
    ensure!(opens.is_none(), "the agent's group lets it open disks: {list}");
    Ok(())
}
