//! From `up` to `down`.

use std::fs;

use outrigger_e2e::cluster::{Cluster, machine};
use serde_json::json;

/// Says who it is to whoever asks over HTTP.
fn web() -> serde_json::Value {
    let script = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www";
    let container = json!({"name": "web", "image": "localhost/busybox:1", "command": ["sh", "-c", script],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}});
    let metadata = json!({"name": "web", "labels": {"app": "web"}});
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": "web"}, "ports": ports}},
    ]})
}

/// Fetches the page by the service's name, and ends.
fn client() -> serde_json::Value {
    let script = "until wget -qO- http://web.default.svc.cluster.local/ 2>/dev/null; do sleep 0.2; done";
    let limits = json!({"cpu": "100m", "memory": "64Mi"});
    let container = json!({"name": "client", "image": "localhost/busybox:1", "command": ["sh", "-c", script],
        "resources": {"limits": limits}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}})
}

#[test]
fn pods_run_and_nothing_of_the_cluster_is_left() {
    let before = machine::look().unwrap();
    let cluster = Cluster::up("life", &[]).unwrap();
    let init = fs::read_to_string(cluster.directory().join("init")).unwrap();
    let namespaces = machine::namespaces(init.split(' ').next().unwrap());
    assert_eq!(namespaces.len(), 6);
    assert!(machine::namespaces("self").iter().all(|ours| !namespaces.contains(ours)), "it has all of its own");

    cluster.apply(&web().to_string()).unwrap();
    cluster.until_ready("default", "pod/web").unwrap();
    cluster.apply(&client().to_string()).unwrap();
    let phase = ["get", "pod/client", "--output=jsonpath={.status.phase}"];
    cluster.until("default", "Succeeded", &phase).unwrap();
    assert_eq!(cluster.kubectl(&["logs", "client"]).unwrap(), "web\n");
    assert_eq!(cluster.kubectl(&["exec", "web", "--", "hostname"]).unwrap(), "web\n");
    assert_eq!(cluster.inside(&["hostname"]).unwrap(), "node-1\n");

    let status = outrigger_e2e::cluster::output(&mut cluster.command("status")).unwrap();
    for component in ["etcd", "kube-apiserver", "kubelet", "containerd", "coredns"] {
        assert!(status.contains(component), "{status}");
    }
    let during = machine::look().unwrap();
    assert_eq!(during.symmetric_difference(&before).collect::<Vec<_>>(), Vec::<&String>::new(), "while it runs");
    let processes = machine::processes_in(&namespaces);
    // Some end meanwhile: a request's, an exec's.
    assert!(8 < machine::still_there(&processes).len(), "{processes:?}");

    let (directory, name) = (cluster.directory().to_owned(), cluster.name().to_owned());
    cluster.down().unwrap();
    assert_eq!(machine::still_there(&processes), Vec::<&String>::new());
    assert_eq!(machine::groups(&name), Vec::<String>::new());
    assert!(!directory.exists(), "{} is left", directory.display());
    let after = machine::look().unwrap();
    assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), Vec::<&String>::new(), "after its end");
}
