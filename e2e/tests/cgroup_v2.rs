//! The host launcher where cgroup v2 rules, as on production nodes: limits are in force for root and, where a group is
//! delegated to them, for ordinary users; the examples end as they should.
//!
//! Runs in the virtual machine (`cargo xtask vm`) where this machine's kernel has version 1. The machine has busybox only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outrigger_e2e::groups;
use serde_json::Value;

/// The machine's ordinary user, `tester`.
const USER: u32 = 1000;

/// A state directory, and the executable run as some user.
struct Bench {
    folder: tempfile::TempDir,
    user: u32,
    /// The group it starts in, where it is not the test's own.
    group: Option<PathBuf>,
}

/// What a run said, and the status that it left.
#[derive(Debug)]
struct Said {
    code: i32,
    status: Value,
    err: String,
}

impl Bench {
    fn of(user: u32) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::os::unix::fs::chown(folder.path(), Some(user), Some(user)).unwrap();
        Self { folder, user, group: None }
    }

    fn run(&self, manifest: &str, flags: &[&str]) -> Said {
        let file = self.folder.path().join("manifest.yaml");
        fs::write(&file, manifest).unwrap();
        let script = "[ -z \"$GROUP\" ] || echo $$ > \"$GROUP/cgroup.procs\"; \
                      exec su -s /bin/sh -c 'exec \"$@\"' -- \"$NAME\" sh \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(std::env::var_os("OUTRIGGER_BIN").expect("OUTRIGGER_BIN is told by `cargo xtask test`"))
            .args(["run", "--output", "json"])
            .args(flags)
            .arg(&file)
            .env("GROUP", self.group.as_deref().unwrap_or(Path::new("")))
            .env("NAME", if self.user == USER { "tester" } else { "root" })
            .env("OUTRIGGER_RUN_STATE_DIRECTORY", self.folder.path().join("state"))
            .env("OUTRIGGER_RUN_LAUNCHER", "host")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let object: Value = serde_json::from_str(&out).unwrap_or(Value::Null);
        let err = String::from_utf8(output.stderr).unwrap();
        Said { code: output.status.code().unwrap_or(-1), status: object["status"].clone(), err }
    }
}

impl Said {
    fn ended(&self) -> &Value {
        &self.status["containerStatuses"][0]["state"]["terminated"]
    }

    fn message(&self) -> &str {
        self.ended()["message"].as_str().unwrap_or_else(|| panic!("{self:#?}"))
    }
}

/// A pod that says what `script` writes to its termination message.
fn pod(limits: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: limited}}\nspec:\n  restartPolicy: Never\n  containers:\n    \
         - name: main\n      image: none\n      resources: {{limits: {{{limits}}}}}\n      \
         command: [sh, -c, '{script}']\n"
    )
}

/// Prints the container's own group, from inside.
const OWN_GROUP: &str = "own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)";

fn limits_are_in_force(bench: &Bench) {
    let script = format!("{OWN_GROUP}; cat $own/memory.max $own/cpu.max > /dev/termination-log");
    let said = bench.run(&pod("cpu: 500m, memory: 48Mi", &script), &["--strict"]);
    assert_eq!(said.code, 0, "{said:#?}");
    assert_eq!(said.message(), format!("{}\n50000 100000\n", 48 << 20), "{said:#?}");
    let state = bench.folder.path().join("state");
    assert!(state.join("pods/default/limited/1/spec.json").exists(), "its uid is known");
    assert_eq!(groups::of_state(&state), [""; 0].map(PathBuf::from));
}

/// Tried with a launcher that says cgroups are used and writes no limit.
#[test]
fn the_limits_of_root_are_those_of_the_manifest() {
    limits_are_in_force(&Bench::of(0));
}

#[test]
fn a_container_over_its_memory_is_killed_with_the_reason() {
    let hog = "x=$(head -c 80000000 /dev/zero | tr \"\\\\0\" x); echo ${#x}";
    let said = Bench::of(0).run(&pod("memory: 24Mi", hog), &[]);
    assert_eq!(said.code, 137, "{said:#?}");
    assert_eq!(said.ended()["reason"], "OOMKilled", "{said:#?}");
}

#[test]
fn a_container_gets_no_more_cpu_than_its_limit() {
    let script = format!(
        "{OWN_GROUP}; read begun rest < /proc/uptime; end=$(($(date +%s) + 3)); \
         while [ $(date +%s) -lt $end ]; do :; done; \
         {{ grep -E \"nr_throttled|usage_usec\" $own/cpu.stat; read ended rest < /proc/uptime; \
         echo begun $begun; echo ended $ended; }} > /dev/termination-log"
    );
    let said = Bench::of(0).run(&pod("cpu: 200m", &script), &[]);
    let value = |name: &str| -> f64 {
        let line = said.message().lines().find(|line| line.starts_with(name)).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    assert!(value("nr_throttled") > 0.0, "{said:#?}");
    // A fifth of the time that it took, and what the kernel gives in advance.
    let (used, took) = (value("usage_usec") / 1e6, value("ended") - value("begun"));
    assert!(used < 0.25 * took + 0.2, "{used} s in {took} s: {said:#?}");
}

#[test]
fn an_ordinary_user_is_told_that_limits_do_not_hold() {
    let bench = Bench::of(USER);
    let manifest = pod("memory: 24Mi", "echo ran > /dev/termination-log");
    let said = bench.run(&manifest, &[]);
    assert_eq!((said.code, said.message()), (0, "ran\n"), "{said:#?}");
    assert!(said.err.contains("spec.containers[0].resources.limits.memory"), "{said:#?}");
    let refused = bench.run(&manifest, &["--strict"]);
    assert!(refused.code != 0 && refused.status.is_null(), "{refused:#?}");
}

#[test]
fn an_ordinary_user_with_a_delegated_group_has_limits() {
    let group = PathBuf::from("/sys/fs/cgroup/delegated");
    let leaf = group.join("leaf");
    fs::create_dir_all(&leaf).unwrap();
    for controller in ["+cpu", "+memory"] {
        fs::write(group.join("cgroup.subtree_control"), controller).unwrap();
    }
    for path in [&group, &leaf] {
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            std::os::unix::fs::chown(path.join(file), Some(USER), Some(USER)).unwrap();
        }
    }
    limits_are_in_force(&Bench { group: Some(leaf), ..Bench::of(USER) });
}

macro_rules! example {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../examples/", $name, ".yaml")),
            include_str!(concat!("../../examples/expected/", $name, ".json")),
        )
    };
}

/// For an ordinary user without `security-context`, whose groups only root can give.
#[test]
fn the_examples_end_as_expected() {
    let examples = [
        example!("first"),
        example!("init-containers"),
        example!("environment"),
        example!("commands"),
        example!("projected-volume"),
        example!("restart-policies"),
        example!("security-context"),
    ];
    for user in [0, USER] {
        let bench = Bench::of(user);
        for (name, manifest, expected) in examples {
            if user == USER && name == "security-context" {
                continue;
            }
            let said = bench.run(manifest, &[]);
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(expected["exitCode"], said.code, "{name} of user {user}: {said:#?}");
            assert_eq!(expected["objects"][0]["status"]["phase"], said.status["phase"], "{name}: {said:#?}");
        }
    }
}
