//! What people install, beside what others have installed.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use outrigger_e2e::cluster::namespace::{self, Namespace, phase};
use outrigger_e2e::cluster::{Cluster, allocatable::Watch, ask, output};
use serde_json::{Value, json};

use crate::site::{FUSE, SLOT, Site, agent, helm, install, is_whole, roll, until_allocatable};

pub fn a_second_pod_waits_until_the_first_ends(namespace: &Namespace, _: &Site) -> Result<()> {
    let script = "echo slot $SLOT_ID; test ! -c /dev/fuse || echo fuse; exec sleep 100000";
    namespace.start(&namespace::pod("first", script, &[SLOT, FUSE]))?;
    ensure!(namespace.lines("first", 2)? == ["slot left", "fuse"], "the first pod has not what it asked for");
    namespace.start(&namespace::pod("second", script, &[SLOT]))?;
    namespace.until("the second pod waits", |pods| {
        let conditions = pods["second"]["status"]["conditions"].as_array();
        let is_told = conditions.into_iter().flatten().any(|one| one["reason"] == "Unschedulable");
        Ok((is_told && phase(&pods["second"]) == "Pending").then_some(()))
    })?;
    namespace.delete("first")?;
    namespace.running("second")?;
    ensure!(namespace.lines("second", 1)? == ["slot left"], "the second pod has not what it asked for");
    Ok(())
}

/// Files that others make on the machine for pods of the cluster. They go with the test, unless they were there.
struct Stray(Vec<PathBuf>);

impl Stray {
    fn of(paths: &[&str]) -> Self {
        Self(paths.iter().map(PathBuf::from).filter(|path| !path.exists()).collect())
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Kubernetes' sample device plugin, which has its own resource and socket.
pub fn another_plugin_is_left_alone(namespace: &Namespace, _: &Site) -> Result<()> {
    const SAMPLE: &str = "example.com/resource";
    let cluster = namespace.cluster;
    let _stray = Stray::of(&["/tmp/Dev-1", "/tmp/Dev-2"]);
    let program = std::env::var("SAMPLE_DEVICE_PLUGIN_BIN")?;
    let paths = [("program", program.as_str(), "/sample"), ("tmp", "/tmp", "/tmp")];
    let sockets = "/var/lib/kubelet/device-plugins";
    let paths = [paths[0], paths[1], ("sockets", sockets, sockets)];
    namespace.start(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sample"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "sample", "image": namespace::IMAGE, "command": ["/sample"],
            "volumeMounts": paths.map(|(name, _, path)| json!({"name": name, "mountPath": path}))}],
        "volumes": paths.map(|(name, path, _)| json!({"name": name, "hostPath": {"path": path}})),
    }}))?;
    until_allocatable(cluster, SAMPLE, "2")?;
    namespace.start(&namespace::pod("user", "ls /tmp; exec sleep 100000", &[SAMPLE]))?;
    namespace.running("user")?;

    let watch = Watch::begin(cluster)?;
    let has_sample = |counts: &outrigger_e2e::cluster::allocatable::Counts| counts.get(SAMPLE) == Some(&2);
    let begin = watch.until("the sample is offered", has_sample)?.at;
    let socket = sockets_of_sample(cluster)?;
    roll(cluster)?;
    ensure!(watch.longest_without(SAMPLE, begin).is_zero(), "an update of our agent took the sample's devices away");
    ensure!(socket == sockets_of_sample(cluster)?, "our agent has touched the sample's socket");
    output(cluster.command("restart").arg("kubelet"))?;
    watch.until("all is offered again", |counts| has_sample(counts) && is_whole(counts))?;
    namespace.start(&namespace::pod("later", "ls /tmp; exec sleep 100000", &[SAMPLE]))?;
    namespace.running("later").map(drop)
}

/// The names of the sample's sockets, which hold the time of its start.
fn sockets_of_sample(cluster: &Cluster) -> Result<Vec<String>> {
    let directory = cluster.root()?.join("var/lib/kubelet/device-plugins");
    let names = std::fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| name.starts_with("dp.")).collect();
    ensure!(!names.is_empty(), "the sample has no socket");
    Ok(names)
}

/// A release of its own, as one would have it for another team: it comes and goes beside the first.
pub fn ten_thousand_devices_are_offered(namespace: &Namespace, _: &Site) -> Result<()> {
    const MANY: &str = "many.example.com/slot";
    let cluster = namespace.cluster;
    let few = |number| json!({"name": format!("few-{number}"), "groups": [{"counted": {"count": 5}}]});
    let mut devices: Vec<Value> = (0..20).map(few).collect();
    devices.push(json!({"name": "slot", "groups": [{"counted": {"count": 10_000, "env": "SLOT_ID"}}]}));
    let values = json!({"devices": {
        "config": {"domain": "many.example.com", "devices": devices},
        // As the chart's values say: more from so many on.
        "resources": {"limits": {"memory": "64Mi"}},
    }});
    let given = install(cluster, "many", &namespace.name, &values)
        .and_then(|()| until_allocatable(cluster, MANY, "10k"))
        .and_then(|()| {
            (0..20).try_for_each(|few| until_allocatable(cluster, &format!("many.example.com/few-{few}"), "5"))
        })
        .and_then(|()| namespace.start(&namespace::pod("user", "echo $SLOT_ID; exec sleep 100000", &[MANY])))
        .and_then(|()| namespace.lines("user", 1));
    let before = agent(cluster)?;
    ask(helm(cluster)?.args(["uninstall", "many", "--wait", "--namespace", &namespace.name]))?;
    let number = given?;
    ensure!(number[0].parse::<u32>().is_ok_and(|number| number < 10_000), "the pod's slot is {number:?}");
    until_allocatable(cluster, MANY, "0")?;
    ensure!(before == agent(cluster)?, "the other release's agent was touched");
    Ok(())
}

pub fn manifests_of_replaced_projects_run_as_they_are(namespace: &Namespace, _: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    // The generic-device-plugin's manifest mounts the node's `/dev`, which is the machine's, and a container runtime makes a
    // file there to mount the container's termination log on.
    let _stray = Stray::of(&["/dev/termination-log"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/replaced");
    for (name, daemonset) in
        [("generic-device-plugin", "generic-device-plugin"), ("simple-device-plugin", "sata-device-plugin")]
    {
        let manifest = folder.join(name).join("daemonset.yaml");
        cluster.kubectl(&["apply", "--filename", &manifest.to_string_lossy()])?;
        cluster.until_that("kube-system", &format!("{name} is ready"), || {
            let path = format!("/apis/apps/v1/namespaces/kube-system/daemonsets/{daemonset}");
            Ok(cluster.api()?.get(&path)?["status"]["numberReady"] == 1)
        })?;
    }
    until_allocatable(cluster, "squat.ai/fuse", "10")?;
    namespace.start(&namespace::pod("replaced", "test -c /dev/fuse; echo fuse", &["squat.ai/fuse"]))?;
    ensure!(namespace.lines("replaced", 1)? == ["fuse"], "the pod has no /dev/fuse");
    for name in ["generic-device-plugin", "simple-device-plugin"] {
        let manifest = folder.join(name).join("daemonset.yaml");
        cluster.kubectl(&["delete", "--wait", "--timeout=180s", "--filename", &manifest.to_string_lossy()])?;
    }
    Ok(())
}
