//! No value of a Secret appears where it does not belong: not in the state directory, not in what a command says, not in the
//! arguments or the environment of a process of ours; and none stays on the disk, however the runner ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;
use support::site::{Site, User, contains, kill, wait_until};
use support::{Machine, Said};

/// What nobody but the container may see, in the forms in which it could be written down.
const VALUES: [&str; 6] = [
    "sesame-of-the-volume",
    "c2VzYW1lLW9mLXRoZS12b2x1bWU=",
    "sesame-of-the-key",
    "sesame-of-all-keys",
    "sesame-of-the-command-line",
    "sesame-of-the-environment",
];

/// The pod writes only lengths, and ends when the file `end` is there.
fn manifest(site: &Site) -> String {
    let script = "set -e; echo ${#KEY} ${#ALL_any} ${#TYPED} ${#PASSED} $(cat /made-for-a-test/door/code | wc -c); \
                  while [ ! -e $PLACE/end ]; do sleep 0.01; done";
    let volume =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "volume"}, "data": {"code": VALUES[1]}});
    let keys =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"one": VALUES[2]}});
    let all =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "all"}, "stringData": {"any": VALUES[3]}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": {
        "restartPolicy": "Never",
        "volumes": [{"name": "door", "secret": {"secretName": "volume"}}],
        "containers": [{
            "name": "main", "image": "none", "command": ["sh", "-c", script],
            "env": [
                {"name": "PLACE", "value": site.path()},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one"}}},
            ],
            "envFrom": [{"prefix": "ALL_", "secretRef": {"name": "all"}}],
            "volumeMounts": [{"name": "door", "mountPath": "/made-for-a-test/door", "readOnly": true}],
        }],
    }});
    site.file("holder.yaml", &[volume, keys, all, pod].map(|document| document.to_string()).join("\n---\n"))
}

/// What the container says when every value has reached it.
const LENGTHS: &str = "17 18 26 25 20";

fn tells_none(what: &str, text: &[u8]) {
    for value in VALUES {
        let told = contains(text, value.as_bytes());
        assert!(!told, "{what} holds {value}: {}", String::from_utf8_lossy(text));
    }
}

/// Everything that anybody could read of the pod.
fn nothing_tells(site: &Site) {
    for file in files(&site.state()) {
        tells_none(&file.display().to_string(), &fs::read(&file).unwrap_or_default());
    }
    for args in [
        &["ps", "--output", "json"][..],
        &["ps", "--output", "yaml", "holder"],
        &["describe", "holder"],
        &["logs", "holder"],
    ] {
        let Said { out, err, .. } = site.run(args);
        assert!(!(out.is_empty() && err.is_empty()), "{args:?}");
        tells_none(&format!("{args:?}"), (out + &err).as_bytes());
    }
}

/// The arguments of every process here, and the environment of ours that last (but not of what the user has typed).
fn no_process_tells(site: &Site) {
    let mut agents = 0;
    for (pid, line) in site.processes() {
        tells_none(&line, line.as_bytes());
        if line.starts_with("outrigger-init") || line.contains("detached-runner") {
            agents += 1;
            tells_none(&format!("environment of {line}"), &fs::read(format!("/proc/{pid}/environ")).unwrap());
        }
    }
    assert!(agents >= 2, "{:?}", site.processes());
}

/// The files below a directory, links not followed.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

/// Runs the pod detached until it waits.
fn hold(site: &Site) {
    let typed = format!("TYPED={}", VALUES[4]);
    let args = ["run", "--detach", &manifest(site), "--env", &typed, "--env", "PASSED"];
    let mut command = site.command(&args);
    let said = Said::of(command.env("PASSED", VALUES[5]).output().unwrap());
    assert_eq!(said.code, 0, "{said:#?}");
    tells_none("run", (said.out + &said.err).as_bytes());
    site.wait_for_log("holder", 1, "main", LENGTHS);
}

#[test]
fn a_secret_is_seen_by_its_container_alone() {
    for user in [User::Caller, User::Ordinary, User::WithKeepers] {
        let site = Site::new(user);
        hold(&site);
        no_process_tells(&site);
        nothing_tells(&site);
        site.file("end", "");
        wait_until("the end of the pod", || site.status("holder", 1).is_some_and(|status| !status["end"].is_null()));
        nothing_tells(&site);
        assert_eq!(site.remains("holder", 1), Vec::<PathBuf>::new(), "{user:?}");
    }
}

#[test]
fn a_killed_runner_leaves_no_secret() {
    for user in [User::Caller, User::Ordinary, User::WithKeepers] {
        let site = Site::new(user);
        hold(&site);
        kill(site.runner("holder", 1).unwrap(), Signal::KILL);
        site.nothing_runs();
        nothing_tells(&site);
        assert_eq!(site.remains("holder", 1), Vec::<PathBuf>::new(), "{user:?}");
    }
}

#[test]
fn secrets_on_the_disk_are_the_owners_only_and_go_with_the_pod_or_at_the_next_command() {
    for killed in [false, true] {
        let site = Site::new(User::WithoutNamespaces);
        // Nothing can be mounted here, so that the container waits; its volume is there all the same.
        let mut run = site.start(&["run", &manifest(&site), "--env", "TYPED=x", "--env", "PASSED=x"]);
        let secret = site.directory("holder", 1).join("secrets/door/..data/code");
        wait_until("the secret", || fs::read_to_string(&secret).is_ok_and(|text| text == VALUES[0]));
        let closed = site.directory("holder", 1).join("secrets");
        assert_eq!(fs::metadata(&closed).unwrap().permissions().mode() & 0o077, 0, "others may not look into it");
        let runner = i32::try_from(run.id()).unwrap();
        kill(runner, if killed { Signal::KILL } else { Signal::TERM });
        run.wait().unwrap();
        assert_eq!(closed.exists(), killed);
        assert_eq!(site.run(&["ps"]).code, 0);
        assert!(!closed.exists());
        nothing_tells(&site);
    }
}

#[test]
fn a_fault_in_a_secret_does_not_show_its_value() {
    let machine = Machine::new();
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {b: 'sesame-of-the-key!!'}\nstringData: {c: [sesame-of-the-volume], d: 5}\n";
    let said =
        Said::of(machine.command(&["run", &machine.file("a.yaml", text)]).stdin(Stdio::null()).output().unwrap());
    assert_eq!(said.code, 2, "{said:#?}");
    tells_none("the refusal", (said.out + &said.err).as_bytes());
}
