//! Clusters beside each other: neither sees the other. In a soak one of them is of the oldest version, which is built for it.

use std::thread;

use outrigger_e2e::cluster::{Cluster, machine, output};
use outrigger_e2e::suite::is_soak;

#[test]
fn two_clusters_run_side_by_side() {
    let before = machine::look().unwrap();
    let oldest = std::env::var("OUTRIGGER_TEST_OLDEST").unwrap_or_default();
    let older = ["--kubernetes", &oldest];
    let (one, two) = thread::scope(|scope| {
        let options: &[&str] = if is_soak() { &older } else { &["--api-only"] };
        let newest: &[&str] = if is_soak() { &[] } else { &["--api-only"] };
        let one = scope.spawn(|| Cluster::up("one", options).unwrap());
        let two = Cluster::up("two", newest).unwrap();
        (one.join().unwrap(), two)
    });
    for (cluster, other) in [(&one, &two), (&two, &one)] {
        cluster.kubectl(&["create", "namespace", cluster.name()]).unwrap();
        cluster.kubectl(&["get", "namespace", other.name()]).unwrap_err();
    }
    if is_soak() {
        let version = ["get", "node/node-1", "--output=jsonpath={.status.nodeInfo.kubeletVersion}"];
        assert_eq!(one.kubectl(&version).unwrap(), format!("v{oldest}"));
        assert_ne!(two.kubectl(&version).unwrap(), format!("v{oldest}"));
        for cluster in [&one, &two] {
            let run = ["run", "app", "--image=localhost/busybox:1", "--restart=Never", "--", "hostname"];
            cluster.kubectl(&run).unwrap();
            let phase = ["get", "pod/app", "--output=jsonpath={.status.phase}"];
            cluster.until("default", "Succeeded", &phase).unwrap();
        }
    }
    let name = one.name().to_owned();
    one.down().unwrap();
    assert_eq!(machine::groups(&name), Vec::<String>::new());
    assert!(output(&mut two.command("status")).unwrap().contains("kube-apiserver"), "the other runs on");
    two.down().unwrap();
    let after = machine::look().unwrap();
    assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}
