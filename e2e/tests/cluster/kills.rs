//! Commands and components that are killed: with an API server alone, which starts in seconds.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_e2e::cluster::{Cluster, PATIENCE, command_of, machine, output, own_name, up_of};

const API: &[&str] = &["--api-only"];

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits for a file of the cluster's directory.
fn until_exists(path: &std::path::Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < PATIENCE, "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `status` fails, and with these words.
fn until_fails(status: impl Fn() -> Command, words: &str) {
    let begin = Instant::now();
    loop {
        let status = status().output().unwrap();
        if !status.status.success() {
            let told = String::from_utf8_lossy(&status.stderr);
            assert!(told.starts_with(words), "{told}");
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody tells: {words}");
    }
}

#[test]
fn a_start_and_an_end_that_were_killed_are_repeated() {
    let cluster = Cluster::up("kills", API).unwrap();
    let name = cluster.name().to_owned();
    let directory = cluster.directory().to_owned();
    // At each of these files another part of the start is done: files alone, then a first process, then components.
    for reached in ["certificates/ca.crt", "kubeconfig", "init", "record.json"] {
        output(&mut cluster.command("down")).unwrap();
        let mut up = up_of(cluster.name(), std::process::id()).args(API).stdout(Stdio::null()).spawn().unwrap();
        until_exists(&directory.join(reached));
        kill(&mut up);
        let again = Cluster::up("kills", API).unwrap();
        assert!(again.kubectl(&["get", "--raw=/readyz"]).unwrap().starts_with("ok"), "killed at {reached}");
        std::mem::forget(again);
    }
    let init = fs::read_to_string(directory.join("init")).unwrap();
    output(Command::new("kill").args(["-KILL", init.split(' ').next().unwrap()])).unwrap();
    until_fails(|| cluster.command("status"), &format!("error: the cluster {name} was killed"));
    let again = Cluster::up("kills", API).unwrap();
    assert!(again.kubectl(&["get", "--raw=/readyz"]).unwrap().starts_with("ok"), "its first process was killed");
    std::mem::forget(again);
    let mut down = cluster.command("down").stdout(Stdio::null()).spawn().unwrap();
    kill(&mut down);
    cluster.down().unwrap();
    assert_eq!(machine::groups(&name), Vec::<String>::new());
    assert!(!directory.exists());
    assert!(output(&mut command_of(&name, "down")).unwrap().contains("was not there"));
}

#[test]
fn a_component_that_dies_is_named_with_its_log() {
    let cluster = Cluster::up("dead", API).unwrap();
    let other = up_of(cluster.name(), std::process::id()).output().unwrap();
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && told.contains("runs with other options"), "{told}");

    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(cluster.directory().join("record.json")).unwrap()).unwrap();
    let etcd = record["components"].as_array().unwrap().iter().find(|one| one["name"] == "etcd").unwrap();
    cluster.inside(&["kill", "-KILL", &etcd["pid"].to_string()]).unwrap();
    until_fails(|| cluster.command("status"), "error: etcd ended (signal: 9 (SIGKILL)); its last lines:");
    let up = up_of(cluster.name(), std::process::id()).args(API).output().unwrap();
    assert!(String::from_utf8_lossy(&up.stderr).contains("etcd ended (signal: 9"), "`up` tells it too");
    let begin = Instant::now();
    let waited = cluster.until_that("default", "something happens", || Ok(false)).unwrap_err();
    assert!(
        waited.to_string().starts_with("etcd ended") && begin.elapsed() < PATIENCE,
        "whoever waits is told: {waited}"
    );
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_made() {
    let name = own_name("refused");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = command_of(&name, "up").args(["--api-only", "--port", &port]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains(&format!("port {port} of 127.0.0.1 is taken")), "{told}");
    assert_eq!(machine::groups(&name), Vec::<String>::new());
}

#[test]
fn a_cluster_ends_with_its_owner_and_the_next_start_removes_the_rest() {
    let mut owner = Command::new("sleep").arg("infinity").spawn().unwrap();
    let name = own_name("owned");
    output(up_of(&name, owner.id()).args(API)).unwrap();
    kill(&mut owner);
    until_fails(|| command_of(&name, "status"), &format!("error: the cluster {name} was killed"));
    let refused = up_of(&name, owner.id()).args(API).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains(&format!("there is no process {}", owner.id())), "{told}");
    let next = Cluster::up("next", API).unwrap();
    assert!(!next.directory().with_file_name(&name).exists());
    assert_eq!(machine::groups(&name), Vec::<String>::new());
}
