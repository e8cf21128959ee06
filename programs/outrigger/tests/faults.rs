//! Bad input and a hostile machine: bounded work, clear errors, nothing written outside the pod's directory, and no lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::Said;
use support::site::{LIMIT, Site, User, kill, wait_until};

/// A pod with one container that runs this shell text.
fn shell(script: &str) -> Value {
    let main = json!({"name": "main", "image": "none", "command": ["sh", "-c", script]});
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main]})
}

fn here() -> Site {
    Site::new(User::Caller)
}

/// Runs a manifest that must be refused before anything is written; answers what was said.
fn refused(site: &Site, file: &str) -> String {
    let before = Instant::now();
    let said = site.run(&["run", file]);
    assert_eq!(said.code, 2, "{file}: {said:#?}");
    // Far from what unbounded work would take, and far from what a busy machine needs.
    assert!(before.elapsed() < LIMIT, "{file} took {:?}", before.elapsed());
    assert!(said.err.len() < 4000, "{file}: {} bytes of error", said.err.len());
    assert_eq!(fs::read_dir(site.state()).unwrap().count(), 0, "{file}");
    said.err
}

fn signal(child: &Child, signal: Signal) {
    kill(i32::try_from(child.id()).unwrap(), signal);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let site = here();
    let long = "a".repeat(5000);
    for name in ["..", ".", "a/b", "../../etc", "a\0b", "", "A_b", &long] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": shell("true")});
        let err = refused(&site, &site.file("bad.json", &pod.to_string()));
        assert!(err.contains("metadata.name"), "{name}: {err}");
    }
    let bad = [
        ("metadata", json!({"name": "x", "namespace": "../../tmp"}), "metadata.namespace"),
        ("container", json!("../../x"), "spec.containers[0].name"),
        ("volume", json!("../v"), "spec.volumes[0].name"),
        ("command", json!("a\0b"), "spec.containers[0].command[0]"),
    ];
    for (what, value, path) in bad {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": shell("true")});
        match what {
            "metadata" => pod["metadata"] = value,
            "container" => pod["spec"]["containers"][0]["name"] = value,
            "volume" => pod["spec"]["volumes"] = json!([{"name": value, "emptyDir": {}}]),
            _ => pod["spec"]["containers"][0]["command"][0] = value,
        }
        let err = refused(&site, &site.file("bad.json", &pod.to_string()));
        assert!(err.contains(path), "{what}: {err}");
    }
}

#[test]
fn keys_of_volumes_lead_to_no_other_place() {
    let site = here();
    for (key, path) in [("../../../escaped", None), ("k", Some("../../escaped")), ("k", Some("/escaped"))] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {key: "x"}});
        let items = path.map(|path| json!([{"key": key, "path": path}]));
        let mut spec = shell("true");
        spec["volumes"] = json!([{"name": "v", "configMap": {"name": "map", "items": items}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/made-for-a-test"}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec});
        refused(&site, &site.file("bad.yaml", &format!("{map}\n---\n{pod}\n")));
        assert!(!site.path().join("escaped").exists());
    }
}

#[test]
fn large_deep_and_broken_manifests_are_refused_in_bounded_work() {
    let site = here();
    let aliases: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))).collect();
    let large = "x".repeat(10 << 20);
    let brackets = format!("a: {}{}\n", "[".repeat(200_000), "]".repeat(200_000));
    for (what, text, part) in [
        ("aliases", format!("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n{aliases}"), "aliases"),
        ("depth", brackets, "deeper"),
        (
            "size",
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: x, annotations: {{a: {large}}}}}}}"),
            "262144",
        ),
        ("keys", "apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: x}\n".to_owned(), "twice"),
        ("kinds", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n".to_owned(), "Deployment"),
        ("emptiness", String::new(), "no Pod"),
    ] {
        let err = refused(&site, &site.file("bad.yaml", &text));
        assert!(err.contains(part), "{what}: {err}");
    }
    fs::write(site.path().join("bytes.yaml"), [0x61, 0x3a, 0x20, 0x80, 0x0a]).unwrap();
    assert!(refused(&site, site.path().join("bytes.yaml").to_str().unwrap()).contains("UTF-8"));
}

