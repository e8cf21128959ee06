//! The life of a release on a real node: installed, changed, updated, rolled back and removed, while a pod has a device.
//!
//! The kubelet itself is asked all the while what it could give.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use outrigger_e2e::cluster::allocatable::{Counts, Watch};
use outrigger_e2e::cluster::{Cluster, ask, output};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAMESPACE: &str = "outrigger";
const FUSE: &str = "example.com/fuse";
const SLOT: &str = "example.com/slot";

/// How long the node may offer nothing, whatever happens to the release.
const GAP: Duration = Duration::from_secs(1);

/// Tried with `maxSurge: 0` and `maxUnavailable: 1` in the chart: the node offers nothing for more than a second.
#[test]
fn a_release_is_changed_without_a_gap_and_leaves_nothing() {
    let cluster = Cluster::up("release", &[]).unwrap();
    let image = std::env::var("OUTRIGGER_IMAGE").expect("`cargo xtask test` makes the image and names it");
    output(cluster.command("load").arg(&image)).unwrap();
    cluster.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    let account = ["get", "serviceaccount/default", "--namespace", NAMESPACE, "--output=name"];
    cluster.until(NAMESPACE, "serviceaccount/default", &account).unwrap();
    let before = left(&cluster);

    let older = older_chart();
    let notes = helm(&cluster, "install", older.path(), &values(2, &[]));
    for next in ["When a node offers it", "{example.com/fuse: 1}", "kubectl get nodes", "-- /outrigger devices list"] {
        assert!(notes.contains(next), "{next} is not in:\n{notes}");
    }
    let watch = Watch::begin(&cluster).unwrap();
    until(&watch, 2);
    let (begin, pod) = (Instant::now(), holder(&cluster));
    let agent = agents(&cluster);

    helm(&cluster, "upgrade", older.path(), &values(3, &[]));
    // It would come by itself, with one of the kubelet's looks at its pods: this is one.
    let hurry = ["annotate", "pods", "--namespace", NAMESPACE, "--all", "look=now"];
    cluster.kubectl(&hurry).unwrap();
    until(&watch, 3);
    assert_eq!(agents(&cluster), agent, "a changed configuration restarts nothing");

    helm(&cluster, "upgrade", &chart(), &values(4, &["--audit=10s"]));
    until(&watch, 4);
    // The older one may be seen for a moment after the rollout is over.
    let is_updated = || {
        let now = agents(&cluster);
        Ok(now != agent && now.lines().count() == 1)
    };
    cluster.until_that(NAMESPACE, "another agent runs alone", is_updated).unwrap();

    let rollback = ["rollback", "outrigger", "2", "--namespace", NAMESPACE, "--wait", "--timeout=180s"];
    told(&cluster, helm_of(&cluster).args(rollback));
    until(&watch, 3);
    the_node_always_offered(&watch, begin);

    let uninstall = ["uninstall", "outrigger", "--namespace", NAMESPACE, "--wait", "--timeout=180s"];
    told(&cluster, helm_of(&cluster).args(uninstall));
    watch.until("nothing is offered", |counts| count(counts, FUSE) == 0 && count(counts, SLOT) == 0).unwrap();
    assert_eq!(container(&cluster), pod, "the pod with a device runs on");
    cluster.kubectl(&["delete", "pod/holder", "--grace-period=0"]).unwrap();
    // The garbage collector takes revisions after their DaemonSet.
    let is_gone = || Ok(left(&cluster).symmetric_difference(&before).next().is_none());
    let gone = cluster.until_that(NAMESPACE, "nothing of the release is left", is_gone);
    gone.unwrap_or_else(|error| {
        let after = left(&cluster);
        panic!("{:#?}\n{error:#}", after.symmetric_difference(&before).collect::<Vec<_>>())
    });
    drop(watch);
    cluster.down().unwrap();
}

