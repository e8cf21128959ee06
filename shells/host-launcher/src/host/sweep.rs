//! Finds and ends what a dead runner left behind.
//!
//! With a process namespace nothing can be left. A keeper that was itself killed leaves processes, which carry the pod's
//! uid in their environment.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_host::{Cgroups, kernel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::limits::pod_group;

/// The variable that marks the processes of a pod where no process namespace holds them.
pub const MARK: &str = "OUTRIGGER_POD_UID";

/// The variable that marks the processes of one run of a container there, by its id.
pub const CONTAINER_MARK: &str = "OUTRIGGER_CONTAINER_ID";

/// How long killed processes may take to end.
const LIMIT: Duration = Duration::from_secs(10);

/// Ends the processes of the pod `uid` whose runner is dead (the caller has seen to that), and removes its cgroups.
/// Answers the process ids it killed. Processes of other users are out of reach.
pub fn sweep(uid: &str) -> io::Result<Vec<u32>> {
    let killed = end_marked(&format!("{MARK}={uid}"))?;
    Cgroups::find(Path::new("/")).sweep_pod(&pod_group(uid));
    Ok(killed)
}

/// Ends the processes of one container whose keeper was killed. Answers the process ids it killed.
pub fn sweep_container(id: &str) -> io::Result<Vec<u32>> {
    end_marked(&format!("{CONTAINER_MARK}={id}"))
}

fn end_marked(mark: &str) -> io::Result<Vec<u32>> {
    let until = Instant::now() + LIMIT;
    let mut killed = Vec::new();
    loop {
        let Marked { found, starting } = marked(mark)?;
        if found.is_empty() && starting.is_empty() {
            return Ok(killed);
        }
        if Instant::now() > until {
            let pids: Vec<_> = found.iter().map(|(pid, _)| pid).collect();
            let text = format!("processes with {mark} do not end: {pids:?}; in the middle of execve: {starting:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        for (_, process) in &found {
            // One that has ended meanwhile is what we want.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let mut waiting: Vec<_> = found.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
        // The first end, or a moment: what was forked meanwhile is found in the next round, and what was starting then
        // shows its environment.
        let moment = if starting.is_empty() { 100_000_000 } else { 1_000_000 };
        poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: moment }))?;
        killed.extend(found.iter().map(|(pid, _)| pid.as_raw_nonzero().get().cast_unsigned()));
        killed.sort_unstable();
        killed.dedup();
    }
}

/// What a walk over all processes found.
#[derive(Default)]
struct Marked {
    /// Those that carry the mark, held so that a number used again is never mistaken: the mark is read once the
    /// descriptor is open.
    found: Vec<(Pid, OwnedFd)>,
    /// Those that are being executed this moment and do not show their environment yet.
    starting: Vec<Pid>,
}

fn marked(mark: &str) -> io::Result<Marked> {
    let mut marked = Marked::default();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        match carries(pid, mark) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                marked.starting.push(pid);
                continue;
            }
        }
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) if carries(pid, mark) == Some(true) => marked.found.push((pid, process)),
            // It has ended meanwhile, or its number is another's now.
            Ok(_) | Err(Errno::SRCH) => {}
            // An old kernel: nothing can be ended safely, which must not look like nothing was there.
            Err(error) => return Err(kernel::explained(error)),
        }
    }
    Ok(marked)
}

/// Whether the process was started with the mark; nothing while it is being executed. A zombie has no environment any more.
fn carries(pid: Pid, mark: &str) -> Option<bool> {
    let environment = || fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    let mut seen = environment();
    if seen.is_empty() {
        if is_being_executed(pid) {
            return None;
        }
        // It may have become readable in between.
        seen = environment();
    }
    Some(seen.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()))
}

/// Whether the process has its new memory but not yet its environment there (`exec_mmap` before `create_elf_tables` in the
/// kernel's `fs/exec.c` and `fs/binfmt_elf.c`): `env_end` is still 0, and unlike a zombie or a thread of the kernel it has an
/// executable. Who started it by `vfork` goes on at this moment already.
fn is_being_executed(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero();
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // Field 51 of proc(5); the first two, the number and the name in parentheses, end with the last parenthesis.
    let env_end = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(51 - 3));
    env_end == Some("0") && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_processes_of_the_pod_are_ended() {
        let start = |uid: &str| Command::new("sleep").arg("1000").env(MARK, uid).spawn().unwrap();
        let uid = format!("sweep-{}", std::process::id());
        let (mut ours, mut other) = (start(&uid), start(&format!("{uid}-other")));
        let collector = std::thread::spawn(move || ours.wait().unwrap().signal());
        assert_eq!(sweep(&uid).unwrap().len(), 1);
        assert_eq!(collector.join().unwrap(), Some(libc::SIGKILL));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// `spawn` returns when the child has left its parent's memory, before its environment can be read.
    #[test]
    fn a_process_that_is_being_executed_is_found_too() {
        for round in 0..60 {
            let uid = format!("sweep-starting-{}-{round}", std::process::id());
            let mut ours = Command::new("sleep").arg("1000").env(MARK, &uid).spawn().unwrap();
            let killed = sweep(&uid).unwrap();
            let found = killed == [ours.id()];
            ours.kill().unwrap();
            assert_eq!(ours.wait().unwrap().signal(), Some(libc::SIGKILL));
            assert!(found, "round {round}: {killed:?}");
        }
    }
}
