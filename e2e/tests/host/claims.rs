//! A runner that is killed while its pod holds a claim.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::Command;

use outrigger_e2e::{claim, executable};
use serde_json::json;

use crate::site::{Site, USERS};

/// So often: what goes wrong here goes wrong now and then.
const ROUNDS: usize = 5;

/// Processes that ignore SIGTERM, many, some in sessions of their own; tried with an init that ends by the signal of its
/// parent's death: the kernel then closes its descriptors, the lock among them, before it kills the others.
#[test]
fn the_lock_of_a_claim_is_free_only_when_the_last_process_is_gone() {
    for user in USERS {
        for (shared, keepers) in [(false, false), (true, false), (false, true)] {
            for round in 0..ROUNDS {
                let site = Site::of(user);
                let mark = site.path("").display().to_string();
                let script = format!(
                    "trap '' TERM HUP; for i in 1 2 3 4 5 6 7 8; do setsid sh -c ': {mark}; while :; do sleep 1000; done' & done; \
                     echo up; while :; do sleep 1000; done"
                );
                let container = |name: &str| json!({"name": name, "image": "none", "command": ["sh", "-c", script]});
                let pod = json!({
                    "metadata": {"name": "holds"},
                    "spec": {"containers": [container("a"), container("b")], "shareProcessNamespace": shared},
                });
                let (manifest, lock, directory) = (site.path("pod.json"), site.path("lock"), site.open_folder("pod"));
                fs::write(&manifest, pod.to_string()).unwrap();
                File::create(&lock).unwrap();
                let mut runner = Command::new(env!("CARGO_BIN_EXE_hold-claim"));
                if user != 0 {
                    // Where it was built may be closed to others.
                    let there = site.path("hold-claim");
                    executable::put(env!("CARGO_BIN_EXE_hold-claim").as_ref(), &there).unwrap();
                    runner = Command::new(there);
                }
                runner.uid(user).gid(user).arg("host").args([&manifest, &lock]).arg(&directory).current_dir("/");
                if keepers {
                    runner.arg("--keepers");
                }
                let held = claim::killed_runner(&mut runner, &lock, &mark);
                held.unwrap_or_else(|fault| {
                    panic!("user {user}, shared {shared}, keepers {keepers}, {round}: {fault:#}")
                });
            }
        }
    }
}