#[test]
fn a_thousand_containers_are_planned() {
    let site = here();
    let mut spec = shell("true");
    spec["containers"] =
        (0..1000).map(|n| json!({"name": format!("c{n}"), "image": "none", "command": ["true"]})).collect();
    let said = site.run(&["run", "--dry-run", "--output", "json", &site.pod("many", &spec)]);
    assert_eq!((said.code, said.json()["spec"]["containers"].as_array().unwrap().len()), (0, 1000), "{}", said.err);
}

#[test]
fn of_many_runs_of_one_name_at_once_one_runs_and_the_others_name_it() {
    let site = here();
    let file = site.pod("one", &shell("while [ ! -e $PLACE ]; do sleep 0.01; done"));
    let start = || {
        let mut command = site.command(&["run", "--env", &format!("PLACE={}/end", site.path().display()), &file]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut all: Vec<Child> = (0..6).map(|_| start()).collect();
    wait_until("five refusals", || all.iter_mut().filter_map(|run| run.try_wait().unwrap()).count() >= 5);
    site.file("end", "");
    let said: Vec<Said> = all.into_iter().map(|run| Said::of(run.wait_with_output().unwrap())).collect();
    assert_eq!(said.iter().filter(|said| said.code == 0).count(), 1, "{said:#?}");
    for refused in said.iter().filter(|said| said.code != 0) {
        assert_eq!(refused.code, 125, "{refused:#?}");
        assert!(refused.err.contains("pod one") && refused.err.contains("run 1"), "{}", refused.err);
    }
}

#[test]
fn a_full_disk_stops_the_log_and_not_the_pod() {
    let site = here();
    // The mount is the command's own, and goes with it.
    let script = "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo on > $PLACE/went; exit 3";
    let file = site.pod("full", &shell(script));
    let line = format!(
        "mount -t tmpfs -o size=1m none {state}; \"$0\" run --env PLACE={place} {file}; echo ended $?; \"$0\" describe full",
        state = site.state().display(),
        place = site.path().display(),
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).arg(site.path().join("outrigger"));
    command.env("OUTRIGGER_RUN_STATE_DIRECTORY", site.state()).env("OUTRIGGER_RUN_LAUNCHER", "host");
    let said = Said::of(command.output().unwrap());
    assert!(site.path().join("went").exists(), "{}", said.err);
    assert_eq!(said.err.matches("LogStopped").count(), 1, "{}", said.err);
    let told = said.out.split_once("ended ").unwrap().1;
    assert!(told.starts_with("3\n"), "{told}");
    assert!(told.contains("LogStopped") && told.contains("Ended:"), "{told}");
}

/// Runs a pod whose state directory is a small file system of its own, which this script can fill and empty; then `after`.
fn on_a_small_disk(site: &Site, script: &str, after: &str) -> Said {
    let mut spec = shell(script);
    spec["restartPolicy"] = json!("OnFailure");
    let file = site.pod("full", &spec);
    let line = format!(
        "mount -t tmpfs -o size=1m none {state}; \"$0\" run --env STATE={state} --env PLACE={place} {file} & RUN=$!; {after}",
        state = site.state().display(),
        place = site.path().display(),
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &line]).arg(site.path().join("outrigger"));
    command.env("OUTRIGGER_RUN_STATE_DIRECTORY", site.state()).env("OUTRIGGER_RUN_LAUNCHER", "host");
    Said::of(command.output().unwrap())
}

/// Tried without the room that is kept: the end is not written down.
#[test]
fn what_a_pod_comes_to_is_written_down_also_where_others_fill_the_disk() {
    let site = here();
    // Not while the start is being written down: what fills the disk would take the room that the runner has just freed for it.
    let script = "[ -e $PLACE/again ] && exit 0; touch $PLACE/again; RUN=$STATE/pods/default/full/1; \
                  until grep -q Started $RUN/status.json && [ -e $RUN/.reserve ]; do sleep 0.1; done; \
                  cat /dev/zero > $STATE/fill 2> /dev/null; exit 3";
    let said = on_a_small_disk(&site, script, "wait $RUN; echo ended $?; \"$0\" describe full");
    assert!(said.out.contains("ended 0\n"), "{said:#?}");
    assert!(!said.err.contains("StatusNotWritten"), "{said:#?}");
    for told in ["Completed, exit code 0", "Restarts:         1", "finished", "(x2 over"] {
        assert!(said.out.contains(told), "{told} is missing in {}\n{}", said.out, said.err);
    }
}

#[test]
fn a_disk_without_any_room_is_told_with_what_to_do_and_the_pod_ends_all_the_same() {
    let site = here();
    // Nothing of the start is left to be written, and no note of a stopped log comes: the stop is the first thing to find no room.
    let fills = "RUN=$STATE/pods/default/full/1; \
                 until grep -q Started $RUN/status.json && [ -e $RUN/.reserve ]; do sleep 0.1; done; exec 2> /dev/null; \
                 cat /dev/zero > $STATE/fill; rm $RUN/.reserve; cat /dev/zero > $STATE/more; \
                 trap 'exit 0' TERM; touch $PLACE/filled; while :; do sleep 0.1; done";
    let after = format!(
        "until [ -e {place}/filled ]; do sleep 0.1; done; \"$0\" exec full -- true; kill -TERM $RUN; wait $RUN; echo ended $?",
        place = site.path().display()
    );
    let said = on_a_small_disk(&site, fills, &after);
    assert!(said.out.contains("ended 130\n"), "{said:#?}");
    let mut told = said.err.lines().filter(|line| line.contains("StatusNotWritten"));
    let advice = "status.json: No space left on device; the pod goes on, and it is tried again: make room there";
    assert!(told.next().is_some_and(|line| line.ends_with(advice)), "{said:#?}");
    // What the pod itself had, which is removed at its end, may be room enough for the last one.
    let last = told.next().is_some_and(|line| line.contains("given up after 4 s"));
    assert!(last || said.err.contains("StatusWritten: "), "{said:#?}");
}

#[test]
fn readers_that_are_gone_do_not_stop_the_pod() {
    let site = here();
    let file = site.pod("loud", &shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; exit 4"));
    for closed in ["| head -c 1 > /dev/null", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"] {
        let line = format!("(\"$0\" run {file}; echo $? > {}/code) {closed}", site.path().display());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).arg(site.path().join("outrigger")).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("OUTRIGGER_RUN_STATE_DIRECTORY", site.state()).env("OUTRIGGER_RUN_LAUNCHER", "host");
        command.status().unwrap();
        assert_eq!(fs::read_to_string(site.path().join("code")).unwrap(), "4\n", "{closed}");
        let logged = site.run(&["logs", "loud"]).out;
        assert_eq!(logged.lines().count(), 3000, "{closed}");
    }
}

#[test]
fn signals_stop_in_order_once_and_at_once_twice() {
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let always = |grace: u64| {
        let mut spec = shell(deaf);
        spec["restartPolicy"] = json!("Always");
        spec["terminationGracePeriodSeconds"] = json!(grace);
        spec
    };
    for (first, second, code) in [
        (Signal::INT, None, 130),
        (Signal::TERM, None, 130),
        (Signal::HUP, None, 130),
        // A shell sends it after a Ctrl-C; it cuts nothing short.
        (Signal::INT, Some(Signal::HUP), 130),
        (Signal::INT, Some(Signal::INT), 130),
        (Signal::TERM, Some(Signal::TERM), 143),
    ] {
        let site = here();
        let at_once = second.is_some_and(|second| second != Signal::HUP);
        let mut command = site.command(&["run", &site.pod("deaf", &always(if at_once { 600 } else { 1 }))]);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        site.wait_for_log("deaf", 1, "main", "ready");
        signal(&run, first);
        let mut stderr = run.stderr.take().unwrap();
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).contains("stopping: main") {
            let mut byte = [0];
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&told));
            told.extend(byte);
        }
        second.inspect(|second| signal(&run, *second));
        let began = Instant::now();
        assert_eq!(run.wait().unwrap().code(), Some(code), "{first:?} {second:?}");
        assert!(began.elapsed() < Duration::from_secs(30));
        site.nothing_runs();
        let status = site.run(&["ps", "--output", "json", "deaf"]).json()["status"].clone();
        assert_eq!(status["phase"], "Failed", "{first:?} {second:?}");
        assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137, "{first:?} {second:?}");
    }
}

