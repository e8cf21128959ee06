//! The companions of `run`, and what `run` refuses: by the real executable, under the host launcher.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]

mod support;

use std::process::{Command, Stdio};

use support::site::{Site, User, wait_until};
use support::{Machine, Said};

/// A pod with one container that runs this shell text.
fn pod(name: &str, text: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: app\n    image: none\n    command: [sh, -c, {text:?}]\n{more}"
    )
}

impl Machine {
    fn run_pod(&self, text: &str, args: &[&str]) -> Said {
        let file = self.file("pod.yaml", text);
        self.run(&[&["run"], args, &[file.as_str()]].concat())
    }

    /// Starts a pod in the background that goes on for long.
    fn detached(&self, name: &str) -> String {
        let said = self.run_pod(&pod(name, "echo begun; exec sleep 600", ""), &["--detach"]);
        assert_eq!((said.code, said.out.trim()), (0, name), "{said:?}");
        said.out
    }

    fn stopped(&self) {
        let said = self.run(&["stop", "--all", "--grace", "0s"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn the_exit_code_is_the_containers_and_the_first_line_names_the_launcher() {
    let said = Machine::new().run_pod(&pod("a", "echo out; echo err >&2; exit 7", ""), &[]);
    assert_eq!(said.code, 7);
    assert!(said.err.starts_with("outrigger: launcher host, "), "{}", said.err);
    assert_eq!(said.out, "app | out\napp | err\n");
}

/// As scripts do that know containers: by process 1, from the main process, a command beside it and a hook.
#[test]
fn what_is_written_to_the_output_of_process_1_stands_in_the_log() {
    for user in [User::Caller, User::Ordinary] {
        let site = Site::new(user);
        let main = "trap 'exit 0' TERM; echo main > /proc/1/fd/1; echo error > /proc/1/fd/2; echo begun; while :; do sleep 0.1; done";
        let hook = "echo hook > /proc/1/fd/1";
        let spec = serde_json::json!({"containers": [{"name": "main", "image": "none", "command": ["sh", "-c", main],
            "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", hook]}}}}]});
        assert_eq!(site.run(&["run", "--detach", &site.pod("loud", &spec)]).code, 0);
        site.wait_for_log("loud", 1, "main", "begun");
        let beside = site.run(&["exec", "loud", "--", "sh", "-c", "echo beside > /proc/1/fd/1"]);
        assert_eq!(beside.code, 0, "{user:?}: {beside:#?}");
        assert_eq!(site.run(&["stop", "loud"]).code, 0);
        let logs = site.run(&["logs", "loud"]).out;
        for line in ["main\n", "error\n", "beside\n", "hook\n"] {
            assert!(logs.contains(line), "{user:?}: {line:?} is missing in {logs:?}");
        }
    }
}

#[test]
fn what_cannot_be_started_gives_the_codes_of_a_shell() {
    for (command, code) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let text = pod("a", "", "").replace("[sh, -c, \"\"]", &format!("[{command}]"));
        let said = Machine::new().run_pod(&text, &[]);
        assert_eq!(said.code, code, "{said:?}");
    }
}

#[test]
fn a_pod_out_of_time_gives_124() {
    let machine = Machine::new();
    let said = machine.run_pod(&pod("a", "exec sleep 60", ""), &["--timeout", "200ms"]);
    assert_eq!(said.code, 124);
    assert!(said.err.contains("outrigger: out of time (--timeout); stopping"), "{}", said.err);
    assert_eq!(machine.run_pod(&pod("b", "exec sleep 60", "  activeDeadlineSeconds: 1\n"), &[]).code, 124);
}

#[test]
fn an_interrupt_stops_in_order_and_gives_130() {
    let machine = Machine::new();
    let text = pod("a", "trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 0.1; done", "");
    let file = machine.file("pod.yaml", &text.replace("GracePeriodSeconds: 1", "GracePeriodSeconds: 30"));
    let mut child = machine.command(&["run", &file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "app | begun\n");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.code, rest.as_str()), (130, "app | bye\n"), "{said:?}");
    assert!(said.err.contains("stopping: app may take up to 30s to end"), "{}", said.err);
}

