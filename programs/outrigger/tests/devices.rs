//! `outrigger devices` and the names of the programs that it replaces: by the real executable, with a kubelet that speaks the
//! real protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use support::place::{ANY_PORT, Place, address, get, stopped};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

#[tokio::test]
async fn the_simple_device_plugins_flags_give_its_codes() {
    let place = Place::new();
    for (args, told) in [
        (
            &["-nonsense"][..],
            "flag provided but not defined: -nonsense\nusage: sdp -stderrthreshold=[INFO|WARN|FATAL] -log_dir=[string]\n",
        ),
        (&["-v"], "flag needs an argument: -v\nusage: sdp"),
        (&["--help"], "usage: sdp"),
    ] {
        let (code, out, err) = place.said("device-plugin", args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with(told), "{err}");
    }
    fs::remove_dir(place.path("kubelet/device-plugins")).unwrap();
    let (code, _, err) = place.said("device-plugin", &["-logtostderr", "-v=2"]).await;
    assert_eq!(code, 1, "{err}");
}

#[tokio::test]
async fn the_simple_device_plugins_manifest_registers_its_resource_at_its_socket() {
    let place = Place::new();
    let kubelet = place.kubelet().await;
    let child = place.command("device-plugin", &["-logtostderr", "-v=2"]).spawn().unwrap();
    let view = kubelet.until(|view| view.resources.get("kubedev.org/sata").is_some_and(|sata| sata.lists > 0)).await;
    let endpoints: Vec<&str> = view.registrations.iter().map(|registration| registration.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["sata.sock"]);
    assert_eq!(stopped(child).await, 0);
    assert!(!place.path("kubelet/device-plugins/sata.sock").exists());
}

#[tokio::test]
async fn the_generic_device_plugins_arguments_run_as_they_are() {
    let place = Place::new();
    let kubelet = place.kubelet().await;
    let listen = address();
    let device = "name: null-device\ngroups:\n  - count: 2\n    paths:\n      - path: /dev/null\n";
    let domain = "devices.platform.example-company.internal";
    let args = ["--device", device, "--listen", &listen, "--domain", domain, "--log-level=info"];
    let child = place.command("generic-device-plugin", &args).spawn().unwrap();
    let resource = format!("{domain}/null-device");
    let view = kubelet.until(|view| view.allocatable(&resource) == 2).await;
    // SHA-1 of "0/dev/null" and "1/dev/null".
    let ids: Vec<&str> = view.resources[&resource].devices.keys().map(String::as_str).collect();
    assert_eq!(ids, ["a05d4ff4e9b480f66fc87cca95ab63e584e86317", "e1627eebaecf41ed6ae23c74c2434c44e50e222f"]);
    assert!(get(&listen, "/health").await.starts_with("HTTP/1.1 200 "));
    let metrics = get(&listen, "/metrics").await;
    assert!(metrics.contains(&format!("generic_device_plugin_devices{{resource=\"{resource}\"}} 2")), "{metrics}");
    assert!(get(&listen, "/readyz").await.contains("ready\n"));
    assert_eq!(stopped(child).await, 0);
}

#[tokio::test]
async fn the_generic_device_plugins_mistakes_give_its_codes() {
    let place = Place::new();
    let (code, out, _) = place.said("generic-device-plugin", &["--version"]).await;
    assert_eq!((code, out.trim()), (0, env!("CARGO_PKG_VERSION")));
    let (code, _, err) = place.said("generic-device-plugin", &["--nonsense"]).await;
    assert_eq!(code, 2, "{err}");
    for args in [
        &["--device", ""][..],
        &["--config", "/nonexistent"],
        &["--device", "{name: ab, groups: [{paths: [{path: 'dev/null'}]}]}"],
    ] {
        let (code, _, err) = place.said("generic-device-plugin", args).await;
        assert_eq!(code, 1, "{err}");
        assert!(err.starts_with("Execution failed: "), "{err}");
    }
}

