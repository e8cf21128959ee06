//! Devices for pods of `outrigger run`: what a pod gets, that no two have one, and that a device is free when the last
//! process of its pod is gone, however that went.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::site::{Site, User, kill, wait_until};

/// A place whose machine has `count` slots of `example.com/slot`, with locks of its own.
fn site(user: User, count: usize) -> Site {
    let site = Site::new(user);
    let locks = site.path().join("locks");
    fs::create_dir(&locks).unwrap();
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o1777)).unwrap();
    let values: Vec<String> = (0..count).map(|number| format!("v{number}")).collect();
    let slots = json!({"name": "slot", "groups": [{"counted": {"values": values, "env": "SLOT"}}]});
    let nothing = json!({"name": "nothing", "groups": [{"paths": [{"path": "/dev/null", "mountPath": "/dev/made-for-a-test/"}]}]});
    let closed =
        json!({"name": "closed", "groups": [{"paths": [{"path": format!("{}/closed", site.path().display())}]}]});
    let file = json!({"domain": "example.com", "lockDirectory": locks, "devices": [slots, nothing, closed]});
    site.file("devices.yaml", &file.to_string());
    let closed = site.file("closed", "");
    fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
    site
}

fn pod(site: &Site, name: &str, limits: &Value, script: &str) -> String {
    let env = json!([{"name": "MARK", "value": site.mark()}]);
    let main = json!({"name": "main", "image": "none", "command": ["sh", "-c", script], "env": env, "resources": {"limits": limits}});
    site.pod(name, &json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [main]}))
}

fn run(site: &Site, manifest: &str) -> support::Said {
    site.run(&["run", "--config-dir", site.path().to_str().unwrap(), manifest])
}

#[test]
fn a_pod_gets_the_devices_that_it_asks_for() {
    for user in [User::Caller, User::Ordinary] {
        let site = site(user, 3);
        let script = "echo slot=$SLOT; test -c /dev/made-for-a-test/null && echo null";
        let said = run(&site, &pod(&site, "both", &json!({"example.com/slot": 2, "example.com/nothing": 1}), script));
        assert_eq!(said.code, 0, "{said:?}");
        let slots = said.out.lines().find_map(|line| line.split_once("slot=")).unwrap().1;
        assert_eq!(slots.split(',').count(), 2, "{said:?}");
        assert!(said.out.contains("null"), "{said:?}");
    }
}

#[test]
fn what_nobody_serves_or_is_no_whole_number_is_refused_by_name() {
    let site = site(User::Caller, 1);
    let said = run(&site, &pod(&site, "other", &json!({"example.com/other": 1}), "true"));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("nothing on this machine serves example.com/other"), "{said:?}");
    assert!(said.err.contains("example.com/slot"), "what is served is told: {said:?}");
    let said = run(&site, &pod(&site, "half", &json!({"example.com/slot": "500m"}), "true"));
    assert!(said.code != 0 && said.err.contains("example.com/slot"), "{said:?}");
    let said = run(&site, &pod(&site, "many", &json!({"example.com/slot": 2}), "true"));
    assert!(said.code != 0, "{said:?}");
    assert!(said.err.contains("the pod asks for 2, and 1 are offered"), "{said:?}");
}

#[test]
fn a_user_gets_no_device_that_the_user_may_not_open() {
    let site = site(User::Ordinary, 1);
    let said = run(&site, &pod(&site, "closed", &json!({"example.com/closed": 1}), "true"));
    assert!(said.code != 0 && said.err.contains("this user may not open"), "{said:?}");
}

#[test]
fn a_wrong_configuration_refuses_who_asks_for_devices_and_nobody_else() {
    let site = site(User::Caller, 1);
    site.file("devices.yaml", "domain: example.com\ndevices:\n- name: slot\n  groups: []\n  prefer: pakced\n");
    let said = run(&site, &pod(&site, "asks", &json!({"example.com/slot": 1}), "true"));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("devices.yaml:5:11") && said.err.contains("did you mean \"packed\""), "{said:?}");
    let said = run(&site, &pod(&site, "asks-not", &json!({"cpu": "100m"}), "true"));
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn two_pods_never_have_one_device_and_a_killed_runner_frees_its_own() {
    // The second pod tries again after a kubelet's back-off of some seconds.
    std::thread::scope(|scope| {
        for user in [User::Caller, User::Ordinary, User::WithKeepers] {
            scope.spawn(move || fight(user));
        }
    });
}

fn fight(user: User) {
    let site = site(user, 1);
    let limits = json!({"example.com/slot": 1});
    // What stays is deaf to everything but SIGKILL.
    let first = pod(&site, "first", &limits, "trap '' TERM; (trap '' TERM; setsid sleep 1000) & echo has $SLOT; wait");
    let directory = site.path().to_str().unwrap().to_owned();
    let mut runner = site.start(&["run", "--config-dir", &directory, &first]);
    site.wait_for_log("first", 1, "main", "has v0");
    let second = pod(&site, "second", &limits, "echo has $SLOT");
    let mut waiting = site.start(&["run", "--config-dir", &directory, &second]);
    let waits = "v0 is in use by pod default/first";
    wait_until(waits, || site.status("second", 1).is_some_and(|status| status.to_string().contains(waits)));
    kill(i32::try_from(runner.id()).unwrap(), Signal::KILL);
    runner.wait().unwrap();
    site.wait_for_log("second", 1, "main", "has v0");
    assert!(waiting.wait().unwrap().success(), "{user:?}");
    site.run(&["ps"]);
    site.nothing_runs();
}
