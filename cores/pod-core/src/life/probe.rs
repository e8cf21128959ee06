//! Startup, readiness and liveness probes of a run: when each is asked, and what its answers add up to.
//!
//! After `pkg/kubelet/prober/worker.go`, `doProbe`. A kubelet's workers tick from when the pod came, so the moment of a
//! first probe is chance there; here it is the moment from which it is allowed.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::after;
use super::container::{Run, StopCause};
use super::{Action, Machine, ProbeKind, ProbeOutcome};
use crate::plan::{ContainerPlan, ProbePlan};

/// The probes of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Probes {
    pub startup: Probe,
    pub readiness: Probe,
    pub liveness: Probe,
}

/// One probe of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    /// Whether enough answers said well (`true`) or badly.
    pub result: Option<bool>,
    /// The last answer, and how often it came in a row.
    pub row: Option<(bool, u32)>,
    /// When it was last asked, and whether the answer is still to come.
    pub asked: Option<(Timestamp, bool)>,
    /// It is not asked any more in this run.
    pub hold: bool,
}

pub(super) const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

impl Probes {
    pub fn get(&self, kind: ProbeKind) -> &Probe {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Readiness => &self.readiness,
            ProbeKind::Liveness => &self.liveness,
        }
    }

    pub fn get_mut(&mut self, kind: ProbeKind) -> &mut Probe {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        }
    }
}

impl Probe {
    /// When it is next asked: after the initial delay, then every period, never before an answer came or was given up.
    fn due(&self, plan: &ProbePlan, began: Timestamp) -> Timestamp {
        match self.asked {
            None => after(began, plan.initial_delay),
            Some((at, false)) => after(at, plan.period),
            Some((at, true)) => after(at, plan.timeout + plan.period + LOST),
        }
    }

    /// Takes an answer; `Some` when enough of its kind came in a row.
    fn answer(&mut self, well: bool, plan: &ProbePlan) -> Option<bool> {
        let count = match self.row {
            Some((last, count)) if last == well => count.saturating_add(1),
            _ => 1,
        };
        self.row = Some((well, count));
        let threshold = if well { plan.success_threshold } else { plan.failure_threshold };
        if count < threshold {
            return None;
        }
        self.result = Some(well);
        Some(well)
    }
}

/// An answer that is this much late is not waited for any more.
const LOST: Duration = Duration::from_secs(5);

impl ContainerPlan {
    /// The probe of this kind.
    pub fn probe(&self, kind: ProbeKind) -> Option<&ProbePlan> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
        }
    }
}

impl Machine {
    /// The hook, if any, is over: from now on the status shows the run, and it is probed.
    pub(super) fn run_shown(&mut self, i: usize) {
        let started = self.container_plan(i).startup.is_none();
        self.containers[i].why = None;
        self.containers[i].show();
        if let Some(run) = self.containers[i].run_mut() {
            run.hook = false;
            run.started = started;
        }
    }

    /// Asks every probe that is due.
    pub(super) fn ask_probes(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        for i in 0..self.containers.len() {
            let due = |machine: &Self, run: &Run, kind| machine.probe_due(i, run, kind).is_some_and(|at| at <= now);
            for kind in KINDS {
                if self.containers[i].run().is_some_and(|run| due(self, run, kind)) {
                    if let Some(run) = self.containers[i].run_mut() {
                        run.probes.get_mut(kind).asked = Some((now, true));
                    }
                    actions.push(Action::Probe { instance: self.instance(i), kind });
                }
            }
        }
    }

    /// When the next probe of this run is due.
    pub(super) fn probe_wake(&self, i: usize, run: &Run) -> Option<Timestamp> {
        KINDS.into_iter().filter_map(|kind| self.probe_due(i, run, kind)).min()
    }

    /// Startup alone until it succeeded, then the others; when the pod or the run ends, only readiness goes on.
    fn probe_due(&self, i: usize, run: &Run, kind: ProbeKind) -> Option<Timestamp> {
        let plan = self.container_plan(i).probe(kind)?;
        let probe = run.probes.get(kind);
        let ends = self.ending.is_some() || run.stop.is_some();
        let allowed = !run.hook
            && !probe.hold
            && run.started == (kind != ProbeKind::Startup)
            && (kind == ProbeKind::Readiness || !ends);
        allowed.then(|| probe.due(plan, run.started_at))
    }

    /// Takes a probe's answer.
    pub(super) fn probed(&mut self, i: usize, kind: ProbeKind, outcome: ProbeOutcome, actions: &mut Vec<Action>) {
        let name = probe_name(kind);
        let plan = self.plan.clone();
        let Some(probe_plan) = plan.containers[i].probe(kind) else { return };
        let (well, text) = match outcome {
            ProbeOutcome::Success => (Some(true), None),
            ProbeOutcome::Failure(text) => (Some(false), Some(format!("{name} probe failed: {text}"))),
            ProbeOutcome::Unknown(text) => {
                (None, Some(format!("{name} probe errored and resulted in unknown state: {text}")))
            }
        };
        let ends = self.ending.is_some();
        let Some(run) = self.containers[i].run_mut() else { return };
        let ends = ends || run.stop.is_some();
        let probe = run.probes.get_mut(kind);
        let Some((asked, true)) = probe.asked else { return };
        probe.asked = Some((asked, false));
        if ends && kind != ProbeKind::Readiness {
            return;
        }
        let verdict = well.and_then(|well| probe.answer(well, probe_plan));
        match (kind, verdict) {
            (ProbeKind::Startup, Some(well)) => {
                probe.hold = true;
                run.started = well;
            }
            (ProbeKind::Liveness, Some(false)) => probe.hold = true,
            _ => (),
        }
        if let Some(text) = text {
            self.note(Some(i), true, "Unhealthy", text, actions);
        }
        if verdict == Some(false) && kind != ProbeKind::Readiness {
            self.kill_for_probe(i, kind, probe_plan, actions);
        }
    }

    /// `kuberuntime_manager.go`, `computePodActions`; the grace is the probe's own, else the pod's
    /// (`kuberuntime_container.go`, `setTerminationGracePeriod`).
    fn kill_for_probe(&mut self, i: usize, kind: ProbeKind, probe: &ProbePlan, actions: &mut Vec<Action>) {
        let plan = self.container_plan(i);
        let sidecar = plan.role == crate::plan::Role::Sidecar;
        let restart = self.probe_restarts(i);
        let what = if sidecar { "Init container" } else { "Container" };
        let again = if restart && !sidecar { ", will be restarted" } else { "" };
        let message = format!("{what} {} failed {} probe{again}", plan.name, probe_name(kind).to_lowercase());
        let grace = probe.grace.unwrap_or(self.plan.grace);
        self.begin_stop(i, StopCause::Probe { restart }, grace, &message, actions);
    }
}

/// `prober_manager.go`, `probeType.String`.
fn probe_name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Readiness => "Readiness",
        ProbeKind::Liveness => "Liveness",
    }
}