#[tokio::test]
async fn our_own_mistakes_are_told_with_file_line_and_key_and_end_with_2_or_3() {
    let place = Place::new();
    fs::write(
        place.path("devices.yaml"),
        "domain: example.com\ndevices:\n- name: x\n  groups: [{paths: [{path: '[', mountPath: 3}]}]\n  shared: 1\n",
    )
    .unwrap();
    let (code, _, err) = place.said("outrigger", &["devices", "agent", "--config", "devices.yaml"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("devices.yaml:5:3: devices[0].shared: unknown key, did you mean \"share\"?"), "{err}");
    fs::write(
        place.path("devices.yaml"),
        "ids: short\ndomain: example.com\ndevices:\n- name: x\n  groups: [{paths: [{path: '['}]}]\n- name: z\n",
    )
    .unwrap();
    let (code, _, err) = place.said("outrigger", &["devices", "check", "--config", "devices.yaml"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("devices.yaml:5:28: devices[0].groups[0].paths[0].path: "), "{err}");
    fs::remove_dir(place.path("kubelet/device-plugins")).unwrap();
    let device = "{resource: example.com/null, groups: [{paths: [{path: /dev/null}]}]}";
    let (code, _, err) = place.said("outrigger", &["devices", "agent", "--device", device, "--admin", ANY_PORT]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("set pluginDirectory"), "{err}");
}

#[tokio::test]
async fn list_and_explain_tell_without_the_agent() {
    let place = Place::new();
    let device = "{resource: example.com/null, groups: [{count: 2, paths: [{path: /dev/null}]}]}";
    let (code, out, _) = place.said("outrigger", &["devices", "list", "--device", device, "-o", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &list[0]["node"], &list[0]["state"]), (0, &"/dev/null".into(), &"offered".into()), "{out}");
    let id = list[0]["id"].as_str().unwrap().to_owned();
    for what in [id.as_str(), "/dev/null", "example.com/null"] {
        let (code, out, err) = place.said("outrigger", &["devices", "explain", what, "--device", device]).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("/dev/null\n  state          offered\n"), "{out}");
        assert!(out.contains("  rule example.com/null: yes, offered\n"), "{out}");
    }
    let (code, _, err) = place.said("outrigger", &["devices", "explain", "nothing", "--device", device]).await;
    assert_eq!(code, 1, "{err}");
}

/// Tried with a list that listens only where it did at its start.
#[tokio::test]
async fn a_list_that_is_watched_shows_what_comes_into_a_directory_that_was_not_there_before() {
    let place = Place::new();
    fs::create_dir(place.path("tree")).unwrap();
    let pattern = place.path("tree/*/*");
    let device = format!("{{resource: example.com/a, groups: [{{paths: [{{path: {}}}]}}]}}", pattern.display());
    let args = ["devices", "list", "--watch", "--audit", "1h", "--device", &device];
    let mut list = place.command("outrigger", &args).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(list.stdout.take().unwrap()).lines();
    let mut is_shown = async |name: &str| {
        let name = place.path(name).display().to_string();
        let shown = async { while !lines.next_line().await.unwrap().unwrap().contains(&name) {} };
        timeout(Duration::from_secs(30), shown).await.unwrap_or_else(|_| panic!("{name} is not shown"));
    };
    fs::create_dir_all(place.path("new/first")).unwrap();
    fs::rename(place.path("new"), place.path("tree/new")).unwrap();
    is_shown("tree/new/first").await;
    fs::create_dir(place.path("tree/new/second")).unwrap();
    is_shown("tree/new/second").await;
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again_and_a_second_instance_takes_over() {
    let place = Place::new();
    let kubelet = place.kubelet().await;
    let (file, null) = (place.path("devices.yaml"), "example.com/null");
    let text = |count: u32| {
        format!(
            "ids: short\nadmin: {ANY_PORT}\ndevices: [{{resource: {null}, groups: [{{count: {count}, paths: [{{path: /dev/null}}]}}]}}]"
        )
    };
    fs::write(&file, text(1)).unwrap();
    let args = ["devices", "agent", "--config", file.to_str().unwrap()];
    // Written through another directory's name of it, a file changes without a word to those who watch its own directory.
    fs::create_dir(place.path("other")).unwrap();
    fs::hard_link(&file, place.path("other/devices.yaml")).unwrap();
    let first = place.command("outrigger", &args).spawn().unwrap();
    kubelet.until(|view| view.allocatable(null) == 1).await;
    fs::write(place.path("other/devices.yaml"), text(2)).unwrap();
    let pid = first.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
    kubelet.until(|view| view.allocatable(null) == 2).await;
    let second = place.command("outrigger", &args).spawn().unwrap();
    kubelet.until(|view| view.registrations_of(null) == 2 && view.allocatable(null) == 2).await;
    assert_eq!(stopped(first).await, 0);
    kubelet.until(|view| view.allocatable(null) == 2 && view.resources[null].streams == 1).await;
    assert_eq!(stopped(second).await, 0);
}