#[test]
fn a_detached_pod_is_listed_talked_to_described_and_removed() {
    let machine = Machine::new();
    machine.detached("web");
    assert!(machine.run(&["ps"]).out.contains("web   1/1    Running"), "{}", machine.run(&["ps"]).out);
    let said = machine.run(&["exec", "web", "--", "sh", "-c", "echo inside; exit 9"]);
    assert_eq!((said.code, said.out.as_str()), (9, "inside\n"), "{said:?}");
    wait_until("its first line", || machine.run(&["logs", "web"]).out == "begun\n");
    assert_eq!(machine.run(&["ps", "-o", "json", "web"]).json()["status"]["phase"], "Running");
    let said = machine.run(&["rm", "web"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("still runs"), "{said:?}");
    assert_eq!(machine.run(&["stop", "web"]).out, "pod web stopped\n");
    let page = machine.run(&["describe", "web"]).out;
    assert!(page.contains("stopped by a user") && page.contains("Killing"), "{page}");
    assert_eq!(machine.run(&["logs", "-f", "web"]).out, "begun\n");
    assert_eq!(machine.run(&["ps", "--running"]).out, "None is running here, 1 has ended. See it: outrigger ps\n");
    for all in ["-a", "-A", "--all"] {
        assert_eq!(machine.run(&["ps", all]).out, machine.run(&["ps"]).out);
    }
    assert_eq!(machine.run(&["rm", "web"]).out, "pod web removed\n");
    assert!(!machine.state().join("pods/default/web").exists());
    assert!(machine.run(&["ps"]).out.starts_with("No pods here"));
    assert!(machine.run(&["ps", "--running"]).out.starts_with("No pods here"));
}

#[test]
fn a_command_is_executed_as_kubectls_users_type_it_and_one_without_dashes_is_told_the_right_form() {
    let machine = Machine::new();
    let said = machine.run(&["exec", "-it", "web", "sh", "-c", "cat /etc/hosts"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:#?}");
    assert!(said.err.contains("outrigger exec -it web -- sh -c 'cat /etc/hosts'\n"), "{said:#?}");
    machine.detached("web");
    for typed in [&["-it", "web", "--", "echo", "hi"][..], &["pod/web", "-ti", "-c", "app", "--", "echo", "hi"]] {
        let said = machine.run(&[&["exec"], typed].concat());
        assert_eq!((said.code, said.out.as_str()), (0, "hi\n"), "{said:#?}");
        assert!(said.err.contains("(-t is left out)"), "{said:#?}");
    }
    machine.stopped();
}

/// Tried with a client that takes a refused write for the end of the session.
#[test]
fn input_that_nobody_reads_does_not_hide_how_a_command_ended() {
    let machine = Machine::new();
    machine.detached("web");
    let zeros = machine.file("zeros", &"0".repeat(1_000_000));
    for _ in 0..20 {
        let mut exec = machine.command(&["exec", "-i", "web", "--", "sh", "-c", "echo said; exit 7"]);
        let said = Said::of(exec.stdin(std::fs::File::open(&zeros).unwrap()).output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (7, "said\n"), "{said:#?}");
    }
    machine.stopped();
}

#[test]
fn the_removal_of_a_pod_that_has_just_ended_waits_for_its_runner() {
    let machine = Machine::new();
    assert_eq!(machine.run_pod(&pod("a", "true", ""), &[]).code, 0);
    let run = machine.state().join("pods/default/a/1");
    let runner = std::fs::File::open(run.join("lock")).unwrap();
    runner.lock().unwrap();
    let removal = machine.command(&["rm", "a"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&runner.metadata().unwrap()));
    wait_until("the removal to wait", || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&waits))
    });
    drop(runner);
    let said = Said::of(removal.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (0, "pod a removed\n"), "{said:?}");
    assert!(!run.exists());
}

