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
        let found = marked(mark)?;
        if found.is_empty() {
            return Ok(killed);
        }
        if Instant::now() > until {
            let text =
                format!("processes with {mark} do not end: {:?}", found.iter().map(|(pid, _)| pid).collect::<Vec<_>>());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        for (_, process) in &found {
            // One that has ended meanwhile is what we want.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let mut waiting: Vec<_> = found.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
        // The first end, or a moment: what was forked meanwhile is found in the next round.
        poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }))?;
        killed.extend(found.iter().map(|(pid, _)| pid.as_raw_nonzero().get().cast_unsigned()));
        killed.sort_unstable();
        killed.dedup();
    }
}

/// The processes that carry the mark, held so that a number used again is never mistaken: the mark is read once the
/// descriptor is open.
fn marked(mark: &str) -> io::Result<Vec<(Pid, OwnedFd)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if !carries(pid, mark) {
            continue;
        }
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) if carries(pid, mark) => found.push((pid, process)),
            // It has ended meanwhile, or its number is another's now.
            Ok(_) | Err(Errno::SRCH) => {}
            // An old kernel: nothing can be ended safely, which must not look like nothing was there.
            Err(error) => return Err(kernel::explained(error)),
        }
    }
    Ok(found)
}

/// Whether the process was started with the mark. A zombie has no environment any more.
fn carries(pid: Pid, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
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
}
