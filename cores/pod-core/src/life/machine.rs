//! The machine: takes events, gives out actions, knows when it wants to be called again.

use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::{Pace, after};
use super::conditions::Transition;
use super::container::{Container, Ended, Run, State, Stop, StopCause};
use super::ending::{Cause, Ending};
use super::phase::Phase;
use super::probe::Probes;
use super::{Action, Event, Exit, HookKind, ImageProblem, Instance, PodAddresses, PrepareProblem, StartProblem};
use crate::plan::{ContainerPlan, PodPlan};

/// What the caller chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// All back-off times of the kubelet are multiplied by this (at least 0.001): 1.0 is a kubelet's.
    pub back_off_scale: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { back_off_scale: 1.0 }
    }
}

/// The life of one pod.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) plan: Arc<PodPlan>,
    pub(super) pace: Pace,
    /// The time of the last step: time never goes back.
    pub(super) now: Timestamp,
    /// `status.startTime`.
    pub(super) began: Timestamp,
    pub(super) prepare: Prepare,
    /// As many as in the plan, in its order.
    pub(super) containers: Vec<Container>,
    /// The main containers may start: every init container has passed.
    pub(super) initialized: bool,
    /// `Initialized` was once true and stays so.
    pub(super) was_initialized: bool,
    /// A rule restarts all containers; they are being ended.
    pub(super) resetting: bool,
    pub(super) ending: Option<Ending>,
    /// Somebody wants the pod gone: nothing restarts, whatever policy says.
    pub(super) deleted: bool,
    /// It is to be gone without any grace.
    pub(super) at_once: bool,
    /// Set once; the status does not change any more.
    pub(super) last: Option<Phase>,
    pub(super) removed: bool,
    pub(super) transitions: Vec<Transition>,
}

/// A start that failed.
struct StartFailed {
    problem: StartProblem,
    message: String,
    id: String,
}

/// Whether the pod stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prepare {
    /// To be asked for at this time.
    Due(Timestamp),
    /// Asked for.
    Asked,
    /// It stands.
    Done(PodAddresses),
}

impl Machine {
    /// A pod that nothing was done for yet. The first step asks for [`Action::Prepare`].
    pub fn new(plan: Arc<PodPlan>, options: Options, now: Timestamp) -> Self {
        let containers = plan.containers.iter().map(|_| Container::new(now)).collect();
        let mut machine = Self {
            plan,
            pace: Pace::scaled(options.back_off_scale),
            now,
            began: now,
            prepare: Prepare::Due(now),
            containers,
            initialized: false,
            was_initialized: false,
            resetting: false,
            ending: None,
            deleted: false,
            at_once: false,
            last: None,
            removed: false,
            transitions: Vec::new(),
        };
        machine.note_transitions();
        machine
    }

    /// Tells the machine what happened at `now`, and what must be done therefore.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        self.take(event, &mut actions);
        self.go_on(&mut actions);
        actions
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn wake(&self) -> Option<Timestamp> {
        if self.last.is_some() {
            return None;
        }
        let prepare = match self.prepare {
            Prepare::Due(at) if self.ending.is_none() => Some(at),
            _ => None,
        };
        let open = self.open();
        let deadline = self.deadline();
        let containers = (0..self.containers.len()).filter_map(|i| self.container_wake(i, open));
        [prepare, deadline].into_iter().flatten().chain(containers).min()
    }

    /// Whether nothing of the pod is left and its phase is final.
    pub fn is_over(&self) -> bool {
        self.last.is_some() && self.removed
    }

    /// The plan that is carried out.
    pub fn plan(&self) -> &Arc<PodPlan> {
        &self.plan
    }

    /// Does whatever the state now allows; safe to call at any time.
    pub(super) fn go_on(&mut self, actions: &mut Vec<Action>) {
        if self.last.is_none() {
            self.check_deadline(actions);
            self.prepare(actions);
            if self.ending.is_none() && matches!(self.prepare, Prepare::Done(_)) {
                self.start_containers(actions);
            }
            self.stop_containers(actions);
            self.ask_probes(actions);
            self.finish(actions);
        }
        self.note_transitions();
    }

