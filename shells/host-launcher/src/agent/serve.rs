//! The loop of a running agent: collects the dead, passes signals on, answers the runner.
//!
//! ```text
//!   waiting ── main process ended ──▶ report it ──▶ kill what is left ──▶ end
//!      └────── channel closed (runner dead) ───────────▲
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::descendants::{Reach, await_others};
use super::process;
use super::sys;
use super::wire::{Channel, Ended, Failure, ProcessTask, Report, Request};

/// How long the init of a shared namespace leaves the keepers in it to end by themselves, once the runner is gone.
const KEEPERS: Duration = Duration::from_secs(5);

/// A running agent.
pub struct Agent {
    /// To the runner.
    pub channel: Channel,
    /// Where signals arrive.
    pub signals: OwnedFd,
    /// What it must leave empty.
    pub reach: Reach,
    /// The container's main process; `None` for the init of a shared namespace.
    pub main: Option<Pid>,
    /// The environment below that of each command.
    pub base: Vec<(String, String)>,
    /// Commands beside it.
    pub commands: Vec<Command>,
    /// When the main process is killed.
    pub deadline: Option<Instant>,
}

/// A command that runs beside the main process.
pub struct Command {
    id: u64,
    pid: Pid,
}

impl Agent {
    /// Serves until the main process has ended or the runner is gone, and nothing is left.
    pub fn serve(mut self) {
        while self.turn().unwrap_or(false) {}
        let Self { channel, commands, reach, main, .. } = self;
        if main.is_none() && reach == Reach::Namespace {
            // They hold locks of claims until what they keep is gone; who kills all at once frees them too early.
            await_others(KEEPERS);
        }
        reach.empty(|pid, status| {
            if let Some(command) = commands.iter().find(|command| command.pid == pid) {
                tell(&channel, &Report::ExecEnded { id: command.id, ended: ended(status) });
            }
        });
    }

    /// Waits for one thing and does it; `false` when it is time to end.
    fn turn(&mut self) -> io::Result<bool> {
        let timeout = self.deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let (heard, signaled) = {
            let mut ready = [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut ready, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            (!ready[0].revents().is_empty(), !ready[1].revents().is_empty())
        };
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            self.deadline = None;
            self.signal(libc::SIGKILL);
        }
        if signaled && !self.collect() {
            return Ok(false);
        }
        if !heard {
            return Ok(true);
        }
        self.channel.fill_now()?;
        while let Some((request, descriptors)) = self.channel.take()? {
            self.answer(request, &descriptors);
        }
        Ok(!self.channel.is_ended())
    }

    /// Takes the signals that wait; `false` once the main process has ended.
    fn collect(&mut self) -> bool {
        while let Some(signal) = sys::next_signal(&self.signals) {
            if signal != libc::SIGCHLD {
                self.signal(signal);
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.main == Some(pid) {
                tell(&self.channel, &Report::Exited(ended(status)));
                return false;
            }
            if let Some(place) = self.commands.iter().position(|command| command.pid == pid) {
                let command = self.commands.swap_remove(place);
                tell(&self.channel, &Report::ExecEnded { id: command.id, ended: ended(status) });
            }
        }
        true
    }

    fn answer(&mut self, request: Request, descriptors: &[OwnedFd]) {
        match request {
            Request::Exec { id, mut process } => {
                process.env = over(&self.base, std::mem::take(&mut process.env));
                match start(&process, descriptors) {
                    Ok(pid) => {
                        self.commands.push(Command { id, pid });
                        tell(&self.channel, &Report::ExecStarted { id });
                    }
                    Err(failure) => tell(&self.channel, &Report::ExecFailed { id, failure }),
                }
            }
            Request::KillExec { id } => {
                if let Some(command) = self.commands.iter().find(|command| command.id == id) {
                    // The command leads its session's first process group.
                    let _ = rustix::process::kill_process_group(command.pid, rustix::process::Signal::KILL);
                }
            }
            Request::Signal { signal } => self.signal(signal),
            Request::Stop { signal, grace } => {
                self.signal(signal);
                let at = Instant::now() + Duration::from_millis(grace);
                self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at)));
            }
        }
        sys::shrink();
    }

    fn signal(&self, signal: i32) {
        if let Some(main) = self.main {
            // It was not collected yet, so the number is still its own; one that has just ended needs no signal.
            let _ = sys::kill(main, signal);
        }
    }
}

/// An environment over another: its own values win.
pub fn over(base: &[(String, String)], env: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_set = |name: &str| env.iter().any(|(set, _)| set == name);
    let below: Vec<_> = base.iter().filter(|(name, _)| !is_set(name)).cloned().collect();
    below.into_iter().chain(env).collect()
}

/// Starts a process with the descriptors that came with its task.
pub fn start(task: &ProcessTask, descriptors: &[OwnedFd]) -> Result<Pid, Failure> {
    let stdio: Option<Vec<BorrowedFd<'_>>> =
        task.stdio.iter().map(|slot| descriptors.get(*slot).map(AsFd::as_fd)).collect();
    match stdio.as_deref() {
        Some([stdin, stdout, stderr]) => process::start(task, [*stdin, *stdout, *stderr]),
        _ => {
            Err(Failure::prepare("stdin, stdout or stderr did not come with the task", io::Error::from_raw_os_error(0)))
        }
    }
}

/// Tells the runner; one that is gone is noticed by the loop.
fn tell(channel: &Channel, report: &Report) {
    let _ = channel.send(report, &[]);
}

fn ended(status: WaitStatus) -> Ended {
    let signal = status.terminating_signal();
    Ended { code: status.exit_status().unwrap_or_else(|| 128 + signal.unwrap_or(0)), signal }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: i64::from(duration.subsec_nanos()) }
}