#[test]
fn the_pods_own_deadline_gives_124() {
    let site = here();
    let mut spec = shell("sleep 1000");
    spec["activeDeadlineSeconds"] = json!(1);
    spec["restartPolicy"] = json!("Always");
    assert_eq!(site.run(&["run", &site.pod("late", &spec)]).code, 124);
    assert_eq!(site.status("late", 1).unwrap()["status"]["reason"], "DeadlineExceeded");
    site.nothing_runs();
}

#[test]
fn a_pod_can_be_stopped_while_it_starts() {
    let site = here();
    let mut spec = shell("true");
    spec["initContainers"] = json!([{"name": "slow", "image": "none", "command": ["sleep", "1000"]}]);
    assert_eq!(site.run(&["run", "--detach", &site.pod("slow", &spec)]).code, 0);
    let refused = site.run(&["rm", "slow"]);
    assert!(refused.code == 1 && refused.err.contains("still runs"), "{refused:#?}");
    assert_eq!(site.run(&["stop", "slow"]).code, 0);
    site.nothing_runs();
    assert_eq!(site.status("slow", 1).unwrap()["end"]["why"], "stopped");
    let gone = site.run(&["exec", "slow", "--", "true"]);
    assert!(gone.code == 125 && gone.err.contains("has ended"), "{gone:#?}");
    assert_eq!(site.run(&["rm", "slow"]).code, 0);
    assert!(!site.directory("slow", 1).exists());
}

