//! One user's pods, run by an executable of their own, so that every process and mount of theirs can be told from all others.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Said;

/// The uid and gid of the ordinary user.
const NOBODY: u32 = 65534;

/// How long anything that is waited for may take. It ends only what would never come: a machine may be a hundred times slower
/// than another.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Whose pods they are, and what the machine allows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who runs the tests; root, usually.
    Caller,
    /// Another user without rights. The caller, where that is no root.
    Ordinary,
    /// The caller where no process namespace may be made, so that keepers hold containers together.
    WithKeepers,
    /// The caller where neither process nor mount namespaces may be made, so that volumes are files on the disk.
    WithoutNamespaces,
}

/// A place with an executable, a state directory and manifests.
pub struct Site {
    place: tempfile::TempDir,
    user: User,
}

impl Site {
    pub fn new(user: User) -> Self {
        let place = tempfile::Builder::new().prefix("outrigger-site-").tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let executable = place.path().join("outrigger");
        let built = env!("CARGO_BIN_EXE_outrigger");
        if fs::hard_link(built, &executable).is_err() {
            copy_executable(built, &executable);
        }
        let site = Self { place, user };
        fs::create_dir(site.state()).unwrap();
        if site.is_other_user() {
            chown(site.state(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        site
    }

    fn is_other_user(&self) -> bool {
        self.user == User::Ordinary && rustix::process::geteuid().is_root()
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The text by which everything of this place is known.
    pub fn mark(&self) -> &str {
        self.path().file_name().unwrap().to_str().unwrap()
    }

    /// A command of the executable.
    pub fn command(&self, args: &[&str]) -> Command {
        let executable = self.path().join("outrigger");
        let mut command = match self.user {
            User::WithKeepers => limited(&["pid"], &executable),
            User::WithoutNamespaces => limited(&["pid", "mnt"], &executable),
            User::Caller | User::Ordinary => Command::new(executable),
        };
        if self.is_other_user() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .args(args)
            .current_dir("/")
            .env("OUTRIGGER_RUN_STATE_DIRECTORY", self.state())
            .env("OUTRIGGER_RUN_LAUNCHER", "host")
            .env_remove("HOME")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Starts a command, and leaves what it says unheard.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Writes a file beside the state, for a command to read.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A manifest of one pod in the default namespace.
    pub fn pod(&self, name: &str, spec: &Value) -> String {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.file(&format!("{name}.json"), &pod.to_string())
    }

    /// Where a run of a pod stands.
    pub fn directory(&self, pod: &str, run: u32) -> PathBuf {
        self.state().join("pods/default").join(pod).join(run.to_string())
    }

    /// What is written down about a run of a pod.
    pub fn status(&self, pod: &str, run: u32) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.directory(pod, run).join("status.json")).ok()?).ok()
    }

    /// What is written down about a run of a Job.
    pub fn job_status(&self, job: &str, run: u32) -> Option<Value> {
        let file = self.state().join("jobs/default").join(job).join(run.to_string()).join("status.json");
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    /// The process that runs the pod.
    pub fn runner(&self, pod: &str, run: u32) -> Option<i32> {
        i32::try_from(self.status(pod, run)?["runner"]["pid"].as_i64()?).ok()
    }

    /// Waits until a container has written this to its log.
    pub fn wait_for_log(&self, pod: &str, run: u32, container: &str, text: &str) {
        let log = self.directory(pod, run).join("logs").join(container).join("0.log");
        wait_until(&format!("{text} in {}", log.display()), || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(text))
        });
    }

    /// Everything that runs and belongs here: process id and command line. Zombies are gone.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter(|pid| self.is_ours(*pid)).map(|pid| (pid, command_line(pid))).collect()
    }

    /// By its executable, its arguments, its environment, or a mount that it sees.
    fn is_ours(&self, pid: i32) -> bool {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        executable.starts_with(self.path())
            || ["cmdline", "environ", "mountinfo"].iter().any(|name| contains(&file(name), self.mark().as_bytes()))
    }

    /// Waits until no process of this place is left and no mount of it is in any namespace.
    pub fn nothing_runs(&self) {
        let until = Instant::now() + LIMIT;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "still there: {left:?}");
            pause();
        }
    }

    /// The files of a run that only a running pod has: secrets, volumes, the launcher's.
    pub fn remains(&self, pod: &str, run: u32) -> Vec<PathBuf> {
        let all = ["secrets", "volumes", "launcher"].map(|name| self.directory(pod, run).join(name));
        all.into_iter().filter(|path| path.exists()).collect()
    }

    /// The uids of all pods that were run here and are still written down.
    fn uids(&self) -> Vec<String> {
        let inside = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let runs = inside(self.state().join("pods")).flat_map(inside).flat_map(inside);
        let specs = runs.filter_map(|run| serde_json::from_slice::<Value>(&fs::read(run.join("spec.json")).ok()?).ok());
        specs.filter_map(|spec| Some(spec["pod"]["metadata"]["uid"].as_str()?.to_owned())).collect()
    }

    /// The cgroups of a pod.
    pub fn groups(uid: &str) -> Vec<PathBuf> {
        let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
        while let Some(directory) = waiting.pop() {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if entry.file_name() == *format!("outrigger-{uid}") {
                    found.push(entry.path());
                } else {
                    waiting.push(entry.path());
                }
            }
        }
        found
    }
}

impl Drop for Site {
    /// A test leaves nothing behind, however it ended: a killed runner's cgroups go with the next command, which here comes.
    fn drop(&mut self) {
        // Of a runner that has not ended yet, the next command would clear up nothing.
        for (pid, _) in self.processes() {
            kill_and_wait(pid);
        }
        let looked = self.run(&["ps"]);
        if !std::thread::panicking() {
            let left: Vec<_> = self.uids().iter().flat_map(|uid| Self::groups(uid)).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "cgroups of pods that have ended; {looked:#?}");
        }
    }
}

/// A command in a user namespace of its own where no further namespaces of these kinds may be made.
fn limited(kinds: &[&str], executable: &Path) -> Command {
    let limits: String = kinds.iter().map(|kind| format!("echo 0 > /proc/sys/user/max_{kind}_namespaces; ")).collect();
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "sh", "-ec", &format!("{limits} exec \"$0\" \"$@\"")]).arg(executable);
    shell
}

/// Copies an executable. Another process does it: what this one has open for writing, a child that another test starts has
/// too until it executes something, and what is written to cannot be executed.
pub fn copy_executable(built: &str, to: &Path) {
    assert!(Command::new("cp").args([built.as_ref(), to]).status().unwrap().success());
}

/// Waits for a condition, looking often.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        pause();
    }
}

/// Between two looks at something that cannot tell.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Sends a signal; a process that is gone needs none.
pub fn kill(pid: i32, signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal);
}

/// Kills a process, and waits until it has let go of everything, its locks too. One that is gone needs no signal.
pub fn kill_and_wait(pid: i32) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Ok(process) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let _ = pidfd_send_signal(&process, Signal::KILL);
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
}

/// Stops a process, and waits until none of its threads goes on: each comes to its stop by itself.
pub fn stop_and_wait(pid: i32) {
    kill(pid, rustix::process::Signal::STOP);
    let is_stopped = |thread: PathBuf| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    wait_until("a process to be stopped", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path()).all(is_stopped)
    });
}

fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// Whether `text` holds `word`.
pub fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
