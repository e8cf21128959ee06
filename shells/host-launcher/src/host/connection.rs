//! One agent as the driver's thread sees it: what has been said, who waits for an answer, and how it ended.
//!
//! Where a second agent is inside the container, that one is spoken to; the one outside only tells that it lives and ends.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;

use outrigger_host::Cgroup;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use tokio::sync::{oneshot, watch};

use super::driver::{Answer, CommandAnswer, End, Inside, Launch, lost};
use crate::agent::wire::{Channel, Ended, InsideTask, Report, Task};

/// One agent.
pub struct Connection {
    /// To the agent that keeps the container's process.
    pub channel: Option<Channel>,
    /// To the agent outside, where the first one is inside.
    pub keeper: Option<Channel>,
    /// What the agent inside is told when it is there.
    inside: Option<(InsideTask, Vec<Arc<OwnedFd>>)>,
    stage: Option<Child>,
    group: Option<Cgroup>,
    /// The init or keeper, with a descriptor that tells its end.
    pub init: Option<(Pid, OwnedFd)>,
    answer: Option<Answer>,
    said: Option<(Report, Vec<OwnedFd>)>,
    exited: Option<Ended>,
    /// Where its end is told.
    pub ended: watch::Sender<Option<End>>,
    /// Commands that are about to start.
    pub starting: HashMap<u64, CommandAnswer>,
    running: HashMap<u64, oneshot::Sender<Ended>>,
}

impl Connection {
    /// What went with the launch to the first agent is let go of: only it may keep the ends of pipes open.
    pub fn new(child: Child, channel: Channel, launch: Launch, answer: Answer) -> Self {
        let Launch { group, inside, .. } = launch;
        let (channel, keeper, inside) = match inside {
            Some(Inside { channel: inner, task, descriptors }) => (inner, Some(channel), Some((task, descriptors))),
            None => (channel, None, None),
        };
        Self {
            channel: Some(channel),
            keeper,
            inside,
            stage: Some(child),
            group,
            init: None,
            answer: Some(answer),
            said: None,
            exited: None,
            ended: watch::Sender::new(None),
            starting: HashMap::new(),
            running: HashMap::new(),
        }
    }

    /// Ends the agents, which ends the container.
    pub fn close(&mut self) {
        (self.channel, self.keeper, self.inside) = (None, None, None);
    }

    /// Reads what has arrived.
    pub fn read(&mut self) {
        self.channel = self.channel.take().and_then(|channel| self.read_from(channel, Self::note));
        self.keeper = self.keeper.take().and_then(|channel| self.read_from(channel, Self::note_keeper));
    }

    /// Answers the channel where it is still open.
    fn read_from(&mut self, mut channel: Channel, note: fn(&mut Self, Report, Vec<OwnedFd>)) -> Option<Channel> {
        loop {
            let mut broken = channel.fill_now().is_err();
            let mut any = false;
            while let Ok(Some((report, descriptors))) = channel.take() {
                any = true;
                match report {
                    Report::Waiting => broken |= self.give_task(&channel).is_err(),
                    report => note(self, report, descriptors),
                }
            }
            if broken || channel.is_ended() {
                return None;
            }
            if !any {
                return Some(channel);
            }
        }
    }

    fn give_task(&mut self, channel: &Channel) -> io::Result<()> {
        let Some((task, descriptors)) = self.inside.take() else { return Ok(()) };
        let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        channel.send(&Task::Inside(Box::new(task)), &borrowed)
    }

    /// What the agent outside says of itself; the process that it keeps is not the container's.
    fn note_keeper(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        match report {
            Report::Forked { .. } | Report::Failed(_) => self.note(report, descriptors),
            _ => {}
        }
    }

    fn note(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        match report {
            Report::Forked { pid } => {
                let pidfd = Pid::from_raw(pid).map(|pid| (pid, pidfd_open(pid, PidfdFlags::empty())));
                if let Some((pid, Ok(pidfd))) = pidfd {
                    self.init = Some((pid, pidfd));
                }
                self.collect_stage();
            }
            Report::Exited(ended) => self.exited = Some(ended),
            Report::ExecStarted { id } => {
                if let Some(answer) = self.starting.remove(&id) {
                    let (ended, heard) = oneshot::channel();
                    self.running.insert(id, ended);
                    // Who asked may have gone; the command goes on until its session is dropped.
                    let _ = answer.send(Ok(heard));
                }
            }
            Report::ExecFailed { id, failure } => {
                if let Some(answer) = self.starting.remove(&id) {
                    let _ = answer.send(Err(failure));
                }
            }
            Report::ExecEnded { id, ended } => {
                // What is killed after the main process has ended is killed for that: nobody hears of it but by the end.
                let cut = self.exited.is_some() && ended.signal == Some(libc::SIGKILL);
                if let Some(heard) = self.running.remove(&id).filter(|_| !cut) {
                    let _ = heard.send(ended);
                }
            }
            first => self.said = Some((first, descriptors)),
        }
    }

    /// What the caller of `launch` gets now, if it can be told: an agent that stays must be known by then.
    pub fn take_answer(&mut self) -> Option<((Report, Vec<OwnedFd>), Answer)> {
        let stays = matches!(self.said, Some((Report::Started | Report::Holding, _)));
        let answers = matches!(self.said, Some((Report::Probed(_) | Report::PodReady, _)));
        if (stays && self.init.is_some()) || answers {
            return self.said.take().zip(self.answer.take());
        }
        None
    }

    /// Whether the agent has ended.
    pub fn is_over(&self) -> bool {
        match &self.init {
            Some((_, pidfd)) => {
                let mut ready = [PollFd::new(pidfd, PollFlags::IN)];
                matches!(poll(&mut ready, Some(&rustix::event::Timespec::default())), Ok(1))
            }
            None => self.channel.is_none(),
        }
    }

    fn collect_stage(&mut self) {
        if let Some(mut stage) = self.stage.take() {
            // It ends right after its last word.
            let _ = stage.wait();
        }
    }

    /// Collects the ended agent and tells everyone who waits.
    pub fn finish(mut self) {
        self.read();
        self.collect_stage();
        let status = self.init.take().and_then(|(pid, _)| waitpid(Some(pid), WaitOptions::empty()).ok().flatten());
        let killed = status.and_then(|(_, status)| status.terminating_signal()).unwrap_or(libc::SIGKILL);
        let mut end = End::killed(killed);
        if let Some(how) = self.exited {
            end.how = how;
        }
        if let Some(group) = self.group {
            end.out_of_memory = group.ran_out_of_memory();
            group.remove();
        }
        if let Some(answer) = self.answer.take() {
            answer(Err(match self.said.take() {
                Some((Report::Failed(failure), _)) => failure,
                _ => lost("the container's init ended before it could start anything"),
            }));
        }
        // Who asked and who waits may have gone.
        self.ended.send_replace(Some(end));
    }
}
