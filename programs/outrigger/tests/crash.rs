//! A runner that is killed with SIGKILL at every step of its pod's life, in the foreground and detached, by root, by an
//! ordinary user, and where no process namespace may be made: no process, no mount, no cgroup and no secret is left, and
//! the next commands tell the truth.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::site::{LIMIT, Site, User, kill, kill_and_wait, stop_and_wait, wait_until};

/// How many runs are killed at a time: they mostly wait.
const AT_A_TIME: usize = 6;

/// More steps than a life has; the last kills come after the end.
const MOST_STEPS: usize = 60;

/// So many runs at least are killed while their pod is alive; a life has several times as many steps.
const LEAST_ALIVE: usize = 4;

/// A pod with everything that has a moment of its own: an init container, a sidecar with a startup probe, probes, hooks,
/// processes that stay when their parent ends, volumes in memory and on disk. It ends by itself.
fn life(site: &Site) -> Value {
    let mounts = json!([
        {"name": "disk", "mountPath": "/made-for-a-test/disk"},
        {"name": "memory", "mountPath": "/made-for-a-test/memory"},
        {"name": "secret", "mountPath": "/made-for-a-test/secret"},
    ]);
    let run = |name: &str, script: &str| {
        json!({
            "name": name,
            "image": "none",
            "command": ["sh", "-c", script],
            "env": [{"name": "MARK", "value": site.mark()}],
            "volumeMounts": mounts.clone(),
        })
    };
    let hook = json!({"exec": {"command": ["sleep", "0.05"]}});
    let probe = json!({"exec": {"command": ["sleep", "0.02"]}, "periodSeconds": 1});
    let mut side = run("side", "trap 'sleep 0.05; exit 0' TERM; echo side; while :; do sleep 0.02; done");
    side["restartPolicy"] = json!("Always");
    side["startupProbe"] = probe.clone();
    side["lifecycle"] = json!({"preStop": hook});
    let mut main = run("main", "echo main; (trap '' TERM; setsid sleep 1000) & sleep 0.2; exit 0");
    main["lifecycle"] = json!({"postStart": hook});
    main["readinessProbe"] = probe;
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "volumes": [
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "secret", "secret": {"secretName": "door"}},
        ],
        "initContainers": [run("first", "echo first; sleep 0.05"), side],
        "containers": [main, run("other", "echo other; sleep 0.1")],
    })
}

fn manifest(site: &Site) -> String {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"}, "stringData": {"code": "421"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "life"}, "spec": life(site)});
    site.file("life.yaml", &format!("{secret}\n---\n{pod}\n"))
}

/// Kills the runner when its status has been replaced `step` times; answers whether the pod was still alive then.
fn kill_at(site: &Site, step: usize, detached: bool) -> bool {
    let file = manifest(site);
    let mut args = vec!["run", "--quiet", &file];
    if detached {
        args.push("--detach");
    }
    let mut child = site.start(&args);
    let until = Instant::now() + LIMIT;
    let (mut seen, mut last) = (0, None);
    let was_alive = loop {
        let status = site.status("life", 1);
        if status != last {
            seen += usize::from(status.is_some());
            last = status;
        }
        let runner = if detached { site.runner("life", 1) } else { i32::try_from(child.id()).ok() };
        if seen >= step
            && let Some(runner) = runner
        {
            kill_and_wait(runner);
            break last.is_none_or(|status| status["end"].is_null());
        }
        if last.as_ref().is_some_and(|status| !status["end"].is_null()) {
            break false;
        }
        assert!(Instant::now() < until, "step {step} never came");
        // Six of these beside each other must leave the machine to the runners.
        std::thread::sleep(Duration::from_micros(100));
    };
    child.wait().unwrap();
    was_alive
}