    fn container_wake(&self, i: usize, open: usize) -> Option<Timestamp> {
        match &self.containers[i].state {
            State::Idle(at) if self.may_start(i, open) => Some(*at),
            State::Running(run) => {
                let probes = self.probe_wake(i, run);
                probes.into_iter().chain(run.stop.and_then(Stop::wake)).min()
            }
            _ => None,
        }
    }

    fn prepare(&mut self, actions: &mut Vec<Action>) {
        if let Prepare::Due(at) = self.prepare
            && self.ending.is_none()
            && at <= self.now
        {
            self.prepare = Prepare::Asked;
            actions.push(Action::Prepare);
        }
    }

    fn take(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => (),
            Event::Prepared(addresses) => {
                if self.prepare == Prepare::Asked && self.ending.is_none() {
                    self.prepare = Prepare::Done(addresses);
                }
            }
            Event::PrepareFailed { problem, message, fatal } => self.prepare_failed(problem, message, fatal, actions),
            Event::Delete(deletion) => self.delete(&deletion, actions),
            Event::Evict { reason, message } => self.evict(reason, message, actions),
            Event::Removed => self.removed = self.last.is_some(),
            Event::PullBegan { instance } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Pulling)) {
                    let text = format!("Pulling image \"{}\"", self.container_plan(i).image);
                    self.note(Some(i), false, "Pulling", text, actions);
                }
            }
            Event::ImageReady { instance, image_id, pulled } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Pulling)) {
                    self.image_notes(i, &image_id, pulled, actions);
                    self.containers[i].image_id = image_id;
                    self.containers[i].state = State::Starting;
                    actions.push(Action::Start(instance));
                }
            }
            Event::ImageFailed { instance, problem, message } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Pulling)) {
                    self.image_failed(i, problem, message, actions);
                }
            }
            Event::Started { instance, id, user } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Starting)) {
                    self.containers[i].user = user;
                    self.started(i, id, self.now, actions);
                }
            }
            Event::StartFailed { instance, problem, message, id } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Starting)) {
                    let failed = StartFailed { problem, message, id: id.unwrap_or_default() };
                    self.start_failed(i, failed, actions);
                }
            }
            Event::Exited { instance, exit, message } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Starting | State::Running(_))) {
                    self.exited(i, exit, message);
                }
            }
            Event::HookDone { instance, hook, outcome } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Running(_))) {
                    self.hook_done(i, hook, outcome, actions);
                }
            }
            Event::Probed { instance, kind, outcome } => {
                if let Some(i) = self.find(&instance, |state| matches!(state, State::Running(_))) {
                    self.probed(i, kind, outcome, actions);
                }
            }
        }
    }

    /// The container of this instance, if that is its run now and its state fits.
    fn find(&self, instance: &Instance, fits: impl Fn(&State) -> bool) -> Option<usize> {
        let i = self.plan.containers.iter().position(|container| container.name == instance.container)?;
        let container = &self.containers[i];
        (container.attempt == instance.attempt && fits(&container.state)).then_some(i)
    }

    pub(super) fn instance(&self, i: usize) -> Instance {
        Instance { container: self.plan.containers[i].name.clone(), attempt: self.containers[i].attempt }
    }

    /// Whether whatever runs is to end, or no new run is wanted.
    pub(super) fn ends(&self) -> bool {
        self.ending.is_some() || self.deleted || self.resetting
    }

    pub(super) fn container_plan(&self, i: usize) -> &ContainerPlan {
        &self.plan.containers[i]
    }

    /// `kubelet.go`, `SyncPod` and `rejectPod`: which step failed decides the event. A kubelet tries again after
    /// the same time, whatever came before: `pod_workers.go`, `completeWork` (`backOffPeriod`, 10 s, without its jitter).
    fn prepare_failed(
        &mut self,
        problem: PrepareProblem,
        message: String,
        fatal: Option<String>,
        actions: &mut Vec<Action>,
    ) {
        if self.prepare != Prepare::Asked || self.ending.is_some() {
            return;
        }
        self.prepare = Prepare::Due(after(self.now, self.pace.retry));
        let Some(reason) = fatal else {
            let (reason, text) = match problem {
                PrepareProblem::Claims => {
                    ("FailedPrepareDynamicResources", format!("Failed to prepare dynamic resources: {message}"))
                }
                PrepareProblem::Sandbox => {
                    ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}"))
                }
                PrepareProblem::Volumes => ("FailedMount", message),
            };
            return self.note(None, true, reason, text, actions);
        };
        self.note(None, true, reason.clone(), message.clone(), actions);
        self.end(Cause::Rejected { reason, message }, std::time::Duration::ZERO, actions);
    }

    /// `pkg/kubelet/images/image_manager.go`, `EnsureImageExists` and `pullImage`.
    fn image_failed(&mut self, i: usize, problem: ImageProblem, message: String, actions: &mut Vec<Action>) {
        let image = self.plan.containers[i].image.clone();
        let (reason, event, text) = match problem {
            ImageProblem::Pull => ("ErrImagePull", "Failed", format!("Failed to pull image \"{image}\": {message}")),
            ImageProblem::NeverPull => ("ErrImageNeverPull", "ErrImageNeverPull", message.clone()),
            ImageProblem::InvalidName => ("InvalidImageName", "InspectFailed", message.clone()),
            ImageProblem::Inspect => ("ImageInspectError", "InspectFailed", message.clone()),
        };
        self.note(Some(i), true, event, text, actions);
        self.note(Some(i), true, "Failed", format!("Error: {reason}"), actions);
        let (now, pace) = (self.now, self.pace);
        let container = &mut self.containers[i];
        let next = if problem == ImageProblem::Pull {
            container.pull.grow(now, now, &pace);
            container.pull_error = format!("{reason}: {message}");
            pace.resync
        } else {
            pace.retry
        };
        container.say(reason, message);
        container.state = State::Idle(after(now, next));
    }

    pub(super) fn started(&mut self, i: usize, id: String, began: Timestamp, actions: &mut Vec<Action>) {
        self.note(Some(i), false, "Created", "Container created".to_owned(), actions);
        self.note(Some(i), false, "Started", "Container started".to_owned(), actions);
        let hook = self.plan.containers[i].post_start.is_some() && !self.ends();
        let run = Run { id, started_at: began, hook, started: false, probes: Probes::default(), stop: None };
        self.containers[i].state = State::Running(run);
        if hook {
            actions.push(Action::Hook { instance: self.instance(i), hook: HookKind::PostStart, limit: None });
        } else {
            self.run_shown(i);
        }
    }

    /// `kuberuntime_container.go`, `startContainer`: which step failed decides the reason.
    fn start_failed(&mut self, i: usize, failed: StartFailed, actions: &mut Vec<Action>) {
        let StartFailed { problem, message, id } = failed;
        let (now, pace) = (self.now, self.pace);
        if problem == StartProblem::Exec {
            self.note(Some(i), false, "Created", "Container created".to_owned(), actions);
        }
        self.note(Some(i), true, "Failed", format!("Error: {message}"), actions);
        let container = &mut self.containers[i];
        container.say(problem.reason(), message.clone());
        if problem == StartProblem::Exec {
            container.show();
            container.id.clone_from(&id);
            container.user = None;
            container.exited_at = Some(now);
            container.end(Ended::not_started(message, now, id), after(now, pace.resync));
            self.restart_all_if_ruled(i);
        } else {
            container.state = State::Idle(after(now, pace.retry));
        }
    }

    pub(super) fn exited(&mut self, i: usize, exit: Exit, message: String) {
        let (now, pace) = (self.now, self.pace);
        let container = &mut self.containers[i];
        container.show();
        let (began, stop) = container.run().map_or((now, None), |run| (run.started_at, run.stop));
        let cause = stop.map(|stop| stop.cause);
        if cause != Some(StopCause::Hook) {
            container.why = None;
        }
        let ended = Ended::of(exit, message, began, now, container.id.clone());
        let finished = ended.finished_at.unwrap_or(now);
        let previous = container.exited_at.replace(finished);
        container.forced = cause == Some(StopCause::Probe { restart: true })
            && previous.is_none_or(|end| container.crash.until_since(end, now, &pace).is_none());
        if container.forced
            && let Some(end) = previous
        {
            container.crash.grow(end, now, &pace);
        }
        let waits = cause == Some(StopCause::Hook) || container.crash.until_since(finished, now, &pace).is_some();
        let next = if waits && !container.forced { after(now, pace.resync) } else { now };
        container.end(ended, next);
        self.restart_all_if_ruled(i);
    }
}
