//! What a batch/v1 Job wants of its pods: which to start, which to stop, and the status a Job controller would write.
//!
//! [`decide`] is a function of the plan, the last status and all pods of the Job, the ended ones too; it keeps nothing
//! itself, so a driver that comes back after a crash reads the status and the pods' directories and goes on. The driver
//! calls it whenever a pod changes and at [`Decision::wake`], carries out the actions, and has a pod that it was told to
//! start among the pods of the next call.
//!
//! ```text
//! suspended            spec.suspend: no pod is started
//! running              as many active pods as parallelism and the missing completions want; after failures 10 s, doubling to 10 min
//!   | enough succeeded, none active        | failures > backoffLimit, or activeDeadlineSeconds over: every pod is stopped
//! SuccessCriteriaMet                     FailureTarget
//!   | none terminating                     | none terminating
//! Complete                               Failed
//! ```
//!
//! The rules are those of `pkg/controller/job/job_controller.go` (`syncJob`, `manageJob`, `trackJobStatusAndRemoveFinalizers`).
//! What the check refuses (`podFailurePolicy`, `successPolicy`, `backoffLimitPerIndex`) is not here.

mod indexes;
mod plan;
mod pod;

pub use plan::JobPlan;
pub use pod::{JobPod, PodEnd};

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The back-off after the first failure (`DefaultJobPodFailureBackOff`).
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The longest back-off (`MaxJobPodFailureBackOff`).
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The Job's status, to be recorded before the actions are carried out.
    pub status: JobStatus,
    /// In this order.
    pub actions: Vec<JobAction>,
    /// When to decide again, if no pod changes before.
    pub wake: Option<Timestamp>,
    /// Set once the Job is over; nothing changes any more.
    pub end: Option<JobEnd>,
}

/// What a Job does to its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAction {
    /// Start a pod: [`JobPlan::pod`] makes it.
    Start {
        /// Its completion index, for an Indexed Job.
        index: Option<u32>,
    },
    /// End a pod in order.
    Stop {
        /// Its name.
        pod: String,
    },
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Condition `Complete`.
    Complete,
    /// Condition `Failed`, because of the back-off limit.
    BackoffLimitExceeded,
    /// Condition `Failed`, because of `activeDeadlineSeconds`.
    DeadlineExceeded,
}

/// Decides what the Job does at `now` (`syncJob`). `pods` are all pods that it ever started.
pub fn decide(plan: &JobPlan, last: &JobStatus, pods: &[JobPod], now: Timestamp) -> Decision {
    let mut round = Round { plan, pods, now, status: last.clone(), actions: Vec::new(), wake: None };
    let end = round.run();
    Decision { status: round.status, actions: round.actions, wake: round.wake.filter(|_| end.is_none()), end }
}

/// One round of decisions.
struct Round<'a> {
    plan: &'a JobPlan,
    pods: &'a [JobPod],
    now: Timestamp,
    status: JobStatus,
    actions: Vec<JobAction>,
    wake: Option<Timestamp>,
}