/// What was killed at `step` has left nothing, and every command says what happened.
fn examine(site: &Site, step: usize) {
    site.nothing_runs();
    let Some(before) = site.status("life", 1) else {
        // It was killed before there was anything to write down; perhaps it had a directory.
        let said = site.run(&["ps"]);
        assert_eq!(said.code, 0, "step {step}: {said:#?}");
        return;
    };
    let pod = site.run(&["ps", "--output", "json", "life"]).json();
    let status = &pod["status"];
    let ended = site.status("life", 1).unwrap();
    assert!(!ended["end"].is_null(), "step {step}: {ended:#}");
    let died = before["end"].is_null();
    assert_eq!(ended["end"]["why"], if died { json!("runnerDied") } else { json!("finished") }, "step {step}");
    if died {
        // As with a kubelet, sidecars do not count once all main containers have ended well.
        let mains = before["status"]["containerStatuses"].as_array().unwrap();
        let was_over = mains.iter().all(|container| container["state"]["terminated"]["exitCode"] == 0);
        let phase = if was_over { "Succeeded" } else { "Failed" };
        assert_eq!(status["phase"], phase, "step {step}: {status:#}");
        lost_containers_say_so(&before["status"], status, step);
    }
    assert_eq!(site.remains("life", 1), Vec::<std::path::PathBuf>::new(), "step {step}");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    assert_eq!(Site::groups(uid), Vec::<std::path::PathBuf>::new(), "step {step}");
    let described = site.run(&["describe", "life"]);
    assert_eq!(described.out.contains("its runner died"), died, "step {step}: {}", described.out);
    assert!(!described.out.contains("Running, since"), "step {step}: {}", described.out);
    let logs = site.run(&["logs", "life", "--all-containers"]);
    assert_eq!(logs.code, 0, "step {step}: {logs:#?}");
}

/// What ran when the runner was killed is `ContainerStatusUnknown`; what had ended stays as it was.
fn lost_containers_say_so(before: &Value, after: &Value, step: usize) {
    let after = containers(after);
    for (name, state) in containers(before) {
        let now = &after[&name];
        assert!(now["running"].is_null(), "step {step}: {name} {now}");
        if !state["running"].is_null() {
            assert_eq!(now["terminated"]["reason"], "ContainerStatusUnknown", "step {step}: {name} {now}");
            assert_eq!(now["terminated"]["exitCode"], 137, "step {step}: {name} {now}");
        }
        if !state["terminated"].is_null() {
            assert_eq!(*now, state, "step {step}: {name}");
        }
    }
}

fn containers(status: &Value) -> BTreeMap<String, Value> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array().cloned());
    let all = lists.into_iter().flatten().flatten();
    all.map(|container| (container["name"].as_str().unwrap().to_owned(), container["state"].clone())).collect()
}

/// Kills at every step, several runs at a time; each place then runs the same pod to its good end.
fn killed_at_every_step(user: User, detached: bool) {
    let (next, alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let until = Instant::now() + LIMIT;
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let step = next.fetch_add(1, Ordering::Relaxed);
                    if step >= MOST_STEPS {
                        break;
                    }
                    let site = Site::new(user);
                    let was_alive = kill_at(&site, step, detached);
                    examine(&site, step);
                    if !was_alive {
                        if alive.load(Ordering::Relaxed) < LEAST_ALIVE && Instant::now() < until {
                            // A whole life goes by between two looks of a busy machine: another try, from the first step.
                            next.store(0, Ordering::Relaxed);
                            continue;
                        }
                        // The life has no more steps.
                        next.store(MOST_STEPS, Ordering::Relaxed);
                        break;
                    }
                    alive.fetch_add(1, Ordering::Relaxed);
                    if step % 4 == 0 {
                        let again = site.run(&["run", "--quiet", &manifest(&site)]);
                        assert_eq!(again.code, 0, "step {step}: {again:#?}");
                        site.nothing_runs();
                    }
                }
            });
        }
    });
    // Fewer would mean that the pod never got far.
    assert!(alive.load(Ordering::Relaxed) >= LEAST_ALIVE, "only {} steps", alive.load(Ordering::Relaxed));
}

#[test]
fn a_runner_killed_at_any_step_leaves_nothing_and_no_lie() {
    killed_at_every_step(User::Caller, false);
}

