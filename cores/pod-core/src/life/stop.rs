//! How a run ends: `preStop`, then its turn, then the signal, all within one grace.
//!
//! After `kuberuntime_container.go`, `killContainer`, and `kuberuntime_termination_order.go`: sidecars wait for the main
//! containers and for the sidecars after them; whoever still waits when the grace is over is told then, and whoever is
//! told gets at least 2 s.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{after, elapsed};
use super::container::{LEAST_GRACE, Stage, State, Stop, StopCause};
use super::{Action, HookKind, HookOutcome, Machine};
use crate::plan::Role;

impl Stop {
    /// When the next step is due whatever happens.
    pub fn wake(self) -> Option<Timestamp> {
        (!matches!(self.stage, Stage::Told(_))).then_some(self.deadline)
    }
}

impl Machine {
    /// Begins to end a run. A grace of zero runs no `preStop`.
    pub(super) fn begin_stop(
        &mut self,
        i: usize,
        cause: StopCause,
        grace: Duration,
        message: &str,
        actions: &mut Vec<Action>,
    ) {
        let deadline = after(self.now, grace);
        let hook = self.container_plan(i).pre_stop.is_some() && !grace.is_zero();
        self.containers[i].show();
        let Some(run) = self.containers[i].run_mut() else { return };
        run.stop = Some(Stop { cause, deadline, stage: if hook { Stage::PreStop } else { Stage::Turn } });
        self.note(Some(i), false, "Killing", message.to_owned(), actions);
        if hook {
            let instance = self.instance(i);
            actions.push(Action::Hook { instance, hook: HookKind::PreStop, limit: Some(grace) });
        }
    }

    /// A hook has ended.
    pub(super) fn hook_done(&mut self, i: usize, hook: HookKind, outcome: HookOutcome, actions: &mut Vec<Action>) {
        let Some(run) = self.containers[i].run_mut() else { return };
        match (hook, &mut run.stop) {
            (HookKind::PreStop, Some(stop)) if stop.stage == Stage::PreStop => {
                stop.stage = Stage::Turn;
                if let HookOutcome::Failed(_) = outcome {
                    self.note(Some(i), true, "FailedPreStopHook", "PreStopHook failed".to_owned(), actions);
                }
            }
            (HookKind::PostStart, None) if run.hook => match outcome {
                HookOutcome::Done => self.run_shown(i),
                HookOutcome::Failed(message) => self.post_start_failed(i, message, actions),
                HookOutcome::TimedOut => self.post_start_failed(i, "the hook took too long".to_owned(), actions),
            },
            _ => (),
        }
    }

    /// `kuberuntime_container.go`, `startContainer`, step 4: the container is killed, its event tells no details.
    fn post_start_failed(&mut self, i: usize, message: String, actions: &mut Vec<Action>) {
        self.note(Some(i), true, "FailedPostStartHook", "PostStartHook failed".to_owned(), actions);
        self.containers[i].say("PostStartHookError", message);
        self.begin_stop(i, StopCause::Hook, self.plan.grace, "FailedPostStartHook", actions);
    }

    /// Takes every run that ends to its next step.
    pub(super) fn stop_containers(&mut self, actions: &mut Vec<Action>) {
        self.stop_for_ending(actions);
        for i in 0..self.containers.len() {
            let Some(Stop { deadline, stage, .. }) = self.containers[i].run().and_then(|run| run.stop) else {
                continue;
            };
            let late = deadline <= self.now;
            let goes = match stage {
                Stage::PreStop => late,
                Stage::Turn => late || self.is_its_turn(i),
                Stage::Told(_) => false,
            };
            if goes {
                self.tell(i, actions);
            }
        }
    }

    /// Lets every run that is told be killed sooner, where the new end of the grace is before the old.
    pub(super) fn shorten(&mut self, deadline: Timestamp, actions: &mut Vec<Action>) {
        let kill = self.least(deadline);
        for i in 0..self.containers.len() {
            let Some(stop) = self.containers[i].run_mut().and_then(|run| run.stop.as_mut()) else { continue };
            stop.deadline = stop.deadline.min(deadline);
            if matches!(stop.stage, Stage::Told(at) if kill < at) {
                self.tell(i, actions);
            }
        }
    }

    /// When a run that is told now and whose grace ends at `deadline` is killed.
    fn least(&self, deadline: Timestamp) -> Timestamp {
        if self.at_once { self.now } else { deadline.max(after(self.now, LEAST_GRACE)) }
    }

    fn stop_for_ending(&mut self, actions: &mut Vec<Action>) {
        let Some(deadline) = self.ending.as_ref().map(|ending| ending.deadline) else { return };
        for i in 0..self.containers.len() {
            if matches!(self.containers[i].state, State::Pulling) {
                self.containers[i].state = State::Idle(self.now);
            }
            if self.containers[i].run().is_some_and(|run| run.stop.is_none()) {
                let message = format!("Stopping container {}", self.container_plan(i).name);
                self.begin_stop(i, StopCause::Pod, elapsed(self.now, deadline), &message, actions);
            }
        }
    }

    fn is_its_turn(&self, i: usize) -> bool {
        if self.ending.is_none() || self.container_plan(i).role != Role::Sidecar {
            return true;
        }
        let before = |other: usize| match self.container_plan(other).role {
            Role::Main => true,
            Role::Sidecar => other > i,
            Role::Init => false,
        };
        !(0..self.containers.len()).any(|other| before(other) && self.containers[other].may_run())
    }

    fn tell(&mut self, i: usize, actions: &mut Vec<Action>) {
        let Some(stop) = self.containers[i].run().and_then(|run| run.stop) else { return };
        let kill = self.least(stop.deadline);
        if let Some(stop) = self.containers[i].run_mut().and_then(|run| run.stop.as_mut()) {
            stop.stage = Stage::Told(kill);
        }
        actions.push(Action::Stop {
            instance: self.instance(i),
            signal: self.container_plan(i).stop_signal.clone(),
            grace: elapsed(self.now, kill),
        });
    }
}
