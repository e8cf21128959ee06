//! A pod of hundreds of containers that really run: 200, and 1,000 at full length (`cargo xtask soak pods`).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::Site;

/// How long all may take to run. Then they are told to end all the same.
const LIMIT: Duration = Duration::from_secs(300);

/// Each says when it runs, and waits to be told to end with a code of its own.
fn container(number: usize, talk: &str) -> Value {
    let script = format!(
        "echo says {number}; : > {talk}/{number}; read word < {talk}/end; exit {code}",
        code = if number == 3 { 5 } else { 0 }
    );
    json!({"name": format!("c{number}"), "image": "none", "command": ["sh", "-c", script]})
}

/// Tried with a container that never starts.
#[test]
fn all_containers_of_a_large_pod_run_at_once_and_end_with_their_own_codes() {
    let count = if std::env::var_os("OUTRIGGER_SOAK").is_some() { 1000 } else { 200 };
    let site = Site::of(0);
    let talk = site.open_folder("talk");
    assert!(std::process::Command::new("mkfifo").arg(format!("{talk}/end")).status().unwrap().success());
    let containers: Vec<_> = (0..count).map(|number| container(number, &talk)).collect();
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": containers});
    let begin = Instant::now();
    let (are_all, ended) = std::thread::scope(|scope| {
        let run = scope.spawn(|| site.run(&spec, &["--quiet"]));
        // The pipe is there too.
        let are_all = || fs::read_dir(&talk).unwrap().count() > count;
        while !are_all() && !run.is_finished() && begin.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        let is_well = are_all();
        println!("{count} containers run after {:?}: {is_well}", begin.elapsed());
        // A line for each. Held open until all have ended, since some of them may open it only after it was written.
        let mut end = fs::OpenOptions::new().read(true).write(true).open(format!("{talk}/end")).unwrap();
        end.write_all("\n".repeat(count).as_bytes()).unwrap();
        (is_well, run.join().unwrap())
    });
    assert!(are_all, "not all run at once: {}", ended.err);
    println!("{count} containers have ended after {:?}", begin.elapsed());
    assert_eq!(ended.code, 5, "{}", ended.err);
    let statuses = ended.status["containerStatuses"].as_array().unwrap();
    let codes = statuses.iter().map(|status| (&status["name"], &status["state"]["terminated"]["exitCode"]));
    let failed: Vec<_> = codes.filter(|(_, code)| **code != 0).collect();
    assert_eq!((statuses.len(), failed), (count, vec![(&json!("c3"), &json!(5))]));
    let logs = site.command(&["logs", "tried", "--all-containers"]).output().unwrap();
    let lines = String::from_utf8(logs.stdout).unwrap();
    let said: BTreeSet<&str> = lines.lines().filter_map(|line| line.split("says ").nth(1)).collect();
    assert_eq!(said.len(), count, "each has written its line");
}