#[test]
fn a_detached_runner_killed_at_any_step_leaves_nothing_and_no_lie() {
    killed_at_every_step(User::Caller, true);
}

#[test]
fn an_ordinary_users_runner_killed_at_any_step_leaves_nothing_and_no_lie() {
    killed_at_every_step(User::Ordinary, false);
}

#[test]
fn a_runner_with_keepers_killed_at_any_step_leaves_nothing_and_no_lie() {
    killed_at_every_step(User::WithKeepers, false);
}

/// A pod of one container that says when it is ready, and waits; its child does too, and both are deaf to SIGTERM.
fn waiting(site: &Site, restart_policy: &str) -> String {
    let script = "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 1000; done";
    site.pod(
        "waiting",
        &json!({"restartPolicy": restart_policy, "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "main", "image": "none", "command": ["sh", "-c", script],
            "env": [{"name": "MARK", "value": site.mark()}]}]}),
    )
}

/// Kills the inits and keepers of all containers.
fn kill_agents(site: &Site) {
    let agents: Vec<_> = site.processes().into_iter().filter(|(_, line)| line.starts_with("outrigger-init")).collect();
    assert!(!agents.is_empty());
    for (agent, _) in agents {
        kill(agent, Signal::KILL);
    }
}

#[test]
fn a_killed_agent_ends_its_container_and_the_pod_says_so() {
    for user in [User::Caller, User::Ordinary, User::WithKeepers] {
        let site = Site::new(user);
        let mut run = site.start(&["run", &waiting(&site, "Never")]);
        site.wait_for_log("waiting", 1, "main", "ready");
        kill_agents(&site);
        assert_eq!(run.wait().unwrap().code(), Some(137), "{user:?}");
        site.nothing_runs();
        let status = &site.status("waiting", 1).unwrap()["status"];
        assert_eq!(status["phase"], "Failed", "{user:?}");
        assert_eq!(containers(status)["main"]["terminated"]["exitCode"], 137, "{user:?}");
    }
}

#[test]
fn a_container_whose_agent_was_killed_is_never_there_twice() {
    for user in [User::Caller, User::WithKeepers] {
        let site = Site::new(user);
        let mut run = site.start(&["run", &waiting(&site, "Always")]);
        site.wait_for_log("waiting", 1, "main", "ready");
        let before: Vec<i32> = site.processes().into_iter().map(|(pid, _)| pid).collect();
        kill_agents(&site);
        let restarted = site.directory("waiting", 1).join("logs/main/1.log");
        wait_until("the second start", || std::fs::read_to_string(&restarted).is_ok_and(|log| log.contains("ready")));
        let runner = i32::try_from(run.id()).unwrap();
        let left: Vec<_> =
            site.processes().into_iter().filter(|(pid, _)| before.contains(pid) && *pid != runner).collect();
        assert_eq!(left, [], "{user:?}");
        kill(runner, Signal::TERM);
        run.wait().unwrap();
        site.nothing_runs();
    }
}

#[test]
fn what_a_killed_keeper_left_is_ended_by_the_next_command() {
    let site = Site::new(User::WithKeepers);
    let mut run = site.start(&["run", &waiting(&site, "Never")]);
    site.wait_for_log("waiting", 1, "main", "ready");
    // The runner first stops, so that it cannot see to what its keeper leaves.
    stop_and_wait(i32::try_from(run.id()).unwrap());
    kill_agents(&site);
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!site.processes().is_empty(), "nothing was left to be ended");
    assert_eq!(site.run(&["ps", "--output", "json", "waiting"]).json()["status"]["phase"], "Failed");
    site.nothing_runs();
}

#[test]
fn a_stopped_runner_that_is_killed_leaves_nothing() {
    let site = Site::new(User::Caller);
    assert_eq!(site.run(&["run", "--detach", &waiting(&site, "Always")]).code, 0);
    let runner = site.runner("waiting", 1).unwrap();
    stop_and_wait(runner);
    kill_and_wait(runner);
    site.nothing_runs();
    assert_eq!(site.run(&["ps", "--output", "json", "waiting"]).json()["status"]["phase"], "Failed");
}