impl Round<'_> {
    fn run(&mut self) -> Option<JobEnd> {
        if let Some(end) = self.end() {
            return Some(end);
        }
        if self.status.start_time.is_none() && !self.plan.suspended {
            self.status.start_time = Some(Time(self.now));
        }
        if !self.is_set("SuccessCriteriaMet") && !self.is_set("FailureTarget") {
            self.judge_failure();
        }
        if self.is_set("FailureTarget") {
            self.stop_all();
        } else if !self.is_set("SuccessCriteriaMet") {
            self.manage();
            self.judge_success();
        }
        self.count();
        self.finish();
        self.end()
    }

    /// The Job fails by its back-off limit or its deadline.
    fn judge_failure(&mut self) {
        if self.failed() > self.plan.backoff_limit || self.too_many_restarts() {
            self.set("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
            return;
        }
        let (Some(allowed), Some(began), false) =
            (self.plan.active_deadline, self.status.start_time.as_ref(), self.plan.suspended)
        else {
            return;
        };
        let until = later(began.0, allowed);
        if until <= self.now {
            self.set("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline");
        } else {
            self.wake_at(until);
        }
    }

    /// Restarts inside the pods count too where they restart their containers (`pastBackoffLimitOnFailure`).
    fn too_many_restarts(&self) -> bool {
        let restarts: u32 = self.pods.iter().filter(|pod| pod.end.is_none()).map(|pod| pod.restarts).sum();
        self.plan.restarts_on_failure && restarts >= self.plan.backoff_limit.max(1)
    }

    /// Starts what is missing (`manageJob`).
    fn manage(&mut self) {
        if self.plan.suspended {
            self.set("Suspended", "JobSuspended", "Job suspended");
            return;
        }
        let active = self.active().count();
        let succeeded = self.succeeded();
        let wanted = match self.plan.completions {
            None if succeeded > 0 => active,
            None => to_usize(self.plan.parallelism),
            Some(completions) => to_usize(completions.saturating_sub(succeeded).min(self.plan.parallelism)),
        };
        let held = if self.plan.replaces_only_ended { self.terminating().count() } else { 0 };
        let missing = wanted.saturating_sub(active + held);
        if missing == 0 {
            return;
        }
        if let Some(until) = self.backed_off_until().filter(|until| *until > self.now) {
            self.wake_at(until);
        } else if self.plan.indexed {
            let taken = self.taken_indexes();
            let free = (0..self.plan.completions.unwrap_or(0)).filter(|index| !taken.contains(index));
            self.actions.extend(free.take(missing).map(|index| JobAction::Start { index: Some(index) }));
        } else {
            self.actions.extend((0..missing).map(|_| JobAction::Start { index: None }));
        }
    }

    /// Indexes that need no new pod (`firstPendingIndexes`).
    fn taken_indexes(&self) -> BTreeSet<u32> {
        let held = self.terminating().filter(|_| self.plan.replaces_only_ended);
        let active = self.active().chain(held).filter_map(|pod| pod.index);
        active.chain(self.succeeded_indexes()).collect()
    }

    /// When the next pod may start after failures since the last success (`newBackoffRecord`, `getRemainingTime`).
    fn backed_off_until(&self) -> Option<Timestamp> {
        let ended = |pod: &&JobPod| !self.has_failed(pod);
        let success = self.pods.iter().filter(ended).filter_map(|pod| pod.end.map(|(_, at)| at)).max();
        let failures = self.pods.iter().filter(|pod| self.has_failed(pod)).filter_map(JobPod::over_at);
        let since: Vec<Timestamp> = failures.filter(|at| success.is_none_or(|success| *at > success)).collect();
        let doublings = u32::try_from(since.len()).unwrap_or(u32::MAX).checked_sub(1)?.min(16);
        let wait = (FIRST_BACK_OFF * 2_u32.pow(doublings)).min(LONGEST_BACK_OFF);
        since.iter().max().map(|last| later(*last, wait))
    }

    fn judge_success(&mut self) {
        let succeeded = self.succeeded();
        let enough = self.plan.completions.map_or(succeeded > 0, |completions| succeeded >= completions);
        let starts = self.actions.iter().any(|action| matches!(action, JobAction::Start { .. }));
        if enough && !starts && self.active().next().is_none() {
            self.set("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods");
        }
    }

    fn stop_all(&mut self) {
        let stops = self.active().map(|pod| JobAction::Stop { pod: pod.name.clone() }).collect::<Vec<_>>();
        self.actions.extend(stops);
    }

    /// The status counts what the actions will have brought about, as the controller's does.
    fn count(&mut self) {
        let stops = self.actions.iter().filter(|action| matches!(action, JobAction::Stop { .. })).count();
        let starts = self.actions.len() - stops;
        let ready = self.active().filter(|pod| pod.ready).count();
        self.status.active = Some(to_i32(self.active().count() + starts - stops));
        self.status.ready = Some(if stops > 0 { 0 } else { to_i32(ready) });
        self.status.terminating = Some(to_i32(self.terminating().count() + stops));
        let failed = to_usize(self.failed()) + if self.plan.replaces_only_ended { 0 } else { stops };
        self.status.failed = Some(to_i32(failed)).filter(|failed| *failed > 0);
        self.status.succeeded = Some(to_i32(to_usize(self.succeeded()))).filter(|succeeded| *succeeded > 0);
        self.status.uncounted_terminated_pods = Some(k8s_openapi::api::batch::v1::UncountedTerminatedPods::default());
        if self.plan.indexed {
            let indexes = indexes::text(&self.succeeded_indexes().collect());
            self.status.completed_indexes = Some(indexes).filter(|text| !text.is_empty());
        }
    }

    /// The last condition, once no pod is left that ends (`enactJobFinished`).
    fn finish(&mut self) {
        if self.active().next().is_some() || self.terminating().next().is_some() || !self.actions.is_empty() {
            return;
        }
        for (target, last) in [("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")] {
            let Some(reached) = self.condition(target).cloned() else { continue };
            self.set(last, &reached.reason.unwrap_or_default(), &reached.message.unwrap_or_default());
            if last == "Complete" {
                self.status.completion_time = Some(Time(self.now));
            }
        }
    }

    fn end(&self) -> Option<JobEnd> {
        if self.is_set("Complete") {
            return Some(JobEnd::Complete);
        }
        let failed = self.condition("Failed")?;
        let deadline = failed.reason.as_deref() == Some("DeadlineExceeded");
        Some(if deadline { JobEnd::DeadlineExceeded } else { JobEnd::BackoffLimitExceeded })
    }

    /// Pods that run or will (`FilterActivePods`).
    fn active(&self) -> impl Iterator<Item = &JobPod> {
        self.pods.iter().filter(|pod| pod.end.is_none() && pod.stopped.is_none())
    }

    /// Pods that were told to end and have not yet (`CountTerminatingPods`).
    fn terminating(&self) -> impl Iterator<Item = &JobPod> {
        self.pods.iter().filter(|pod| pod.end.is_none() && pod.stopped.is_some())
    }

    /// `isPodFailed`: a pod that was told to end counts at once, unless only ended pods are replaced.
    fn has_failed(&self, pod: &JobPod) -> bool {
        match pod.end {
            Some((PodEnd::Failed, _)) => true,
            Some((PodEnd::Succeeded, at)) => {
                !self.plan.replaces_only_ended && pod.stopped.is_some_and(|told| told <= at)
            }
            None => !self.plan.replaces_only_ended && pod.stopped.is_some(),
        }
    }

    fn failed(&self) -> u32 {
        to_u32(self.pods.iter().filter(|pod| self.has_failed(pod)).count())
    }

    fn succeeded(&self) -> u32 {
        if self.plan.indexed {
            return to_u32(self.succeeded_indexes().collect::<BTreeSet<_>>().len());
        }
        to_u32(self.pods.iter().filter(|pod| pod.end.is_some() && !self.has_failed(pod)).count())
    }

    fn succeeded_indexes(&self) -> impl Iterator<Item = u32> {
        self.pods.iter().filter(|pod| pod.end.is_some() && !self.has_failed(pod)).filter_map(|pod| pod.index)
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn condition(&self, kind: &str) -> Option<&JobCondition> {
        let conditions = self.status.conditions.iter().flatten();
        conditions.into_iter().find(|condition| condition.type_ == kind && condition.status == "True")
    }

    fn is_set(&self, kind: &str) -> bool {
        self.condition(kind).is_some()
    }

    /// Sets a condition that is not set yet (`ensureJobConditionStatus`).
    fn set(&mut self, kind: &str, reason: &str, message: &str) {
        if self.is_set(kind) {
            return;
        }
        self.status.conditions.get_or_insert_default().push(JobCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        });
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
