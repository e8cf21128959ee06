//! Which container runs again: the pod's policy, the container's own, and its rules for exit codes.

use super::Machine;
use super::container::{Ended, State, StopCause};
use crate::plan::{RestartPolicy, RestartRule, Role};

impl Machine {
    /// Whether policy wants another run after this exit code (`pkg/api/v1/pod/util.go`, `ContainerShouldRestart`).
    pub(super) fn policy_wants(&self, i: usize, code: i32) -> bool {
        let plan = self.container_plan(i);
        if plan.role == Role::Sidecar || self.rule(i, code).is_some() {
            return true;
        }
        match plan.restart.policy.unwrap_or(self.plan.restart_policy) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// Whether a run killed by its probe starts again at once; exit codes are not asked
    /// (`kuberuntime_manager.go`, `computePodActions`).
    pub(super) fn probe_restarts(&self, i: usize) -> bool {
        let plan = self.container_plan(i);
        plan.role == Role::Sidecar || plan.restart.policy.unwrap_or(self.plan.restart_policy) != RestartPolicy::Never
    }

    /// Whether a container that does not run is to be started when its turn comes
    /// (`container/helpers.go`, `ShouldContainerBeRestarted`; for init containers `computeInitContainerActions`).
    pub(super) fn is_wanted(&self, i: usize) -> bool {
        let container = &self.containers[i];
        match (&container.ended, self.container_plan(i).role) {
            _ if container.forced => true,
            (_, Role::Init) if container.passed => false,
            (None, _) => true,
            (Some(ended), _) => self.policy_wants(i, ended.code),
        }
    }

    /// Ends all containers where a rule of this one says so, and lets them start anew
    /// (KEP-5532; `container/helpers.go`, `ShouldAllContainersRestart`).
    pub(super) fn restart_all_if_ruled(&mut self, i: usize) {
        let code = self.containers[i].ended.as_ref().map_or(0, |ended| ended.code);
        if self.ending.is_none() && self.rule(i, code).is_some_and(|rule| rule.whole_pod) {
            self.resetting = true;
        }
    }

    /// Ends what runs, and when nothing does, forgets all runs; whether that is done
    /// (`kuberuntime_manager.go`, `computePodActions` and step 3 of `SyncPod`: killed without grace, so no `preStop`).
    pub(super) fn reset(&mut self, actions: &mut Vec<super::Action>) -> bool {
        for i in 0..self.containers.len() {
            if matches!(self.containers[i].state, State::Pulling) {
                self.containers[i].state = State::Idle(self.now);
            }
            if self.containers[i].run().is_some_and(|run| run.stop.is_none()) {
                self.begin_stop(i, StopCause::RestartAll, std::time::Duration::ZERO, "killing", actions);
            }
        }
        if self.containers.iter().any(super::container::Container::may_run) {
            return false;
        }
        for container in &mut self.containers {
            if container.created {
                let message = "The container is removed because RestartAllContainers in place";
                container.before = Some(Ended::unknown(RESTARTING_ALL, message));
                container.restarts = container.attempt;
            }
            container.ended = None;
            container.exited_at = None;
            container.forced = false;
            container.why = None;
            container.passed = false;
            container.state = State::Idle(self.now);
        }
        self.initialized = false;
        self.resetting = false;
        true
    }

    /// The first rule that matches (`pkg/api/v1/pod/util.go`, `FindMatchingContainerRestartRule`).
    fn rule(&self, i: usize, code: i32) -> Option<&RestartRule> {
        let rules = &self.container_plan(i).restart.rules;
        rules.iter().find(|rule| rule.codes.contains(&code) != rule.not_in)
    }
}

/// The reason of runs that were ended because all containers restart (`kubelet_pods.go`, `RestartingAllContainers`).
pub(super) const RESTARTING_ALL: &str = "RestartingAllContainers";
