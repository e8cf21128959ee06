//! Commands inside: they are the cluster's in all respects, and end with it.

use std::process::Stdio;

use outrigger_e2e::cluster::{Cluster, machine};

#[test]
fn a_command_inside_is_in_the_clusters_groups_and_ends_with_it() {
    let cluster = Cluster::up("shell", &["--api-only"]).unwrap();
    // Seen from the namespace's own root, whatever is outside begins with `/..`.
    let groups = cluster.inside(&["cat", "/proc/self/cgroup"]).unwrap();
    assert!(groups.lines().all(|line| !line.contains("/..")), "{groups}");

    let mut command = cluster.command("shell");
    let mut command =
        command.args(["--", "sh", "-c", "echo runs; exec sleep 100000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(command.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "runs\n");
    let name = cluster.name().to_owned();
    cluster.down().unwrap();
    assert!(!command.wait().unwrap().success());
    assert_eq!(machine::groups(&name), Vec::<String>::new());
}
