//! Where no process namespace can be had: a keeper holds Apptainer and all it has started together.

use std::fs;
use std::process::Command;

use outrigger_e2e::claim;
use serde_json::json;

use crate::life::{LIMIT, running, within};
use crate::pod;
use crate::sid::{Said, Sid, USER, processes_with};

/// A pod whose processes are deaf, three of them, one in a session of its own, all known by `mark`.
fn deaf(sid: &Sid, mark: &str) -> String {
    let script = format!(
        "trap \"\" TERM HUP; setsid sh -c \"trap : TERM; : {mark}; while :; do sleep 1000; done\" & sleep {mark} & echo up; \
         while :; do sleep 1000; done"
    );
    sid.file("deaf.yaml", &pod("deaf", &sid.tree(), &[&format!("command: [sh, -c, '{script}']")]))
}

fn mark(user: u32) -> String {
    format!("8{}{user}", std::process::id())
}

/// Tried with a launcher that asks Apptainer for a process namespace and for nothing less: the container never starts.
#[test]
fn a_pod_runs_is_told_what_holds_it_and_leaves_nothing() {
    let sid = Sid::new();
    for user in [USER, 0] {
        let mark = mark(user);
        let script = format!("setsid sleep {mark} & echo left; exit 3");
        let manifest =
            sid.file("leaves.yaml", &pod("leaves", &sid.tree(), &[&format!("command: [sh, -c, '{script}']")]));
        let said = Said::of(sid.without_namespaces(user, &["run", "--timeout", "30s", &manifest]).output().unwrap());
        assert_eq!(said.code, 3, "{said:#?}");
        assert!(said.out.contains("left"), "{said:#?}");
        assert!(said.err.contains("warning: spec: no process namespace"), "{said:#?}");
        assert_eq!(processes_with(&mark), [""; 0]);
        let mut strict = sid.without_namespaces(user, &["run", "--strict", &manifest]);
        assert_eq!(strict.output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn a_killed_runner_leaves_no_process() {
    let sid = Sid::new();
    for user in [USER, 0] {
        let mark = mark(user);
        let mut runner = running(sid.without_namespaces(user, &["run", &deaf(&sid, &mark)]));
        assert!(within(LIMIT, || processes_with(&mark).len() >= 3), "{:?}", processes_with(&mark));
        runner.kill().unwrap();
        runner.wait().unwrap();
        let left = || processes_with(&mark).len() + sid.processes().len();
        assert!(within(LIMIT, || left() == 0), "{:?} {:?}", processes_with(&mark), sid.processes());
    }
}

/// Tried without the marks in the environment: they live on.
#[test]
fn what_a_killed_keeper_leaves_is_ended_by_the_next_command() {
    let sid = Sid::new();
    let mark = mark(USER);
    let mut runner = running(sid.without_namespaces(USER, &["run", &deaf(&sid, &mark)]));
    // The runner first stops, so that it cannot see to what its keeper leaves; the agent inside must not either.
    let stop = Command::new("kill").args(["-STOP", &runner.id().to_string()]).status();
    assert!(stop.unwrap().success() && within(LIMIT, || is_stopped(runner.id())));
    let agents: Vec<String> = agents(runner.id());
    assert!(!agents.is_empty());
    // One of them may end with the one before it.
    Command::new("kill").arg("-KILL").args(agents).status().unwrap();
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(within(LIMIT, || !processes_with(&mark).is_empty()), "nothing was left to be ended");
    // Outside of the user namespace that took the right away: a sibling of it may not look into its processes.
    let listed = sid.run(USER, &["ps", "--output", "json"]);
    assert!(listed.out.contains("ContainerStatusUnknown"), "{listed:#?}");
    assert!(within(LIMIT, || processes_with(&mark).is_empty()), "{:?}", processes_with(&mark));
}

/// Whether none of the threads of a process goes on: each comes to its stop by itself.
fn is_stopped(pid: u32) -> bool {
    let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(stat);
    threads.all(|stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T')))
}

/// The agents below a process, in it and in its containers.
fn agents(runner: u32) -> Vec<String> {
    let parent = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let is_below = |pid: &str| {
        let mut above = parent(pid);
        while let Some(one) = above.filter(|one| *one > 1 && *one != runner) {
            above = parent(&one.to_string());
        }
        above == Some(runner)
    };
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    all.filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "outrigger-init\n"))
        .filter(|pid| is_below(pid))
        .collect()
}

/// Tried with an init that ends by the signal of its parent's death: the lock is free before its processes are gone.
#[test]
fn the_lock_of_a_claim_is_free_only_when_the_last_process_is_gone() {
    let sid = Sid::new();
    let (mark, lock) = (sid.path("").display().to_string(), sid.file("lock", ""));
    let script = format!(
        "trap '' TERM HUP; for i in 1 2 3 4 5 6; do setsid sh -c ': {mark}; while :; do sleep 1000; done' & done; echo up; \
         while :; do sleep 1000; done"
    );
    let containers = ["a", "b"].map(|name| json!({"name": name, "image": sid.tree(), "command": ["sh", "-c", script]}));
    let pod = json!({"metadata": {"name": "holds"}, "spec": {"containers": containers}});
    let manifest = sid.file("pod.json", &pod.to_string());
    for (user, more) in [(USER, None), (0, None), (USER, Some("--keepers"))] {
        for round in 0..3 {
            let directory = sid.open_folder(&format!("pod-{user}-{}-{round}", more.is_some()));
            let args = ["apptainer", &manifest, &lock, directory.to_str().unwrap()];
            let args: Vec<&str> = args.into_iter().chain(more).collect();
            let mut runner = sid.program(user, env!("CARGO_BIN_EXE_hold-claim"), &args);
            let held = claim::killed_runner(&mut runner, lock.as_ref(), &format!(": {mark}"));
            held.unwrap_or_else(|fault| panic!("user {user}, {more:?}, {round}: {fault:#}"));
        }
    }
}
