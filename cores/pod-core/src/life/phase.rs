//! What the status shows of each container, and the phase that follows from it.

use std::borrow::Cow;

use jiff::Timestamp;

use super::Machine;
use super::container::{Ended, State, Why};
use super::restart::RESTARTING_ALL;
use crate::plan::Role;

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// What the status shows of one container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View<'a> {
    pub shown: Shown<'a>,
    pub last: Option<&'a Ended>,
}

/// `state`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown<'a> {
    Waiting(Cow<'a, Why>),
    Running { since: Timestamp, started: bool, ready: bool },
    Ended(Cow<'a, Ended>),
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl View<'_> {
    /// The last run's end, unless a run lasts.
    pub fn end(&self) -> Option<&Ended> {
        match &self.shown {
            Shown::Ended(ended) => Some(ended),
            Shown::Waiting(_) => self.last,
            Shown::Running { .. } => None,
        }
    }
}

impl Machine {
    /// All containers as the status shows them (`kubelet_pods.go`, `convertToAPIContainerStatuses`; when the pod is
    /// over also `status_manager.go`, `TerminatePod`).
    pub(super) fn views(&self) -> Vec<View<'_>> {
        let mut views = self.open_views();
        if self.last.is_some() {
            self.close(&mut views);
        }
        views
    }

    /// All containers as phase and conditions see them.
    pub(super) fn open_views(&self) -> Vec<View<'_>> {
        (0..self.containers.len()).map(|i| self.view(i)).collect()
    }

    fn view(&self, i: usize) -> View<'_> {
        let container = &self.containers[i];
        let last = || container.ended.as_ref().or(container.before.as_ref());
        if let State::Running(run) = &container.state
            && (!run.hook || self.ending.is_some() || run.stop.is_some())
        {
            let ready = run.started
                && self.container_plan(i).role != Role::Init
                && (self.container_plan(i).readiness.is_none() || run.probes.readiness.result == Some(true));
            return View { shown: Shown::Running { since: run.started_at, started: run.started, ready }, last: last() };
        }
        let comes_again = !self.deleted && self.is_wanted(i);
        match (&container.why, &container.ended) {
            (Some(why), _) if comes_again => View { shown: Shown::Waiting(Cow::Borrowed(why)), last: last() },
            (_, Some(ended)) => View { shown: Shown::Ended(Cow::Borrowed(ended)), last: container.before.as_ref() },
            _ => View { shown: Shown::Waiting(Cow::Owned(self.first_wait())), last: container.before.as_ref() },
        }
    }

    /// Whatever is not known to have ended is said to have failed, once the pod was initialized
    /// (`status_manager.go`, `TerminatePod`, `hasPodInitialized`, `initializedContainers`).
    fn close(&self, views: &mut [View]) {
        let inits = self.plan.containers.iter().take_while(|plan| plan.role != Role::Main).count();
        let begun = |view: &View| !matches!(view.shown, Shown::Waiting(_)) || view.last.is_some();
        let reached = views[..inits].iter().rposition(begun).map_or(inits.min(1), |i| i + 1);
        for (i, view) in views.iter_mut().enumerate() {
            let closes = if i < inits { i < reached } else { self.was_initialized || inits == 0 };
            if closes && !matches!(view.shown, Shown::Ended(_)) {
                let message = "The container could not be located when the pod was terminated";
                view.shown = Shown::Ended(Cow::Owned(Ended::unknown(STATUS_UNKNOWN, message)));
            }
        }
    }

    pub(super) fn first_wait(&self) -> Why {
        let inits = self.plan.containers.iter().any(|plan| plan.role != Role::Main);
        let reason = if inits { "PodInitializing" } else { "ContainerCreating" };
        Why { reason: reason.to_owned(), message: String::new() }
    }

    /// The phase that others see: final only when nothing runs any more (`status_manager.go`, `mergePodStatus`).
    pub(super) fn phase(&self, views: &[View]) -> Phase {
        match (self.last, self.phase_by_containers(views, false)) {
            (Some(last), _) => last,
            (None, Phase::Succeeded | Phase::Failed) if self.was_initialized => Phase::Running,
            (None, Phase::Succeeded | Phase::Failed) => Phase::Pending,
            (None, phase) => phase,
        }
    }

    /// The phase that conditions are made of: final as soon as it is decided, and not yet final where only
    /// `TerminatePod` makes it so (`kubelet_pods.go`, `generateAPIPodStatus`).
    pub(super) fn decided_phase(&self, views: &[View]) -> Phase {
        if self.ending.as_ref().is_some_and(|ending| ending.cause.fails_the_pod()) {
            return Phase::Failed;
        }
        self.phase_by_containers(views, self.last.is_some())
    }

    /// `kubelet_pods.go`, `getPhase`; `over`: no container will start any more.
    pub(super) fn phase_by_containers(&self, views: &[View], over: bool) -> Phase {
        let mut count = Count::default();
        for (i, view) in views.iter().enumerate() {
            match self.container_plan(i).role {
                Role::Init => self.count_init(i, view, &mut count),
                Role::Sidecar => count_sidecar(view, &mut count),
                Role::Main => self.count_main(i, view, &mut count),
            }
        }
        let mains_began = (0..self.containers.len()).any(|i| {
            let container = &self.containers[i];
            self.container_plan(i).role == Role::Main && (container.run().is_some() || container.ended.is_some())
        });
        if count.init_failed > 0 {
            Phase::Failed
        } else if count.pending_init > 0 || (count.pending_sidecars > 0 && !mains_began) || count.waiting > 0 {
            Phase::Pending
        } else if count.running > 0 {
            Phase::Running
        } else if count.stopped == 0 {
            Phase::Pending
        } else if !over && count.stopped != count.stopped_for_good {
            Phase::Running
        } else if count.stopped == count.succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        }
    }

    fn runs_again(&self, i: usize, ended: &Ended) -> bool {
        self.policy_wants(i, ended.code) || ended.reason == RESTARTING_ALL
    }

    fn count_init(&self, i: usize, view: &View, count: &mut Count) {
        let Some(ended) = view.end() else {
            count.pending_init += 1;
            return;
        };
        if ended.code != 0 && !self.runs_again(i, ended) {
            count.init_failed += 1;
        }
    }

    fn count_main(&self, i: usize, view: &View, count: &mut Count) {
        let Some(ended) = view.end() else {
            let running = matches!(view.shown, Shown::Running { .. });
            *(if running { &mut count.running } else { &mut count.waiting }) += 1;
            return;
        };
        count.succeeded += u32::from(ended.code == 0 && matches!(view.shown, Shown::Ended(_)));
        count.stopped += 1;
        count.stopped_for_good += u32::from(!self.runs_again(i, ended));
    }
}

/// The reason of runs nobody knows the end of (`container/runtime.go`, `ContainerReasonStatusUnknown`).
pub(super) const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

#[derive(Default)]
struct Count {
    init_failed: u32,
    pending_init: u32,
    pending_sidecars: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    stopped_for_good: u32,
    succeeded: u32,
}

fn count_sidecar(view: &View, count: &mut Count) {
    match (&view.shown, &view.last) {
        (Shown::Running { started, .. }, _) => {
            count.running += 1;
            count.pending_sidecars += u32::from(!started);
        }
        (Shown::Waiting(_), None) => {
            count.pending_sidecars += 1;
            count.waiting += 1;
        }
        _ => (),
    }
}
