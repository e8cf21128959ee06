//! The agent is not there, or the node takes no pods.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::cluster::namespace::{self, Namespace, container, life, phase};
use outrigger_e2e::cluster::output;
use serde_json::{Value, json};

use crate::site::{DISK, DISKS, Site, agent, keep_agent, until_allocatable, untouched};

pub fn pods_and_the_kubelet_start_without_the_agent(namespace: &Namespace, _: &Site) -> Result<()> {
    let script = "ls /dev/loop*; exec sleep 100000";
    namespace.start(&namespace::pod("before", script, &[DISK]))?;
    let before = life(&namespace.running("before")?);
    keep_agent(namespace.cluster, false)?;
    let result = start_without_agent(namespace, script);
    keep_agent(namespace.cluster, true)?;
    result?;
    namespace.running("after")?;
    untouched(&[before], &[life(&namespace.get("before")?)])?;
    ensure!(namespace.lines("before", 1)? != namespace.lines("after", 1)?, "both pods have one disk");
    Ok(())
}

fn start_without_agent(namespace: &Namespace, script: &str) -> Result<()> {
    // Until the node says so, a pod would come to it and be refused.
    until_allocatable(namespace.cluster, DISK, "0")?;
    output(namespace.cluster.command("restart").arg("kubelet"))?;
    namespace.start(&namespace::pod("after", script, &[DISK]))?;
    namespace.start(&namespace::pod("plain", "exec sleep 100000", &[]))?;
    namespace.running("plain")?;
    namespace.until("nobody gives the new pod a disk", |pods| {
        let conditions = pods["after"]["status"]["conditions"].as_array();
        let is_told = conditions.into_iter().flatten().any(|one| one["reason"] == "Unschedulable");
        Ok((is_told && phase(&pods["after"]) == "Pending").then_some(()))
    })
}

pub fn a_drained_node_gives_its_disks_again(namespace: &Namespace, _: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    let mut template = namespace::pod("app", "ls /dev/loop*; exec sleep 100000", &[DISK]);
    template["spec"]["restartPolicy"] = json!("Always");
    template["metadata"] = json!({"labels": {"app": "app"}});
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets", namespace.name);
    cluster.api()?.create(
        &path,
        &json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "app"},
        "spec": {"replicas": DISKS, "selector": {"matchLabels": {"app": "app"}}, "template": template}}),
    )?;
    let first = each_has_a_disk(namespace)?;
    let (agent_before, _) = agent(cluster)?.context("there is no agent")?;
    let drained = cluster.kubectl(&["drain", "node-1", "--ignore-daemonsets", "--timeout=180s"]);
    let waiting = drained.and_then(|_| {
        namespace.until("all pods wait for a node", |pods| {
            let waiting = pods.values().filter(|pod| phase(pod) == "Pending").count();
            Ok((waiting == DISKS && pods.len() == DISKS).then_some(()))
        })
    });
    cluster.kubectl(&["uncordon", "node-1"])?;
    waiting?;
    ensure!(first == each_has_a_disk(namespace)?, "after the drain other disks are given");
    let (agent_after, _) = agent(cluster)?.context("there is no agent")?;
    ensure!(agent_before == agent_after, "the agent was drained too");
    cluster.api()?.delete(&format!("{path}/app?propagationPolicy=Foreground"))
}

/// The disks of the pods, in order; each has one of its own.
fn each_has_a_disk(namespace: &Namespace) -> Result<Vec<String>> {
    let names = namespace.until("a pod for each disk runs", |pods| {
        let running = pods.iter().filter(|(_, pod)| is_running(pod)).map(|(name, _)| name.clone());
        let running: Vec<String> = running.collect();
        Ok((running.len() == DISKS && pods.len() == DISKS).then_some(running))
    })?;
    let mut disks = names.iter().map(|name| Ok(namespace.lines(name, 1)?.join(" "))).collect::<Result<Vec<_>>>()?;
    disks.sort_unstable();
    let count = disks.len();
    disks.dedup();
    ensure!(disks.len() == count, "two pods have one disk: {disks:?}");
    Ok(disks)
}

fn is_running(pod: &Value) -> bool {
    container(pod)["state"]["running"].is_object() && pod["metadata"]["deletionTimestamp"].is_null()
}
