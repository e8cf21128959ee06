//! Commands in running pods, their stop, and what is left after a kill.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pod;
use crate::sid::{Sid, USER, processes_with, who_sees_a_mount};

/// How long anything may take that is waited for.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A pod in the foreground of a process that can be killed, once its container has said `up`.
pub fn running(mut run: Command) -> Child {
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("up")), "the pod ended before it was up");
    // Nobody reads on; the runner must not care.
    child
}

#[test]
fn commands_run_beside_the_main_process_and_a_stop_is_in_order() {
    let sid = Sid::new();
    let script = "trap \"echo leaving; exit 5\" TERM; echo up; while :; do sleep 0.1; done";
    let text = pod("busy", &sid.tree(), &[&format!("command: [sh, -c, '{script}']"), "env: [{name: A, value: b c}]"]);
    let manifest = sid.file("busy.yaml", &text.replace("GracePeriodSeconds: 2", "GracePeriodSeconds: 30"));
    let started = sid.run(USER, &["run", "--detach", &manifest]);
    assert_eq!(started.code, 0, "{started:#?}");
    let told = sid.run(USER, &["exec", "busy", "--", "sh", "-c", "echo $A $FROM_IMAGE; touch /made; exit 7"]);
    assert_eq!((told.code, told.out.as_str()), (7, "b c yes\n"), "{told:#?}");
    let missing = sid.run(USER, &["exec", "busy", "--", "no-such-command"]);
    assert_eq!(missing.code, 127, "{missing:#?}");
    let written = sid.run(USER, &["exec", "busy", "--", "ls", "/made"]);
    assert_eq!(written.code, 0, "{written:#?}");
    assert!(!sid.path("tree/made").exists(), "the image stays as it is");
    let stopped = sid.run(USER, &["stop", "busy"]);
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    assert!(sid.run(USER, &["logs", "busy"]).out.contains("leaving"));
    let listed = sid.run(USER, &["ps", "--output", "json"]).json();
    assert!(listed.to_string().contains("\"exitCode\":5"), "{listed:#}");
    assert_eq!(sid.processes(), [""; 0]);
}

/// Tried with an agent inside that survives its channel and no process namespace outside: the sleep stays.
#[test]
fn a_killed_runner_leaves_no_process_and_no_mount() {
    let sid = Sid::new();
    for (user, image) in [(USER, sid.tree()), (USER, sid.sif()), (0, sid.tree())] {
        let mark = format!("9{}{user}", std::process::id());
        let script = format!("setsid sleep {mark} & echo up; exec sleep {mark}");
        let manifest = sid.file("killed.yaml", &pod("killed", &image, &[&format!("command: [sh, -c, '{script}']")]));
        let mut runner = running(sid.outrigger(user, &["run", &manifest]));
        let sleeping = || processes_with(&format!("sleep {mark}"));
        assert!(within(LIMIT, || sleeping().len() == 2), "{:?}", sleeping());
        let folder = sid.path("").display().to_string();
        assert!(!who_sees_a_mount(&folder).is_empty());
        runner.kill().unwrap();
        runner.wait().unwrap();
        // The kernel ends a process namespace without anyone to wait for; what is left after this much is a leak.
        let left = || processes_with(&mark).len() + sid.processes().len();
        assert!(within(LIMIT, || left() == 0), "{:?} {:?}", processes_with(&mark), sid.processes());
        assert!(within(LIMIT, || who_sees_a_mount(&folder).is_empty()), "{:?}", who_sees_a_mount(&folder));
        let listed = sid.run(user, &["ps", "--output", "json"]);
        assert!(!listed.out.contains("\"Running\""), "{listed:#?}");
        let removed = sid.run(user, &["rm", "killed"]);
        assert_eq!(removed.code, 0, "{removed:#?}");
    }
}

/// Whether it becomes true within this time. The end of somebody else's child cannot be awaited.
pub fn within(limit: Duration, holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
