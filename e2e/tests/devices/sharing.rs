//! One disk, one pod: what a pod writes to its disk is what it reads from it, whoever else runs.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use outrigger_e2e::cluster::namespace::{self, Namespace, container, phase};
use outrigger_e2e::cluster::output;
use outrigger_e2e::suite::rounds;
use serde_json::{Value, json};

use crate::plugin::Plugin;
use crate::site::{DISK, DISKS, Site, until_allocatable};

/// Writes the pod's name to its disk, and reads it again and again. One that finds another's name says so and ends with 9.
const OWNER: &str = "\
set -- /dev/loop*
test $# = 1
test -b $1
printf %-64s $(hostname) > /tmp/own
dd if=/tmp/own of=$1 bs=64 count=1 conv=notrunc 2>/dev/null
for round in 1 2 3 4 5 6 7 8; do
  sleep 0.1
  dd if=$1 of=/tmp/read bs=64 count=1 2>/dev/null
  cmp -s /tmp/own /tmp/read || { echo shared: $1 is also of $(cat /tmp/read); exit 9; }
done
echo $1";

/// One more pod than there are disks, all at once; whether a disk had two of them.
fn round(namespace: &Namespace, number: u32, resource: &str) -> Result<()> {
    let names: Vec<String> = (0..=DISKS).map(|pod| format!("round-{number}-{pod}")).collect();
    for name in &names {
        namespace.start(&namespace::pod(name, OWNER, &[resource]))?;
    }
    namespace.until("all pods of the round have ended", |pods| {
        let phases: Vec<&str> = names.iter().map(|name| pods.get(name).map_or("", phase)).collect();
        Ok(phases.iter().all(|phase| ["Succeeded", "Failed"].contains(phase)).then_some(()))
    })?;
    let mut wrong = String::new();
    for name in &names {
        let pod = namespace.get(name)?;
        if phase(&pod) != "Succeeded" {
            let said = namespace.said(name).unwrap_or_default();
            let _ = writeln!(wrong, "{name}: {} {}", said.trim(), pod["status"]);
        }
    }
    ensure!(wrong.is_empty(), "round {number}:\n{wrong}");
    names.iter().try_for_each(|name| namespace.delete(name))
}

pub fn two_pods_never_share_a_disk(namespace: &Namespace, _: &Site) -> Result<()> {
    (0..rounds(100, 5)).try_for_each(|number| round(namespace, number, DISK))
}

/// The same rounds with a device plugin that gives everybody the first disk: they must fail, and by what a pod has read.
pub fn an_agent_that_ignores_ids_is_found_out(namespace: &Namespace, site: &Site) -> Result<()> {
    const CARELESS: &str = "careless.example.com/disk";
    let program = env!("CARGO_BIN_EXE_careless-device-plugin");
    let disks = site.disks.iter().map(|disk| disk.node.as_str());
    let plugin = Plugin::start(namespace, program, [CARELESS].into_iter().chain(disks))?;
    until_allocatable(namespace.cluster, CARELESS, &DISKS.to_string())?;
    match round(namespace, 0, CARELESS) {
        Ok(()) => bail!("nobody has seen that all pods had one disk"),
        Err(error) => ensure!(format!("{error:#}").contains("shared: "), "it fails otherwise: {error:#}"),
    }
    plugin.end()
}

/// The first run of each container notes what it has and fails; the second compares. All disks are taken meanwhile, and pods
/// wait for them.
pub fn a_container_that_starts_again_keeps_its_device(namespace: &Namespace, _: &Site) -> Result<()> {
    const SCRIPT: &str = "\
        has() { ls /dev/loop*; env | grep OUTRIGGER_DEVICE | sort; }\n\
        test -e /kept/first || { has > /kept/first; exit 1; }\n\
        has > /kept/second; cmp /kept/first /kept/second && echo the same; sleep 100000";
    let keeping = |name: String| {
        let mut pod = namespace::pod(&name, SCRIPT, &[DISK]);
        pod["spec"]["restartPolicy"] = json!("Always");
        pod["spec"]["volumes"] = json!([{"name": "kept", "emptyDir": {}}]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "kept", "mountPath": "/kept"}]);
        pod
    };
    (0..=DISKS).try_for_each(|number| namespace.start(&keeping(format!("keeper-{number}"))))?;
    let has_run_twice =
        |pod: &Value| container(pod)["restartCount"] == 1 && container(pod)["state"]["running"].is_object();
    let kept = namespace.until("a container of each disk has started again", |pods| {
        let names: Vec<String> =
            pods.iter().filter(|(_, pod)| has_run_twice(pod)).map(|(name, _)| name.clone()).collect();
        Ok((names.len() == DISKS).then_some(names))
    })?;
    for name in kept {
        ensure!(namespace.lines(&name, 1)?[0] == "the same", "{name} has another device after its restart");
    }
    // Whoever has waited gets the first that is free.
    let waits = namespace.until("one pod waits", |pods| {
        Ok(pods.iter().find(|(_, pod)| phase(pod) == "Pending").map(|(name, _)| name.clone()))
    })?;
    let other = (0..=DISKS).map(|number| format!("keeper-{number}")).find(|name| *name != waits);
    namespace.delete(&other.context("no other pod")?)?;
    ensure!(namespace.lines(&waits, 1)?[0] == "the same", "{waits} has another device after its restart");
    output(&mut namespace.cluster.command("status")).map(drop)
}
