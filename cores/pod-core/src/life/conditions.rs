//! The pod's conditions, with the time each last changed (`pkg/kubelet/status/generate.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Machine;
use super::machine::Prepare;
use super::phase::{Phase, Shown, View};
use crate::plan::Role;

/// Since when a condition has its status (`status_manager.go`, `updateLastTransitionTime`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub kind: String,
    pub holds: bool,
    pub since: Timestamp,
}

/// A condition without its times.
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, holds: bool) -> Self {
        Self { kind, holds, reason: "", message: String::new() }
    }

    fn because(mut self, reason: &'static str, message: String) -> Self {
        self.reason = reason;
        self.message = message;
        self
    }
}

impl Machine {
    /// Remembers the time of every condition that has changed.
    pub(super) fn note_transitions(&mut self) {
        for condition in self.conditions(&self.open_views()) {
            match self.transitions.iter_mut().find(|known| known.kind == condition.kind) {
                Some(known) if known.holds == condition.holds => (),
                Some(known) => {
                    known.holds = condition.holds;
                    known.since = self.now;
                }
                None => {
                    let (kind, since) = (condition.kind.to_owned(), self.now);
                    self.transitions.push(Transition { kind, holds: condition.holds, since });
                }
            }
        }
    }

    /// `status.conditions`, in the kubelet's order (`kubelet_pods.go`, `generateAPIPodStatus`).
    pub(super) fn pod_conditions(&self) -> Vec<PodCondition> {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let since = |kind: &str| self.transitions.iter().find(|known| known.kind == kind).map(|known| known.since);
        let all = self.conditions(&self.open_views()).into_iter().map(|condition| PodCondition {
            type_: condition.kind.to_owned(),
            status: if condition.holds { "True" } else { "False" }.to_owned(),
            reason: text(condition.reason.to_owned()),
            message: text(condition.message),
            last_transition_time: since(condition.kind).map(|since| Time(super::status::whole_seconds(since))),
            last_probe_time: None,
            // A kubelet makes this one without it.
            observed_generation: self.plan.generation.filter(|_| condition.kind != "AllContainersRestarting"),
        });
        all.collect()
    }

    fn conditions(&self, views: &[View]) -> Vec<Condition> {
        let phase = self.decided_phase(views);
        let stands = matches!(self.prepare, Prepare::Done(_)) && self.last.is_none();
        let containers_ready = self.containers_ready(views, phase, "ContainersReady");
        let mut all = Vec::with_capacity(6);
        all.push(Condition::new("PodReadyToStartContainers", stands));
        all.push(self.initialized(views, phase));
        all.push(self.ready(views, phase));
        all.push(containers_ready);
        all.push(Condition::new("PodScheduled", true));
        let rules = self.plan.containers.iter().flat_map(|container| &container.restart.rules);
        if rules.into_iter().any(|rule| rule.whole_pod) {
            all.push(self.all_restarting(phase));
        }
        all
    }

    /// `GeneratePodInitializedCondition`.
    fn initialized(&self, views: &[View], phase: Phase) -> Condition {
        const KIND: &str = "Initialized";
        if phase == Phase::Succeeded {
            return Condition::new(KIND, true).because("PodCompleted", String::new());
        }
        let role = |i: usize| self.container_plan(i).role;
        let began = |view: &View| !matches!(view.shown, Shown::Waiting(_));
        if views.iter().enumerate().any(|(i, view)| role(i) == Role::Main && began(view)) {
            return Condition::new(KIND, true);
        }
        let done = |i: usize, view: &View| match (role(i), &view.shown) {
            (Role::Main, _) => true,
            (Role::Sidecar, Shown::Running { started, .. }) => *started,
            (Role::Init, Shown::Ended(ended)) => ended.code == 0,
            (Role::Sidecar | Role::Init, _) => false,
        };
        let undone: Vec<usize> = views.iter().enumerate().filter(|(i, view)| !done(*i, view)).map(|(i, _)| i).collect();
        if undone.is_empty() || self.was_initialized {
            return Condition::new(KIND, true);
        }
        let message = format!("containers with incomplete status: {}", self.names(&undone));
        Condition::new(KIND, false).because("ContainersNotInitialized", message)
    }

    /// `GenerateContainersReadyCondition`.
    fn containers_ready(&self, views: &[View], phase: Phase, kind: &'static str) -> Condition {
        let condition = Condition::new(kind, false);
        match phase {
            Phase::Succeeded => return condition.because("PodCompleted", String::new()),
            Phase::Failed => return condition.because("PodFailed", String::new()),
            Phase::Pending | Phase::Running => (),
        }
        let ready = |view: &View| matches!(view.shown, Shown::Running { ready: true, .. });
        let unready: Vec<usize> =
            (0..views.len()).filter(|i| self.container_plan(*i).role != Role::Init && !ready(&views[*i])).collect();
        if unready.is_empty() {
            return Condition::new(kind, true);
        }
        let message = format!("containers with unready status: {}", self.names(&unready));
        condition.because("ContainersNotReady", message)
    }

    /// `GeneratePodReadyCondition`. Nobody sets the conditions of readiness gates here, so such a pod is never ready.
    fn ready(&self, views: &[View], phase: Phase) -> Condition {
        let containers = self.containers_ready(views, phase, "Ready");
        let spec = self.plan.pod.spec.as_ref();
        let gates = spec.and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
        if !containers.holds || gates.is_empty() {
            return containers;
        }
        let missing = gates.iter().map(|gate| {
            format!("corresponding condition of pod readiness gate {:?} does not exist.", gate.condition_type)
        });
        let message = missing.collect::<Vec<_>>().join(", ");
        Condition::new("Ready", false).because("ReadinessGatesNotReady", message)
    }

    /// `GenerateAllContainersRestartingCondition`.
    fn all_restarting(&self, phase: Phase) -> Condition {
        let condition = Condition::new("AllContainersRestarting", self.resetting && !phase.is_final());
        match phase {
            Phase::Succeeded => condition.because("PodCompleted", String::new()),
            Phase::Failed => condition.because("PodFailed", String::new()),
            _ if self.resetting => {
                condition.because("RestartAllContainersStarted", "container exited with restart policy rule".to_owned())
            }
            _ => condition,
        }
    }

    /// Names as Go prints a list: `[a b]`.
    fn names(&self, which: &[usize]) -> String {
        let names: Vec<&str> = which.iter().map(|i| self.container_plan(*i).name.0.as_str()).collect();
        format!("[{}]", names.join(" "))
    }
}
