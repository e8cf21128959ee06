//! A lock that stands for a claim, and what must hold when the runner of the pod that has it is killed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_host::Cgroups;
use rustix::fs::{FlockOperation, flock};

/// How long killed processes may take to end, and how often it is asked whether they have.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_micros(100);

/// Starts `runner` (the program `hold-claim`, which has taken `lock` once it says `started`), kills it, and sees that the
/// lock is held until the last process is gone whose command line holds `mark`.
pub fn killed_runner(runner: &mut Command, lock: &Path, mark: &str) -> Result<()> {
    let mut child = runner.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the runner")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its stdout is piped")?).read_line(&mut line)?;
    ensure!(line == "started\n", "the pod does not start: {}", child.wait()?);
    ensure!(!processes_with(mark).is_empty(), "no process has {mark}");
    ensure!(!is_free(lock)?, "the lock is free while the pod runs");
    child.kill()?;
    let until = Instant::now() + LIMIT;
    // In this order: a process that is found after the lock was free has lived without it.
    while !is_free(lock)? {
        ensure!(
            Instant::now() < until,
            "the lock is never free; still there: {:?}, and the file is open in {:?}",
            processes_with(mark),
            processes_at(lock)
        );
        // Without a pause this would keep those from a core that are waited for.
        sleep(PAUSE);
    }
    let left = processes_with(mark);
    child.wait()?;
    // As the executable's next command does.
    Cgroups::find(Path::new("/")).sweep_pod(&format!("outrigger-held-{}", child.id()));
    ensure!(left.is_empty(), "the lock is free, and these live: {left:?}");
    Ok(())
}

fn is_free(lock: &Path) -> Result<bool> {
    Ok(flock(File::open(lock)?, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// The processes that have a file open, as `/proc` tells of each.
fn processes_at(file: &Path) -> Vec<String> {
    let has_it = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|open| open == file)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|process| has_it(process))
        .filter_map(|process| fs::read_to_string(process.join("stat")).ok())
        .collect()
}

/// The command lines of processes that hold this text. One that has ended and was not collected has none.
fn processes_with(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}
