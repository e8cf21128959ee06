//! What all tests stand on: disks, nodes, and a cluster with the chart installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::cluster::allocatable::Counts;
use outrigger_e2e::cluster::disks::{Disk, Nodes};
use outrigger_e2e::cluster::namespace::Namespace;
use outrigger_e2e::cluster::{Cluster, ask, output};
use serde_json::{Value, json};

/// A whole disk.
pub const DISK: &str = "example.com/disk";
/// A node of `/dev`.
pub const NODE: &str = "example.com/node";
/// A value in a variable, for one container at a time.
pub const SLOT: &str = "example.com/slot";
/// A node for ten.
pub const FUSE: &str = "example.com/fuse";

/// The namespace of the node agent.
pub const AGENTS: &str = "outrigger";

/// The path of its `DaemonSet`.
const DAEMONSET: &str = "/apis/apps/v1/namespaces/outrigger/daemonsets/outrigger-devices";

/// How many disks there are.
pub const DISKS: usize = 3;

/// The disks and nodes of the machine that pods get.
#[derive(Debug)]
pub struct Site {
    /// As many as `example.com/disk` has.
    pub disks: Vec<Disk>,
    /// As many as `example.com/node` has.
    pub nodes: Nodes,
}

/// Starts the cluster, and installs the chart of our image with the devices.
pub fn prepare() -> Result<(Cluster, Site)> {
    let disks = (0..DISKS).map(|_| Disk::attach()).collect::<Result<Vec<_>>>()?;
    let site = Site { disks, nodes: Nodes::make()? };
    let cluster = Cluster::up("devices", &[])?;
    let image = std::env::var("OUTRIGGER_IMAGE").context("`cargo xtask e2e` makes the image and names it")?;
    output(cluster.command("load").arg(&image))?;
    let values = json!({"devices": {"config": site.config()}});
    install(&cluster, AGENTS, AGENTS, &values).with_context(|| cluster.explain(AGENTS))?;
    for (resource, count) in [(DISK, "3"), (NODE, "3"), (SLOT, "1"), (FUSE, "10")] {
        until_allocatable(&cluster, resource, count)?;
    }
    Ok((cluster, site))
}

impl Site {
    /// `devices.yaml`: whatever is well again is offered after a second, so that no test waits for ten.
    fn config(&self) -> Value {
        let names: Vec<&str> = self.disks.iter().map(Disk::name).collect();
        let nodes = format!("{}/*", self.nodes.directory().display());
        let health = json!({"healthyAfter": "1s"});
        json!({"domain": "example.com", "devices": [
            {"name": "disk", "health": health, "groups": [{"block": {"transport": ["loop"], "names": names}}]},
            {"name": "node", "health": health, "groups": [{"paths": [{"path": nodes}]}]},
            {"name": "slot", "groups": [{"counted": {"values": ["left"], "env": "SLOT_ID"}}]},
            {"name": "fuse", "groups": [{"count": 10, "paths": [{"path": "/dev/fuse"}]}]},
        ]})
    }
}

/// Installs the chart, and waits until its agent is ready. Helm would wait too, but does not tell of a pod that crashes.
pub fn install(cluster: &Cluster, release: &str, namespace: &str, values: &Value) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), values.to_string())?;
    let mut install = helm(cluster)?;
    install.args(["install", release]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart"));
    install.args(["--create-namespace", "--namespace", namespace, "--values"]);
    ask(install.arg(file.path()))?;
    let namespace = Namespace { cluster, name: namespace.to_owned() };
    namespace.until("an agent is ready", |pods| Ok(pods.values().any(is_ready).then_some(())))
}

/// Helm, for this cluster.
pub fn helm(cluster: &Cluster) -> Result<Command> {
    let mut helm = Command::new(std::env::var("HELM_BIN").context("`cargo xtask e2e` names Helm")?);
    helm.env("KUBECONFIG", cluster.kubeconfig());
    Ok(helm)
}

/// Waits until the node's status, as the API has it, says so.
pub fn until_allocatable(cluster: &Cluster, resource: &str, count: &str) -> Result<()> {
    let nodes = "/api/v1/nodes?fieldSelector=metadata.name=node-1";
    let namespace = Namespace { cluster, name: AGENTS.to_owned() };
    let what = format!("the node has {count} {resource}");
    namespace
        .follow(nodes, &what, |nodes| Ok((nodes["node-1"]["status"]["allocatable"][resource] == count).then_some(())))
}

/// Whether all resources of the site are there whole.
pub fn is_whole(counts: &Counts) -> bool {
    [(DISK, DISKS), (NODE, 3), (SLOT, 1), (FUSE, 10)].iter().all(|(name, count)| counts.get(*name) == Some(count))
}

/// The agent's pod that runs and does not end: its name and itself.
pub fn agent(cluster: &Cluster) -> Result<Option<(String, Value)>> {
    let pods = cluster.api()?.get(&format!("/api/v1/namespaces/{AGENTS}/pods"))?;
    let mut pods = pods["items"].as_array().into_iter().flatten();
    let one = pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(one.map(|pod| (pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), pod.clone())))
}

/// Takes the agent from the node, or lets it come again, and waits until that is so.
pub fn keep_agent(cluster: &Cluster, is_wanted: bool) -> Result<()> {
    let selector = if is_wanted { json!({"absent": null}) } else { json!({"absent": "true"}) };
    let change = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}});
    cluster.api()?.patch(DAEMONSET, &change)?;
    let namespace = Namespace { cluster, name: AGENTS.to_owned() };
    let what = format!("the agent {}", if is_wanted { "serves" } else { "is gone" });
    namespace.until(&what, |pods| {
        Ok((pods.values().any(is_ready) == is_wanted && pods.is_empty() != is_wanted).then_some(()))
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Gives every agent's pod a successor, as a new version of the image would, and waits until the old one is gone.
pub fn roll(cluster: &Cluster) -> Result<()> {
    let (old, _) = agent(cluster)?.context("there is no agent")?;
    // As `kubectl rollout restart` does, with an annotation that no template before had.
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"follows": old}}}}});
    cluster.api()?.patch(DAEMONSET, &change)?;
    let namespace = Namespace { cluster, name: AGENTS.to_owned() };
    namespace.until("a new agent has taken over", |pods| {
        let is_new = pods.iter().any(|(name, pod)| *name != old && is_ready(pod));
        Ok((is_new && !pods.contains_key(&old)).then_some(()))
    })
}

/// The node agent's processes inside, by their numbers there.
pub fn agent_processes(cluster: &Cluster) -> Result<Vec<u32>> {
    let proc = cluster.root()?.join("proc");
    let entries = std::fs::read_dir(&proc)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_agent = |pid: &u32| {
        let words = std::fs::read(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
        words.starts_with(b"/outrigger\0devices\0agent\0")
    };
    Ok(entries.filter(is_agent).collect())
}

/// Fails where pods are not as they were.
pub fn untouched(before: &[Value], after: &[Value]) -> Result<()> {
    ensure!(before == after, "a pod that runs was touched:\n{before:#?}\nis now\n{after:#?}");
    Ok(())
}