fn chart() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// The chart as another version of it.
fn older_chart() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    output(Command::new("cp").arg("-r").arg(chart().join(".")).arg(place.path())).unwrap();
    let file = place.path().join("Chart.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let older = text.replace("\nversion: ", "\nversion: 0.0.1-before.");
    assert_ne!(text, older);
    std::fs::write(&file, older).unwrap();
    place
}

/// So many units of a node, a slot for one, and further arguments of the agent.
fn values(count: u32, args: &[&str]) -> Value {
    json!({"devices": {"args": args, "config": {"domain": "example.com", "devices": [
        {"name": "fuse", "groups": [{"count": count, "paths": [{"path": "/dev/fuse"}]}]},
        {"name": "slot", "groups": [{"counted": {"values": ["left"], "env": "SLOT_ID"}}]},
    ]}}})
}

fn helm_of(cluster: &Cluster) -> Command {
    let mut helm = Command::new(std::env::var("HELM_BIN").expect("`cargo xtask test` names Helm"));
    helm.env("KUBECONFIG", cluster.kubeconfig());
    helm
}

/// Installs or upgrades, and answers the notes.
fn helm(cluster: &Cluster, command: &str, chart: &Path, values: &Value) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    let mut helm = helm_of(cluster);
    helm.args([command, "outrigger", "--namespace", NAMESPACE, "--wait", "--timeout=180s"]).arg(chart);
    told(cluster, helm.arg("--values").arg(file.path()))
}

/// What a command says; where it fails, with what an engineer would ask for.
fn told(cluster: &Cluster, command: &mut Command) -> String {
    ask(command).unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.explain(NAMESPACE)))
}

fn count(counts: &Counts, resource: &str) -> usize {
    counts.get(resource).copied().unwrap_or_default()
}

fn until(watch: &Watch, fuses: usize) {
    let is_so = |counts: &Counts| count(counts, FUSE) == fuses && count(counts, SLOT) == 1;
    watch.until(&format!("there are {fuses} of {FUSE} and one {SLOT}"), is_so).unwrap();
}

/// A machine that is too busy to ask cannot tell how long nothing was offered: what it missed is not counted.
fn the_node_always_offered(watch: &Watch, since: Instant) {
    let answers = watch.answers();
    let missed = answers.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default();
    for resource in [FUSE, SLOT] {
        let gap = watch.longest_without(resource, since);
        assert!(gap < GAP + missed, "no {resource} for {gap:?}, asked at least every {missed:?}");
    }
}

/// Starts a pod that has the slot, and answers its container.
fn holder(cluster: &Cluster) -> String {
    let resources = json!({"limits": {SLOT: "1"}});
    let container = json!({"name": "app", "image": "localhost/busybox:1", "command": ["sleep", "100000"],
        "resources": resources});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": spec});
    cluster.apply(&pod.to_string()).unwrap();
    cluster.until_ready("default", "pod/holder").unwrap();
    self::container(cluster)
}

fn container(cluster: &Cluster) -> String {
    let state = "--output=jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].state}";
    cluster.kubectl(&["get", "pod/holder", state]).unwrap()
}

/// The agent's pods, a line for each.
fn agents(cluster: &Cluster) -> String {
    let names = ["get", "pods", "--namespace", NAMESPACE, "--output=name"];
    cluster.kubectl(&names).unwrap()
}

/// What a release could leave: objects of every kind, and sockets for the kubelet.
fn left(cluster: &Cluster) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for scope in ["--namespaced=true", "--namespaced=false"] {
        let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "--output=name", scope]).unwrap();
        // Events tell of what was, and leases of who lives.
        let is_kept = |kind: &&str| !kind.starts_with("events") && !kind.starts_with("leases");
        let kinds = kinds.lines().filter(is_kept).collect::<Vec<_>>().join(",");
        let names = cluster.kubectl(&["get", &kinds, "--namespace", NAMESPACE, "--output=name"]).unwrap();
        found.extend(names.lines().map(str::to_owned));
    }
    let sockets = cluster.inside(&["find", "/var/lib/kubelet/device-plugins", "-type", "s"]).unwrap();
    found.extend(sockets.lines().map(str::to_owned));
    found
}