#[test]
fn a_command_in_a_container_ends_with_the_runner() {
    let site = Site::new(User::Caller);
    assert_eq!(site.run(&["run", "--detach", &waiting(&site, "Always")]).code, 0);
    site.wait_for_log("waiting", 1, "main", "ready");
    let mark = site.mark().to_owned();
    let script = format!(": {mark}; touch {0}/in; while :; do sleep 1000; done", site.path().display());
    let mut exec = site.start(&["exec", "waiting", "--", "sh", "-c", &script]);
    wait_until("the command", || site.path().join("in").exists());
    kill_and_wait(site.runner("waiting", 1).unwrap());
    assert_eq!(exec.wait().unwrap().code(), Some(125));
    site.nothing_runs();
}

/// A Job of two pods at a time, which say when they are ready and wait.
fn job(site: &Site) -> String {
    let script = "trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 1000; done";
    let template = json!({"spec": {
        "restartPolicy": "Never",
        "volumes": [{"name": "secret", "secret": {"secretName": "door"}}],
        "containers": [{
            "name": "main", "image": "none", "command": ["sh", "-c", script],
            "env": [{"name": "MARK", "value": site.mark()}],
            "volumeMounts": [{"name": "secret", "mountPath": "/made-for-a-test/secret"}],
        }],
    }});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "both"},
        "spec": {"completions": 3, "parallelism": 2, "template": template}});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"}, "stringData": {"code": "421"}});
    site.file("job.yaml", &format!("{secret}\n---\n{job}\n"))
}

#[test]
fn a_killed_runner_of_a_job_leaves_nothing_of_its_pods_and_no_lie() {
    for (user, detached) in [(User::Caller, true), (User::Ordinary, false), (User::WithKeepers, true)] {
        let site = Site::new(user);
        let mut run =
            site.start(&[&["run", "--quiet"][..], if detached { &["-d"] } else { &[] }, &[&job(&site)]].concat());
        let written = || site.job_status("both", 1).filter(|status| status["pods"].as_array().map_or(0, Vec::len) == 2);
        wait_until("two pods", || written().is_some());
        let status = written().unwrap();
        let pods: Vec<String> =
            status["pods"].as_array().unwrap().iter().map(|pod| pod[0].as_str().unwrap().to_owned()).collect();
        for pod in &pods {
            site.wait_for_log(pod, 1, "main", "ready");
        }
        kill_and_wait(i32::try_from(status["runner"]["pid"].as_i64().unwrap()).unwrap());
        run.wait().unwrap();
        site.nothing_runs();

        let list = site.run(&["ps"]);
        let told = |name: &str| list.out.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        assert!(told("job/both").contains("RunnerDied"), "{user:?}: {list:#?}");
        for pod in &pods {
            assert!(told(pod).contains("ContainerStatusUnknown"), "{user:?}: {list:#?}");
            assert_eq!(site.status(pod, 1).unwrap()["end"]["why"], "runnerDied", "{user:?}");
            assert_eq!(site.remains(pod, 1), Vec::<std::path::PathBuf>::new(), "{user:?}");
        }
        assert_eq!(site.job_status("both", 1).unwrap()["end"]["why"], "runnerDied", "{user:?}");
        let described = site.run(&["describe", "job/both"]).out;
        assert!(described.contains("its runner died"), "{user:?}: {described}");
        assert!(described.contains("0 active, 0 succeeded, 2 failed"), "{user:?}: {described}");

        let again = site.run(&["run", "-d", &job(&site)]);
        assert_eq!((again.code, again.out.as_str()), (0, "job/both\n"), "{user:?}: {again:#?}");
        assert_eq!(site.run(&["stop", "--grace", "0s", "job/both"]).code, 0, "{user:?}");
        site.nothing_runs();
    }
}
