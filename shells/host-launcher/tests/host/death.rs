//! Nothing outlives its runner, however it dies.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_host_launcher::sweep;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::agent;

/// A runner with an executable of its own, so that every process of ours is known by it, and the script's by its text.
struct Runner {
    directory: tempfile::TempDir,
    uid: String,
    child: Child,
}

impl Runner {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("runner");
        fs::copy(agent(), &executable).unwrap();
        let uid = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        // Three generations, one in a session of its own, and deaf to signals.
        let script = format!(
            "trap '' HUP TERM; echo {uid}; setsid sh -c ': {uid}; while :; do sleep 1000; done' & \
             while :; do sleep 1000; done"
        );
        let mut command = Command::new(executable);
        command.args([uid.as_str(), directory.path().to_str().unwrap(), mode, script.as_str()]).stdout(Stdio::piped());
        // While another test forks, its child has the copy open for writing until it executes something.
        let child = loop {
            match command.spawn() {
                Err(busy) if busy.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => break child.unwrap(),
            }
        };
        Self { directory, uid, child }
    }

    /// Waits until the container runs.
    fn started(&mut self) {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until no process of this runner is left.
    fn nothing_is_left(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let left = processes(self.directory.path(), &self.uid);
            // Who is about to execute something has no command line, and may be the last in the pod's namespace.
            let seeing = who_sees_a_mount(&self.uid);
            if left.is_empty() && seeing.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "left: {left:?}; a mount is seen by {seeing:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        sweep(&self.uid).unwrap();
        assert!(groups(Path::new("/sys/fs/cgroup"), &self.uid).is_empty());
    }
}

/// The cgroups of this pod.
fn groups(directory: &Path, uid: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let directories = entries.filter(|path| path.is_dir());
    directories
        .flat_map(|path| if path.ends_with(format!("outrigger-{uid}")) { vec![path] } else { groups(&path, uid) })
        .collect()
}

/// The processes whose executable lies in `directory`, or whose command line holds `mark`. Zombies are neither.
fn processes(directory: &Path, mark: &str) -> Vec<(PathBuf, String)> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter_map(|process| {
        let line = String::from_utf8_lossy(&fs::read(process.join("cmdline")).ok()?).into_owned();
        let ours = fs::read_link(process.join("exe")).is_ok_and(|executable| executable.starts_with(directory));
        (ours || line.contains(mark)).then_some((process, line))
    })
    .collect()
}

/// The processes that see a mount of this name. A pod's are in a namespace of its own, which whoever is in it keeps.
fn who_sees_a_mount(name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let sees = |process: &PathBuf| {
        let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
        String::from_utf8_lossy(&mounts).contains(name)
    };
    all.filter(sees).collect()
}

fn agents(runner: &Runner) -> Vec<i32> {
    let all = processes(runner.directory.path(), "outrigger-init").into_iter();
    let ours = all.filter(|(process, line)| {
        line.starts_with("outrigger-init")
            && fs::read_link(process.join("exe"))
                .is_ok_and(|executable| executable.starts_with(runner.directory.path()))
    });
    ours.map(|(process, _)| process.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_killed_runner_takes_its_containers_with_it() {
    for mode in ["namespaces", "keeper"] {
        let mut runner = Runner::start(mode);
        runner.started();
        // The container's own children come a moment after its start.
        let until = Instant::now() + Duration::from_secs(120);
        while processes(runner.directory.path(), &runner.uid).len() < 4 {
            assert!(Instant::now() < until, "the pod never had its four processes");
            std::thread::sleep(Duration::from_millis(2));
        }
        runner.kill();
        runner.nothing_is_left();
    }
}

#[test]
fn a_runner_killed_at_any_moment_of_a_start_leaves_nothing() {
    for mode in ["namespaces", "keeper"] {
        for moment in 0..25 {
            let mut runner = Runner::start(mode);
            // Not a wait for something: the moment itself is what is tried.
            std::thread::sleep(Duration::from_micros(1200 * moment));
            runner.kill();
            runner.nothing_is_left();
        }
    }
}

#[test]
fn a_killed_init_takes_its_container_with_it() {
    let mut runner = Runner::start("namespaces");
    runner.started();
    for agent in agents(&runner) {
        // One of them may end with the one before it.
        let _ = kill_process(Pid::from_raw(agent).unwrap(), Signal::KILL);
    }
    // The runner itself sees the end and ends too.
    runner.child.wait().unwrap();
    runner.nothing_is_left();
}

#[test]
fn what_a_killed_keeper_leaves_is_found_by_its_mark() {
    let mut runner = Runner::start("keeper");
    runner.started();
    let signal = |process, signal| kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
    // It would itself end what its keeper leaves. Each of its threads comes to its stop by itself.
    signal(i32::try_from(runner.child.id()).unwrap(), Signal::STOP);
    let threads = || fs::read_dir(format!("/proc/{}/task", runner.child.id())).unwrap().flatten();
    let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(120);
    while !threads().map(state).all(|stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))) {
        assert!(Instant::now() < until, "the runner does not stop");
        std::thread::sleep(Duration::from_millis(2));
    }
    for agent in agents(&runner) {
        signal(agent, Signal::KILL);
    }
    runner.kill();
    assert!(!processes(runner.directory.path(), &runner.uid).is_empty());
    assert!(!sweep(&runner.uid).unwrap().is_empty());
    runner.nothing_is_left();
    assert!(sweep(&runner.uid).unwrap().is_empty());
}
