//! Commands and components that are killed: with an API server alone, which starts in seconds.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use outrigger_e2e::cluster::{Cluster, PATIENCE, command_of, machine, output};

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

#[test]
fn a_start_and_an_end_that_were_killed_are_repeated() {
    let name = "test-kills";
    let cluster = Cluster::up(name, API).unwrap();
    let directory = cluster.directory().to_owned();
    // At each of these files another part of the start is done: files alone, then a first process, then components.
    for reached in ["certificates/ca.crt", "kubeconfig", "init", "record.json"] {
        output(&mut cluster.command("down")).unwrap();
        let mut up = cluster.command("up").args(API).stdout(Stdio::null()).spawn().unwrap();
        until_exists(&directory.join(reached));
        kill(&mut up);
        let again = Cluster::up(name, API).unwrap();
        assert!(again.kubectl(&["get", "--raw=/readyz"]).unwrap().starts_with("ok"), "killed at {reached}");
        std::mem::forget(again);
    }
    let mut down = cluster.command("down").stdout(Stdio::null()).spawn().unwrap();
    kill(&mut down);
    cluster.down().unwrap();
    assert_eq!(machine::groups(name), Vec::<String>::new());
    assert!(!directory.exists());
    assert!(output(&mut command_of(name, "down")).unwrap().contains("was not there"));
}

#[test]
fn a_component_that_dies_is_named_with_its_log() {
    let name = "test-dead";
    let cluster = Cluster::up(name, API).unwrap();
    let other = command_of(name, "up").output().unwrap();
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && told.contains("runs with other options"), "{told}");

    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(cluster.directory().join("record.json")).unwrap()).unwrap();
    let etcd = record["components"].as_array().unwrap().iter().find(|one| one["name"] == "etcd").unwrap();
    cluster.inside(&["kill", "-KILL", &etcd["pid"].to_string()]).unwrap();
    let begin = Instant::now();
    let told = loop {
        let status = cluster.command("status").output().unwrap();
        if !status.status.success() {
            break String::from_utf8_lossy(&status.stderr).into_owned();
        }
        assert!(begin.elapsed() < PATIENCE, "nobody tells that etcd is dead");
    };
    assert!(told.starts_with("error: etcd ended (signal: 9 (SIGKILL)); its last lines:"), "{told}");
    let up = cluster.command("up").args(API).output().unwrap();
    assert!(String::from_utf8_lossy(&up.stderr).contains("etcd ended (signal: 9"), "`up` tells it too");
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_made() {
    let name = "test-refused";
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = command_of(name, "up").args(["--api-only", "--port", &port]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains(&format!("port {port} of 127.0.0.1 is taken")), "{told}");
    assert_eq!(machine::groups(name), Vec::<String>::new());
}
