//! The machine as a JSON value and back: it can be built again at any moment from what was recorded and what exists.
//!
//! The shell writes the record after each step and before it carries the actions out, so the record is never behind the
//! world. [`Machine::restore`] gives out again every action whose answer is still to come; each is safe to repeat. A
//! running `postStart` is not repeated: a kubelet that restarts does not either. What [`Action::Prepare`] made must
//! stand again before (claims, namespaces), unless it was still to be answered: then it is asked for again.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;

use super::backoff::elapsed;
use super::container::{Ended, Stage, State};
use super::ending::Cause;
use super::machine::{Options, Prepare};
use super::phase::STATUS_UNKNOWN;
use super::{Action, Found, HookKind, Machine};
use crate::plan::PodPlan;

mod read;
mod write;

/// The version of the record that this build writes; it reads this one.
pub(super) const FORMAT: u64 = 1;

/// What becomes of runs that should exist and that the launcher does not know any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// They have ended with `ContainerStatusUnknown` (exit code 137); policy decides whether they run again. A start
    /// that was not answered is repeated.
    Ended,
    /// The same, and the pod is over: nothing runs again. For a launcher whose containers never outlive their runner.
    PodOver,
}

/// What a restarted runner meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World<'a> {
    /// Every container of the pod that the launcher knows, ended or not.
    pub found: &'a [Found],
    /// What becomes of the others.
    pub lost: Lost,
}

/// Why a machine cannot be built again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Written by a build with another format.
    #[error("cannot read a record of format {found}; this build reads {FORMAT}")]
    Format {
        /// The format it has, as JSON text.
        found: String,
    },
    /// The record is of another pod or another manifest.
    #[error("the record does not fit the pod: {what}")]
    OtherPod {
        /// What differs.
        what: String,
    },
    /// A member is missing or not of its type.
    #[error("the record is damaged at {path}")]
    Damaged {
        /// Where, for example `containers[2].state`.
        path: String,
    },
}

impl Machine {
    /// Everything that [`Machine::restore`] needs besides plan and world.
    pub fn record(&self) -> Value {
        write::machine(self)
    }

    /// Builds the machine again from its record and from what the launcher finds, and goes on.
    pub fn restore(
        plan: Arc<PodPlan>,
        options: Options,
        record: &Value,
        world: World<'_>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        let mut machine = read::machine(plan, options, record, now)?;
        let mut actions = Vec::new();
        if machine.last.is_some() {
            if !machine.removed {
                actions.push(Action::Remove);
            }
            return Ok((machine, actions));
        }
        if machine.prepare == Prepare::Asked && machine.ending.is_none() {
            actions.push(Action::Prepare);
        }
        let World { found, lost } = world;
        if lost == Lost::PodOver {
            machine.deleted = true;
        }
        for i in 0..machine.containers.len() {
            machine.meet(i, found, lost, &mut actions);
        }
        for i in 0..machine.containers.len() {
            machine.ask_again(i, &mut actions);
        }
        if lost == Lost::PodOver {
            machine.end(Cause::Deleted, std::time::Duration::ZERO, &mut actions);
        }
        machine.go_on(&mut actions);
        Ok((machine, actions))
    }

    /// Brings one container in line with the world.
    fn meet(&mut self, i: usize, found: &[Found], lost: Lost, actions: &mut Vec<Action>) {
        let instance = self.instance(i);
        for stray in found.iter().filter(|found| found.instance.container == instance.container) {
            if stray.instance != instance && stray.exit.is_none() {
                let (instance, signal) = (stray.instance.clone(), "SIGKILL".to_owned());
                actions.push(Action::Stop { instance, signal, grace: std::time::Duration::ZERO });
            }
        }
        let known = found.iter().find(|found| found.instance == instance);
        match (&self.containers[i].state, known) {
            (State::Idle(_) | State::Pulling, None) => (),
            (State::Starting, None) if lost == Lost::Ended => (),
            (State::Starting | State::Running(_), None) => self.lose(i),
            (State::Running(_), Some(Found { exit: None, .. })) => self.resume(i, actions),
            (_, Some(Found { exit: None, id, started_at, .. })) => self.started(i, id.clone(), *started_at, actions),
            (_, Some(Found { exit: Some((exit, message)), id, started_at, .. })) => {
                let mut exit = *exit;
                exit.started_at = exit.started_at.or(Some(*started_at));
                self.exited(i, exit, message.clone());
                if self.containers[i].id.is_empty() {
                    self.containers[i].id.clone_from(id);
                }
            }
        }
    }

    /// Asks again for what was asked for and did not come to be, unless everything is to end by now.
    fn ask_again(&mut self, i: usize, actions: &mut Vec<Action>) {
        let instance = self.instance(i);
        match self.containers[i].state {
            State::Pulling | State::Starting if self.ends() => self.containers[i].state = State::Idle(self.now),
            State::Pulling => actions.push(Action::Pull(instance)),
            State::Starting => actions.push(Action::Start(instance)),
            State::Idle(_) | State::Running(_) => (),
        }
    }

    /// `kubelet_pods.go`, `convertToAPIContainerStatuses`: a run that disappeared.
    fn lose(&mut self, i: usize) {
        let now = self.now;
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        let wait = self.first_wait();
        let container = &mut self.containers[i];
        container.show();
        container.exited_at = None;
        container.end(Ended::unknown(STATUS_UNKNOWN, message), now);
        if !self.deleted {
            container.restarts = container.attempt;
            container.why = Some(wait);
        }
        self.restart_all_if_ruled(i);
    }

    /// Goes on with a run that still lasts.
    fn resume(&mut self, i: usize, actions: &mut Vec<Action>) {
        let (instance, now) = (self.instance(i), self.now);
        let Some(run) = self.containers[i].run_mut() else { return };
        for kind in super::probe::KINDS {
            if let Some((_, open)) = &mut run.probes.get_mut(kind).asked {
                *open = false;
            }
        }
        let (hook, stop) = (run.hook, run.stop);
        match stop {
            None if hook => self.run_shown(i),
            None => (),
            Some(stop) => match stop.stage {
                Stage::PreStop => {
                    let limit = Some(elapsed(now, stop.deadline));
                    actions.push(Action::Hook { instance, hook: HookKind::PreStop, limit });
                }
                Stage::Turn => (),
                Stage::Told(kill) => {
                    let signal = self.container_plan(i).stop_signal.clone();
                    actions.push(Action::Stop { instance, signal, grace: elapsed(now, kill) });
                }
            },
        }
    }
}
