//! What `up` can be told: it reaches the component that it is for.

use outrigger_e2e::cluster::Cluster;
use serde_json::json;

#[test]
fn options_reach_the_components() {
    let options = ["--nodes=3", "--policy=static", "--nri=off", "--kubelet-arg=--max-pods=7"];
    let cluster = Cluster::up("options", &options).unwrap();
    let names = cluster.kubectl(&["get", "nodes", "--no-headers", "--output=name"]).unwrap();
    assert_eq!(names.lines().count(), 4, "{names}");
    let pods = ["get", "node/node-1", "--output=jsonpath={.status.capacity.pods}"];
    assert_eq!(cluster.kubectl(&pods).unwrap(), "7");
    cluster.inside(&["test", "!", "-e", "/run/nri/nri.sock"]).unwrap();

    // A whole CPU of a guaranteed pod is its own.
    let script = "grep Cpus_allowed_list /proc/self/status";
    let limits = json!({"cpu": "1", "memory": "64Mi"});
    let container = json!({"name": "app", "image": "localhost/busybox:1", "command": ["sh", "-c", script],
        "resources": {"limits": limits}});
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pinned"}, "spec": spec});
    cluster.apply(&pod.to_string()).unwrap();
    let phase = ["get", "pod/pinned", "--output=jsonpath={.status.phase}"];
    cluster.until("default", "Succeeded", &phase).unwrap();
    let allowed = cluster.kubectl(&["logs", "pinned"]).unwrap();
    assert!(allowed.trim().rsplit('\t').next().unwrap().parse::<u32>().is_ok(), "one CPU, not {allowed}");
    cluster.down().unwrap();
}