#[test]
fn surroundings_that_are_missing_are_done_without() {
    let site = Site::new(User::Ordinary);
    let file = site.pod("poor", &shell("echo \"home $HOME\""));
    let mut bare = site.command(&["run", "--quiet", &file]);
    let state = site.state();
    bare.env_clear().env("OUTRIGGER_RUN_STATE_DIRECTORY", &state).env("TMPDIR", "/nonexistent");
    assert_eq!(Said::of(bare.output().unwrap()).out, "main | home /nonexistent\n");
    if rustix::process::geteuid().is_root() {
        // A user whom nobody knows, in a directory that is gone.
        fs::remove_dir_all(&state).unwrap();
        fs::create_dir(&state).unwrap();
        std::os::unix::fs::chown(&state, Some(54321), Some(54321)).unwrap();
        let line = "mkdir \"$1\" && cd \"$1\" && rmdir \"$1\" && exec setpriv --reuid 54321 --regid 54321 --clear-groups \
                    \"$0\" run --quiet \"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", line]).arg(site.path().join("outrigger")).arg(site.path().join("gone")).arg(&file);
        command.env_remove("HOME").env_remove("USER").env("OUTRIGGER_RUN_STATE_DIRECTORY", &state);
        let said = Said::of(command.env("OUTRIGGER_RUN_LAUNCHER", "host").output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (0, "main | home /\n"), "{}", said.err);
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let site = Site::new(User::Ordinary);
    let file = site.pod("homeless", &shell("true"));
    let blocked = site.file("blocked", "");
    for (state, why) in [("/proc/outrigger", "/proc/outrigger"), (blocked.as_str(), "Not a directory")] {
        let said = site.run(&["run", "--state-directory", state, &file]);
        assert_eq!(said.code, 125, "{said:#?}");
        assert!(said.err.contains(why), "{}", said.err);
    }
    if rustix::process::geteuid().is_root() {
        // Of whom nobody knows a home.
        let mut unknown = site.command(&["run", &file]);
        unknown.uid(54321).gid(54321).env_remove("OUTRIGGER_RUN_STATE_DIRECTORY").env_remove("XDG_STATE_HOME");
        let said = Said::of(unknown.output().unwrap());
        assert_eq!(said.code, 3, "{said:#?}");
        assert!(said.err.contains("--state-directory"), "{}", said.err);
    }
}

#[test]
fn a_state_directory_may_have_a_long_path() {
    let site = here();
    let long = site.state().join("d".repeat(200)).join("e".repeat(200));
    let state = long.to_str().unwrap();
    let file = site.pod("far", &shell("echo ready; sleep 1000"));
    assert_eq!(site.run(&["run", "--detach", "--state-directory", state, &file]).code, 0);
    assert_eq!(site.run(&["exec", "--state-directory", state, "far", "--", "sh", "-c", "exit 6"]).code, 6);
    assert_eq!(site.run(&["stop", "--state-directory", state, "far"]).code, 0);
    assert!(Path::new(state).join("pods/default/far/1/status.json").exists());
    site.nothing_runs();
}
