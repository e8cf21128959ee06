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

mod codec;

use codec::{At, Read, Recorded, object};

/// The version of the record that this build writes; it reads this one.
const FORMAT: u32 = 1;

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
        object([
            ("format", FORMAT.write()),
            ("uid", self.plan.uid.write()),
            ("names", self.names_in_order().write()),
            ("now", self.now.write()),
            ("began", self.began.write()),
            ("prepare", self.prepare.write()),
            ("containers", self.containers.write()),
            ("initialized", self.initialized.write()),
            ("was_initialized", self.was_initialized.write()),
            ("resetting", self.resetting.write()),
            ("ending", self.ending.write()),
            ("deleted", self.deleted.write()),
            ("at_once", self.at_once.write()),
            ("last", self.last.write()),
            ("removed", self.removed.write()),
            ("transitions", self.transitions.write()),
        ])
    }

    fn names_in_order(&self) -> Vec<String> {
        self.plan.containers.iter().map(|container| container.name.0.clone()).collect()
    }

    /// The machine as it was recorded.
    fn read(plan: Arc<PodPlan>, options: Options, record: &Value, now: Timestamp) -> Read<Self> {
        let format = &record["format"];
        if format.as_u64() != Some(FORMAT.into()) {
            return Err(RestoreError::Format { found: format.to_string() });
        }
        let at = At::whole(record);
        let (uid, names): (String, Vec<String>) = (at.get("uid")?, at.get("names")?);
        let mut machine = Self::new(plan, options, now);
        if uid != machine.plan.uid {
            return Err(RestoreError::OtherPod { what: format!("its uid is {uid}") });
        }
        if names != machine.names_in_order() {
            return Err(RestoreError::OtherPod { what: format!("its containers are {}", names.join(", ")) });
        }
        machine.now = now.max(at.get("now")?);
        machine.began = at.get("began")?;
        machine.prepare = at.get("prepare")?;
        machine.containers = at.get("containers")?;
        if machine.containers.len() != names.len() {
            return Err(RestoreError::Damaged { path: "containers".to_owned() });
        }
        machine.initialized = at.get("initialized")?;
        machine.was_initialized = at.get("was_initialized")?;
        machine.resetting = at.get("resetting")?;
        machine.ending = at.get("ending")?;
        machine.deleted = at.get("deleted")?;
        machine.at_once = at.get("at_once")?;
        machine.last = at.get("last")?;
        machine.removed = at.get("removed")?;
        machine.transitions = at.get("transitions")?;
        Ok(machine)
    }

    /// Builds the machine again from its record and from what the launcher finds, and goes on.
    pub fn restore(
        plan: Arc<PodPlan>,
        options: Options,
        record: &Value,
        world: World<'_>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        let mut machine = Self::read(plan, options, record, now)?;
        let mut actions = Vec::new();
        if machine.last.is_some() {
            if !machine.removed {
                actions.push(Action::Remove);
            }
            return Ok((machine, actions));
        }
        if machine.prepare == Prepare::Asked && machine.ending.is_none() && world.lost == Lost::Ended {
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
