//! Who may start when: init containers in order, sidecars kept running, main containers together, delays between runs.

use super::backoff::after;
use super::container::State;
use super::ending::Cause;
use super::machine::Prepare;
use super::note::go_duration;
use super::{Action, Machine};
use crate::plan::Role;

impl Machine {
    /// `kuberuntime_manager.go`, `computePodActions`.
    pub(super) fn start_containers(&mut self, actions: &mut Vec<Action>) {
        if self.resetting && !self.reset(actions) {
            return;
        }
        self.pass_init_containers();
        if self.is_finished() {
            return self.end(Cause::Finished, self.plan.grace, actions);
        }
        let mut open = self.open();
        for i in 0..self.containers.len() {
            if self.may_start(i, open) {
                self.try_start(i, actions);
                open = self.open();
            }
        }
    }

    /// How many containers, from the first, may start now; each of them if it is wanted.
    pub(super) fn open(&self) -> usize {
        if self.ending.is_some() || self.resetting || !matches!(self.prepare, Prepare::Done(_)) {
            return 0;
        }
        let closes = |i: usize| match self.container_plan(i).role {
            Role::Main => !self.initialized || self.holds_back(i),
            Role::Init | Role::Sidecar => !self.containers[i].passed,
        };
        let all = self.containers.len();
        match (0..all).find(|i| closes(*i)) {
            Some(i) if self.container_plan(i).role == Role::Main && !self.initialized => i,
            Some(i) => i + 1,
            None => all,
        }
    }

    /// Whether this container is one of the first `open` and wants to run; back-off is not asked.
    pub(super) fn may_start(&self, i: usize, open: usize) -> bool {
        i < open && matches!(self.containers[i].state, State::Idle(_)) && self.is_wanted(i)
    }

    /// A `postStart` hook holds back the containers after it, since a kubelet starts them one after the other
    /// (`kuberuntime_manager.go`, step 9 of `SyncPod`). Those without a hook start together here.
    fn holds_back(&self, i: usize) -> bool {
        self.container_plan(i).post_start.is_some()
            && match &self.containers[i].state {
                State::Running(run) => run.hook,
                State::Pulling | State::Starting => true,
                State::Idle(_) => false,
            }
    }

    /// `kuberuntime_container.go`, `computeInitContainerActions`: what is passed stays passed.
    fn pass_init_containers(&mut self) {
        for i in 0..self.containers.len() {
            let container = &self.containers[i];
            let passed = container.passed
                || match self.container_plan(i).role {
                    Role::Main => break,
                    Role::Sidecar => container.run().is_some_and(|run| run.started && !run.hook && run.stop.is_none()),
                    // `helpers.go`, `isInitContainerFailed`: killed for want of memory is a failure, whatever the code.
                    Role::Init => {
                        matches!(container.state, State::Idle(_))
                            && container
                                .ended
                                .as_ref()
                                .is_some_and(|ended| ended.code == 0 && ended.reason != "OOMKilled")
                    }
                };
            self.containers[i].passed = passed;
            if !passed {
                return;
            }
        }
        self.initialized = true;
        self.was_initialized = true;
    }

    /// Whether an init container failed for good or no main container will run again.
    fn is_finished(&self) -> bool {
        let over = |i: usize| matches!(self.containers[i].state, State::Idle(_)) && !self.is_wanted(i);
        let mut all = (0..self.containers.len()).map(|i| (i, self.container_plan(i).role));
        if self.initialized {
            all.filter(|(_, role)| *role == Role::Main).all(|(i, _)| over(i))
        } else {
            all.any(|(i, role)| role == Role::Init && !self.containers[i].passed && over(i))
        }
    }

    /// `kuberuntime_manager.go`, `doBackOff`, then `images/image_manager.go`, `pullImage`.
    fn try_start(&mut self, i: usize, actions: &mut Vec<Action>) {
        let (now, pace) = (self.now, self.pace);
        let container = &mut self.containers[i];
        if !matches!(container.state, State::Idle(at) if at <= now) {
            return;
        }
        if !container.forced
            && let Some(end) = container.exited_at
        {
            if let Some(until) = container.crash.until_since(end, now, &pace) {
                container.state = State::Idle(until);
                return self.crash_loop(i, actions);
            }
            container.crash.grow(end, now, &pace);
        }
        let container = &mut self.containers[i];
        if let Some(until) = container.pull.until(now, &pace) {
            container.state = State::Idle(until);
            return self.pull_back_off(i, actions);
        }
        container.forced = false;
        container.state = State::Pulling;
        actions.push(Action::Pull(self.instance(i)));
    }

    fn crash_loop(&mut self, i: usize, actions: &mut Vec<Action>) {
        let pod = self.pod_text();
        let name = self.container_plan(i).name.clone();
        let delay = go_duration(self.containers[i].crash.delay());
        self.containers[i]
            .say("CrashLoopBackOff", format!("back-off {delay} restarting failed container={name} pod={pod}"));
        self.note(
            Some(i),
            true,
            "BackOff",
            format!("Back-off restarting failed container {name} in pod {pod}"),
            actions,
        );
    }

    fn pull_back_off(&mut self, i: usize, actions: &mut Vec<Action>) {
        let text = format!("Back-off pulling image \"{}\"", self.container_plan(i).image);
        let message = format!("{text}: {}", self.containers[i].pull_error);
        self.containers[i].say("ImagePullBackOff", message);
        self.note(Some(i), false, "BackOff", text, actions);
        self.note(Some(i), true, "Failed", "Error: ImagePullBackOff".to_owned(), actions);
    }

    /// Ends the pod when it was active for longer than `activeDeadlineSeconds` (`active_deadline.go`).
    pub(super) fn check_deadline(&mut self, actions: &mut Vec<Action>) {
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.note(None, false, "DeadlineExceeded", DEADLINE.to_owned(), actions);
            self.end(Cause::Deadline, self.plan.grace, actions);
        }
    }

    /// When `activeDeadlineSeconds` are over, as long as that matters.
    pub(super) fn deadline(&self) -> Option<jiff::Timestamp> {
        let decided = self.ending.as_ref().is_some_and(|ending| ending.cause.fails_the_pod());
        self.plan.active_deadline.filter(|_| !decided).map(|allowed| after(self.began, allowed))
    }
}

/// `active_deadline.go`, `message`.
pub(super) const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";
