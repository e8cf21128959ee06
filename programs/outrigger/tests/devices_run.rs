//! Devices of pods of `outrigger run`, by the real executable: what people are told of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::place::Place;
use support::site::LIMIT;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// A place with these resources.
fn with(devices: &str) -> Place {
    let place = Place::new();
    fs::create_dir(place.path("config")).unwrap();
    fs::write(place.path("config/devices.yaml"), format!("ids: short\ndevices:\n{devices}")).unwrap();
    place
}

/// A command on the pods of this place.
fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command("outrigger", args);
    command.env("OUTRIGGER_RUN_STATE_DIRECTORY", place.path("state"));
    command.env("OUTRIGGER_RUN_LAUNCHER", "host");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs a pod that has this until the file `over` is there.
fn run(place: &Place, name: &str, resource: &str) -> Child {
    let script = format!("until [ -e {} ]; do sleep 0.02; done", place.path("over").display());
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "app", "image": "none", "command": ["sh", "-ec", script],
            "resources": {"limits": {resource: 1}},
        }]},
    });
    let file = place.path(&format!("{name}.json"));
    fs::write(&file, pod.to_string()).unwrap();
    let mut command = command(place, &["run", "--quiet", "--config-dir", "config", file.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(fs::File::create(place.path(&format!("{name}.log"))).unwrap());
    command.spawn().unwrap()
}

/// What `describe` says of a pod, once it says this.
async fn described(place: &Place, pod: &str, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let output = command(place, &["describe", pod]).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if text.contains(wanted) {
            return text;
        }
        assert!(begun.elapsed() < LIMIT, "{wanted} is not in\n{text}{}", String::from_utf8_lossy(&output.stderr));
        sleep(Duration::from_millis(20)).await; // Nothing tells when a pod's status is written.
    }
}

/// Tried with values that nobody records, and with a wait that is told to those who watch alone.
#[tokio::test]
async fn describe_tells_what_a_container_has_and_whom_a_pod_waits_for() {
    let place = with("- {resource: v.io/full, groups: [{paths: [{path: /dev/full}]}]}\n");
    let mut first = run(&place, "first", "v.io/full");
    let text = described(&place, "first", "Devices:").await;
    let (_, out, _) = place.said("outrigger", &["devices", "list", "--config-dir", "config", "-o", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let line = format!("    Devices:          v.io/full {}: /dev/full\n", list[0]["id"].as_str().unwrap());
    assert!(text.contains(&line), "{line}is not in\n{text}");
    let mut second = run(&place, "second", "v.io/full");
    let text = described(&place, "second", "WaitingForClaim").await;
    assert!(text.contains("/dev/full of v.io/full is in use by pod default/first"), "{text}");
    assert!(!text.contains("Devices:"), "{text}");
    fs::write(place.path("over"), "").unwrap();
    assert!(first.wait().await.unwrap().success() && second.wait().await.unwrap().success());
    let text = described(&place, "second", "Devices:").await;
    assert!(text.contains(&line), "what it had is told after its end too:\n{text}");
}

/// Two sentences, of which one says what is served: nothing, or what there is.
#[tokio::test]
async fn a_resource_that_nothing_serves_is_refused_with_what_is_served() {
    for (devices, told) in [
        (
            "- {resource: v.io/full, groups: [{paths: [{path: /dev/full}]}]}\n",
            "serves v.io/other, only v.io/full. Name",
        ),
        ("  []\n", "serves v.io/other, nor any other resource. Name its devices in devices.yaml"),
    ] {
        let place = with(devices);
        assert!(!run(&place, "other", "v.io/other").wait().await.unwrap().success());
        let said = fs::read_to_string(place.path("other.log")).unwrap();
        assert!(said.contains(told), "{said}");
    }
}
