//! The devices product as users install it, on a real kubelet: the chart, our image, pods that ask for devices.

use std::path::Path;
use std::process::Command;

use outrigger_e2e::cluster::{Cluster, output};
use serde_json::{Value, json};

const NAMESPACE: &str = "outrigger";
const RESOURCE: &str = "example.com/slot";

/// A value and a device node, for one container at a time.
const VALUES: &str = "\
devices:
  config:
    domain: example.com
    devices:
    - name: slot
      groups: [{counted: {values: [left], env: SLOT_ID}}]
    - name: fuse
      groups: [{count: 10, paths: [{path: /dev/fuse}]}]
";

/// A pod that holds this much of each resource until it is deleted.
fn pod(name: &str, resources: &[&str]) -> String {
    let limits: Value = resources.iter().map(|resource| ((*resource).to_owned(), json!("1"))).collect();
    let script = "echo slot $SLOT_ID; test -c /dev/fuse && echo fuse; exec sleep 100000";
    let container = json!({"name": "app", "image": "localhost/busybox:1", "command": ["sh", "-c", script],
        "resources": {"limits": limits}});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

/// The chart with these values, of our image.
fn install(cluster: &Cluster) {
    let image = std::env::var("OUTRIGGER_IMAGE").expect("`cargo xtask test` makes the image and names it");
    output(cluster.command("load").arg(&image)).unwrap();
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), VALUES).unwrap();
    let mut helm = Command::new(std::env::var("HELM_BIN").expect("`cargo xtask test` names Helm"));
    helm.env("KUBECONFIG", cluster.kubeconfig()).args(["install", "outrigger"]);
    helm.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart"));
    helm.args(["--create-namespace", "--namespace", NAMESPACE, "--wait", "--timeout=180s", "--values"]);
    output(helm.arg(values.path())).unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.explain(NAMESPACE)));
}

fn until_allocatable(cluster: &Cluster, resource: &str, count: &str) {
    let path = format!("--output=jsonpath={{.status.allocatable.{}}}", resource.replace('.', "\\."));
    cluster.until(NAMESPACE, count, &["get", "node", "node-1", &path]).unwrap();
}

/// The generic-device-plugin's manifest mounts the node's `/dev`, which is the machine's, and a container runtime makes a
/// file there to mount the container's termination log on. It goes with the test.
struct TerminationLog {
    was_there: bool,
}

impl TerminationLog {
    const PATH: &str = "/dev/termination-log";

    fn noted() -> Self {
        Self { was_there: Path::new(Self::PATH).exists() }
    }
}

impl Drop for TerminationLog {
    fn drop(&mut self) {
        if !self.was_there {
            let _ = std::fs::remove_file(Self::PATH);
        }
    }
}

#[test]
fn devices_reach_pods_by_the_chart_and_by_the_replaced_projects_manifests() {
    let _log = TerminationLog::noted();
    let cluster = Cluster::up("devices", &[]).unwrap();
    install(&cluster);
    until_allocatable(&cluster, RESOURCE, "1");
    until_allocatable(&cluster, "example.com/fuse", "10");
    a_second_pod_waits_until_the_first_ends(&cluster);
    a_restart_of_the_kubelet_leaves_pods_alone(&cluster);
    manifests_of_replaced_projects_run_as_they_are(&cluster);
    cluster.down().unwrap();
}

fn a_second_pod_waits_until_the_first_ends(cluster: &Cluster) {
    cluster.apply(&pod("first", &[RESOURCE, "example.com/fuse"])).unwrap();
    cluster.until_ready("default", "pod/first").unwrap();
    cluster.until("default", "slot left\nfuse", &["logs", "first"]).unwrap();
    cluster.apply(&pod("second", &[RESOURCE])).unwrap();
    let reason = "--output=jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}";
    cluster.until("default", "Unschedulable", &["get", "pod/second", reason]).unwrap();

    cluster.kubectl(&["delete", "pod/first"]).unwrap();
    cluster.until_ready("default", "pod/second").unwrap();
    cluster.until("default", "slot left", &["logs", "second"]).unwrap();
}

fn a_restart_of_the_kubelet_leaves_pods_alone(cluster: &Cluster) {
    let started = ["get", "pod/second", "--output=jsonpath={.status.containerStatuses[0].containerID}"];
    let container = cluster.kubectl(&started).unwrap();
    output(cluster.command("restart").arg("kubelet")).unwrap();
    // A kubelet that was restarted counts anew.
    cluster
        .until_that("default", "the resource is registered again", || {
            let metrics = cluster.kubectl(&["get", "--raw=/api/v1/nodes/node-1/proxy/metrics"])?;
            let count = format!("kubelet_device_plugin_registration_total{{resource_name=\"{RESOURCE}\"}} 1");
            Ok(metrics.lines().any(|line| line == count))
        })
        .unwrap();
    until_allocatable(cluster, RESOURCE, "1");
    assert_eq!(cluster.kubectl(&started).unwrap(), container, "a running pod is not touched");
}

fn manifests_of_replaced_projects_run_as_they_are(cluster: &Cluster) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/replaced");
    for (name, daemonset) in
        [("generic-device-plugin", "generic-device-plugin"), ("simple-device-plugin", "sata-device-plugin")]
    {
        let manifest = folder.join(name).join("daemonset.yaml");
        cluster.kubectl(&["apply", "--filename", &manifest.to_string_lossy()]).unwrap();
        let rollout = ["rollout", "status", "--namespace=kube-system", "--timeout=180s"];
        let set = format!("daemonset/{daemonset}");
        let rolled = cluster.kubectl(&[&rollout[..], &[&set]].concat());
        rolled.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.explain("kube-system")));
    }
    until_allocatable(cluster, "squat.ai/fuse", "10");
    cluster.apply(&pod("replaced", &["squat.ai/fuse"])).unwrap();
    cluster.until_ready("default", "pod/replaced").unwrap();
    cluster.until("default", "slot\nfuse", &["logs", "replaced"]).unwrap();
}