#[test]
fn a_follower_of_a_log_ends_with_the_run_of_its_container_or_with_its_runner() {
    let machine = Machine::new();
    let text = pod("a", "echo begun; read line; echo last", "    stdin: true\n")
        + "  - {name: b, image: none, command: [sleep, '600']}\n";
    assert_eq!(machine.run_pod(&text, &["--detach"]).code, 0);
    // The command returns once one of the two runs.
    wait_until("the container to run", || machine.run(&["logs", "a", "-c", "app"]).out == "begun\n");
    let follow = |container: &str| {
        let mut command = machine.command(&["logs", "-f", "a", "-c", container]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (of_app, of_b) = (follow("app"), follow("b"));
    let mut attached = machine.command(&["attach", "-i", "a", "-c", "app"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut attached.stdin.take().unwrap(), b"go\n").unwrap();
    let said = Said::of(of_app.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (0, "begun\nlast\n"), "{said:?}");
    assert!(attached.wait().unwrap().success());
    machine.stopped();
    assert_eq!(Said::of(of_b.wait_with_output().unwrap()).code, 0);
}

#[test]
fn stopping_a_job_leaves_what_the_same_process_runs_beside_it() {
    let machine = Machine::new();
    let job = "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  template:\n    spec:\n      \
        restartPolicy: Never\n      containers: [{name: w, image: none, command: [sleep, '600']}]\n";
    let file = machine.file("both.yaml", &(pod("beside", "exec sleep 600", "") + job));
    let run = machine.command(&["run", &file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("both to run", || machine.run(&["ps"]).out.matches("1/1    Running").count() == 2);
    assert_eq!(machine.run(&["stop", "--grace", "0s", "job/j"]).out, "job j stopped\n");
    let list = machine.run(&["ps"]).out;
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("job/j").contains("Stopped") && line("beside").contains("Running"), "{list}");
    assert!(machine.run(&["describe", "job/j"]).out.contains("Stopped"));
    machine.stopped();
    let said = Said::of(run.wait_with_output().unwrap());
    assert_eq!(said.code, 137, "{said:?}");
}

#[test]
fn what_a_detached_runner_has_to_warn_of_stands_in_its_log() {
    let machine = Machine::new();
    machine.detached("a");
    let run = machine.state().join("pods/default/a/1");
    let log = || std::fs::read_to_string(run.join("runner.log")).unwrap();
    assert!(log().contains(r#""message":"Running the pod""#), "{}", log());
    // A directory in its place: the status cannot be written there.
    let (status, aside) = (run.join("status.json"), run.join("aside.json"));
    wait_until("no status to come between", || {
        std::fs::rename(&status, &aside).unwrap();
        std::fs::create_dir(&status).is_ok()
    });
    let known: serde_json::Value = serde_json::from_slice(&std::fs::read(aside).unwrap()).unwrap();
    let pid = known["runner"]["pid"].to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait_until("the runner to warn", || log().contains("status is not written down"));
    std::fs::remove_dir(&status).unwrap();
    wait_until("the runner to end", || log().contains(r#""message":"The pod has ended""#));
    assert!(log().lines().all(|line| line.starts_with('{')), "{}", log());
}

#[test]
fn root_is_shown_the_pods_of_all_users_unless_a_place_is_named() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new(User::Ordinary);
    let spec = serde_json::json!({"containers": [{"name": "main", "image": "none", "command": ["sleep", "600"]}]});
    let name = format!("seen-{}", std::process::id());
    assert_eq!(site.run(&["run", "--detach", &site.pod(&name, &spec)]).code, 0);
    // Runners are told by their locks, not by the name of what they execute.
    let renamed = site.path().join("renamed");
    std::fs::hard_link(site.path().join("outrigger"), &renamed).unwrap();
    let root = |args: &[&str]| {
        let mut command = Command::new(&renamed);
        Said::of(command.args(args).env_remove("OUTRIGGER_RUN_STATE_DIRECTORY").output().unwrap())
    };
    let list = root(&["ps"]).out;
    let line = list.lines().find(|line| line.contains(&name)).unwrap_or_default();
    assert!(list.starts_with("USER ") && line.starts_with("nobody ") && line.contains("Running"), "{list}");
    assert!(root(&["ps", "-o", "json"]).out.contains(&name));
    let place = site.path().join("elsewhere");
    assert!(root(&["ps", "--state-directory", place.to_str().unwrap()]).out.starts_with("No pods here"));
    assert_eq!(site.run(&["stop", "--grace", "0s", &name]).code, 0);
}

#[test]
fn a_pod_whose_runner_was_killed_is_told_as_it_is_and_leaves_no_process() {
    let machine = Machine::new();
    machine.detached("gone");
    let file = machine.state().join("pods/default/gone/1/status.json");
    let status: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let pid = status["runner"]["pid"].as_u64().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    wait_until("the end of the runner to be told", || {
        machine.run(&["describe", "gone"]).out.contains("its runner died")
    });
    assert!(!machine.run(&["ps"]).out.contains("Running"));
}

#[test]
fn the_same_pod_twice_and_a_port_twice_are_refused_by_name() {
    let machine = Machine::new();
    machine.detached("web");
    let said = machine.run_pod(&pod("web", "true", ""), &[]);
    assert_eq!(said.code, 125);
    assert!(said.err.contains("pod web runs already"), "{}", said.err);
    let ports = "    ports: [{containerPort: 39999}]\n";
    let text = pod("one", "true", ports) + "---\n" + &pod("two", "true", ports);
    let said = machine.run_pod(&text, &[]);
    assert_eq!(said.code, 125);
    assert!(said.err.contains("pod two declares port 39999/TCP, which pod one has already"), "{}", said.err);
    machine.stopped();
}

#[test]
fn every_fault_of_every_manifest_is_told_at_once_with_its_place() {
    let machine = Machine::new();
    let one = machine.file("one.yaml", &pod("a", "true", "    imagee: x\n    ports: [{containerPort: 99999}]\n"));
    let two = machine.file("two.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n");
    let said = machine.run(&["run", &one, &two]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    for place in [
        ":11:5: warning: spec.containers[0].imagee: ",
        ":12:29: spec.containers[0].ports[0].containerPort: ",
        "two.yaml:2:7: kind: Deployment d does not run here",
    ] {
        assert!(said.err.contains(place), "{place} is missing in\n{}", said.err);
    }
}

/// Of its shape and values, of what is absent, of names that stand twice; and nothing that only follows from another fault.
#[test]
fn faults_of_every_kind_are_told_in_one_round() {
    let machine = Machine::new();
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: known}\ndata: {key: 1}\n";
    let text =
        pod("a", "true", "    resources: {limits: {vendor.example/gpu: 1}}\n    ports: [{containerPort: 99999}]\n")
            + "    env:\n    - {name: A, valueFrom: {configMapKeyRef: {name: known, key: key}}}\n    \
           - {name: B, valueFrom: {configMapKeyRef: {name: absent, key: key}}}\n  \
           - {name: b, image: none}\n  - {name: c, image: none, command: true}\n"
            + map;
    let one = machine.file("one.yaml", &text);
    let two = machine.file("two.yaml", &pod("a", "true", ""));
    let said = machine.run(&["run", &one, &two]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:#?}");
    for told in [
        "spec.containers[0].ports[0].containerPort: ",
        "spec.containers[0].resources.limits[vendor.example/gpu]: nothing on this machine serves",
        "spec.containers[0].env[1].valueFrom.configMapKeyRef: the ConfigMap absent is not among the manifests",
        "spec.containers[1].command: the container b has no command",
        "spec.containers[2].command: is ",
        "data.key: is the number 1",
        "metadata.name: the Pod a stands twice",
    ] {
        assert!(said.err.contains(told), "{told} is missing in\n{}", said.err);
    }
    let follows = said.err.contains("known has no key") || said.err.contains("container c has no command");
    assert!(!follows, "{}", said.err);
}

#[test]
fn what_a_pod_would_wait_for_in_vain_is_refused_with_its_place() {
    let machine = Machine::new();
    let text = pod("a", "true", "    envFrom: [{configMapRef: {name: absent}}]\n  - {name: b, image: none}\n")
        + "  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]\n";
    let said = machine.run_pod(&text, &[]);
    assert_eq!(said.code, 2);
    for told in [
        "pod.yaml:11:37: spec.containers[0].envFrom[0].configMapRef.name: the ConfigMap absent is not among",
        "pod.yaml:12:5: spec.containers[1].command: the container b has no command",
        "spec.volumes[0].persistentVolumeClaim.claimName: no directory is given for the claim data, give one with --volume",
    ] {
        assert!(said.err.contains(told), "{told} is missing in\n{}", said.err);
    }
}

#[test]
fn a_resource_that_nothing_serves_is_refused_unless_it_is_ignored() {
    let machine = Machine::new();
    let text = pod("a", "true", "    resources: {limits: {vendor.example/gpu: 1}}\n");
    let said = machine.run_pod(&text, &[]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("nothing on this machine serves vendor.example/gpu"), "{}", said.err);
    assert!(said.err.contains("devices.yaml"), "{}", said.err);
    assert_eq!(machine.run_pod(&text, &["--ignore-resource", "vendor.example/gpu"]).code, 0);
}

#[test]
fn a_variable_of_the_command_line_arrives_whole_and_stands_in_no_file() {
    let machine = Machine::new();
    let value = "it's $HOME \"x\"\nand more";
    let text = pod("a", "printf %s \"$TOLD\"", "    env: [{name: TOLD, value: manifest}]\n");
    let said = machine.run_pod(&text, &["--keep", "--env", &format!("TOLD={value}")]);
    assert_eq!((said.code, said.out.as_str()), (0, "app | it's $HOME \"x\"\napp | and more\n"), "{said:?}");
    let found =
        Command::new("grep").args(["-rl", "--exclude-dir=logs", "and more"]).arg(machine.state()).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
}

#[test]
fn the_status_is_all_of_standard_output_where_it_is_asked_for_as_json() {
    let said = Machine::new().run_pod(&pod("a", "echo hello", ""), &["-o", "json"]);
    assert_eq!(said.json()["status"]["phase"], "Succeeded");
    assert!(said.err.contains("app | hello\n"), "{}", said.err);
}

#[test]
fn a_dry_run_shows_the_pod_and_runs_nothing() {
    let machine = Machine::new();
    let said = machine.run_pod(&pod("a", "echo hello", ""), &["--dry-run"]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains("1. main app"), "{}", said.out);
    assert!(machine.run(&["ps"]).out.starts_with("No pods here"));
}

#[test]
fn the_last_lines_of_a_log_are_shown_and_all_for_minus_one() {
    let machine = Machine::new();
    assert_eq!(machine.run_pod(&pod("a", "echo 1; echo 2; echo 3", ""), &[]).code, 0);
    for (tail, expected) in [("1", "3\n"), ("0", ""), ("-1", "1\n2\n3\n")] {
        assert_eq!(machine.run(&["logs", "--tail", tail, "a"]).out, expected, "{tail}");
        assert_eq!(machine.run(&["logs", &format!("--tail={tail}"), "a"]).out, expected, "{tail}");
    }
    assert_eq!(machine.run(&["logs", "--tail", "-2", "a"]).code, 2);
}

#[test]
fn a_container_that_ends_at_once_was_started() {
    let said = Machine::new().run_pod(&pod("a", "exit 3", ""), &[]);
    assert!(said.err.contains("outrigger: app started\noutrigger: app failed, exit code 3\n"), "{}", said.err);
}

#[test]
fn a_finished_pod_is_replaced_and_its_earlier_runs_can_be_read() {
    let machine = Machine::new();
    for text in ["echo first", "echo second"] {
        assert_eq!(machine.run_pod(&pod("a", text, ""), &[]).code, 0);
    }
    assert_eq!(machine.run(&["logs", "a"]).out, "second\n");
    assert_eq!(machine.run(&["logs", "--run", "1", "a"]).out, "first\n");
    assert_eq!(machine.run(&["logs", "--run", "2", "a"]).code, 1);
}

#[test]
fn what_is_not_there_is_told_with_the_nearest_name() {
    let machine = Machine::new();
    assert_eq!(machine.run_pod(&pod("server", "true", ""), &[]).code, 0);
    let said = machine.run(&["logs", "serer"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("did you mean server?"), "{}", said.err);
}

#[test]
fn help_manual_completions_and_schema_come_from_one_description() {
    let machine = Machine::new();
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["logs", "--help"],
        &["man"],
        &["completions", "bash"],
        &["schema", "run"],
        &["version"],
    ] {
        let said = machine.run(args);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.len() > 20, "{args:?}");
    }
    assert_eq!(machine.run(&["schema", "nothing"]).code, 2);
    let checked = machine.run(&["run", "check"]);
    assert_eq!(checked.code, 0);
    for about in ["kernel", "cgroups", "namespaces", "launchers"] {
        let line = checked.out.lines().find(|line| line.starts_with(about)).unwrap_or_default();
        assert!(line.contains(" good: ") || line.contains(" limited: "), "{checked:#?}");
    }
}

#[test]
fn what_kubectl_prints_runs_as_it_is_and_the_injected_token_is_left_out() {
    let manifest = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "prod", "uid": "0", "resourceVersion": "7", "managedFields": [{}],
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node-1", "serviceAccountName": "default", "restartPolicy": "Never", "schedulerName": "x",
            "containers": [{"name": "app", "image": "none", "command": ["sh", "-c", "ls /var/run/secrets/kubernetes.io 2>&1"],
                "volumeMounts": [{"name": "kube-api-access-x7z2p", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
            "volumes": [{"name": "kube-api-access-x7z2p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}]},
        "status": {"phase": "Running"}}]}"#;
    let machine = Machine::new();
    let said = machine.run_pod(manifest, &["-o", "json"]);
    assert_eq!(said.json()["metadata"]["namespace"], "prod", "{said:?}");
    assert!(said.err.contains("the volume kube-api-access-x7z2p is left out"), "{}", said.err);
    assert!(!said.err.contains("warning"), "{}", said.err);
    assert!(machine.run(&["ps"]).out.contains("prod"));

    let token = machine.file("token", "the-token");
    let map = machine.file(
        "map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt}\ndata: {ca.crt: certificates}\n",
    );
    let reads = manifest
        .replace("ls /var/run/secrets/kubernetes.io 2>&1", "cat /var/run/secrets/kubernetes.io/serviceaccount/*");
    let said = machine.run_pod(&reads, &["--token-file", &token, "--configmap", &map]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in ["certificates", "prod", "the-token"] {
        assert!(said.out.contains(part), "{said:?}");
    }
}
