//! How a pod ends: why, within which grace, and with which last phase.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::after;
use super::container::Container;
use super::phase::Phase;
use super::{Action, Deletion, Machine};

/// The end that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Why.
    pub cause: Cause,
    /// When the grace is over.
    pub deadline: Timestamp,
}

/// Why a pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its containers are done, or cannot be.
    Finished,
    /// Somebody wants it gone.
    Deleted,
    /// `activeDeadlineSeconds` are over.
    Deadline,
    /// It must go.
    Evicted {
        /// `status.reason`.
        reason: String,
        /// `status.message`.
        message: String,
    },
    /// It can never be prepared.
    Rejected {
        /// `status.reason`.
        reason: String,
        /// `status.message`.
        message: String,
    },
}

impl Cause {
    /// Whether the phase is `Failed` whatever the containers did.
    pub fn fails_the_pod(&self) -> bool {
        matches!(self, Self::Deadline | Self::Evicted { .. } | Self::Rejected { .. })
    }
}

/// `eviction/eviction_manager.go`, `immediateEvictionGracePeriodSeconds`.
const EVICTION_GRACE: Duration = Duration::from_secs(1);
/// `pod_workers.go`, `calculateEffectiveGracePeriod`: a pod gets at least this.
const LEAST_POD_GRACE: Duration = Duration::from_secs(1);

impl Machine {
    /// `pod_workers.go`, `calculateEffectiveGracePeriod`: the grace only ever gets shorter.
    pub(super) fn delete(&mut self, deletion: &Deletion, actions: &mut Vec<Action>) {
        if self.last.is_some() {
            return;
        }
        self.deleted = true;
        let at_once = deletion.grace == Some(Duration::ZERO);
        let grace = deletion.grace.unwrap_or(self.plan.grace).max(LEAST_POD_GRACE);
        self.at_once |= at_once;
        self.end(Cause::Deleted, if at_once { Duration::ZERO } else { grace }, actions);
    }

    /// `eviction/eviction_manager.go`, `evictPod`.
    pub(super) fn evict(&mut self, reason: String, message: String, actions: &mut Vec<Action>) {
        if self.last.is_none() {
            self.note(None, true, reason.clone(), message.clone(), actions);
            self.end(Cause::Evicted { reason, message }, EVICTION_GRACE, actions);
        }
    }

    /// Begins the end, or makes its grace shorter; of two causes the one that fails the pod stays
    /// (`kubelet_pods.go`, `generateAPIPodStatus`, `ShouldEvict`).
    pub(super) fn end(&mut self, cause: Cause, grace: Duration, actions: &mut Vec<Action>) {
        if self.last.is_some() {
            return;
        }
        let deadline = after(self.now, grace);
        let ending = self.ending.get_or_insert_with(|| Ending { cause: cause.clone(), deadline });
        if !ending.cause.fails_the_pod() {
            ending.cause = cause;
        }
        ending.deadline = ending.deadline.min(deadline);
        let deadline = ending.deadline;
        self.resetting = false;
        self.shorten(deadline, actions);
    }

    /// Fixes the phase when the last container has ended, and takes the pod down
    /// (`status_manager.go`, `mergePodStatus`: never before).
    pub(super) fn finish(&mut self, actions: &mut Vec<Action>) {
        let Some(ending) = &self.ending else { return };
        if self.containers.iter().any(Container::may_run) {
            return;
        }
        let phase = self.phase_by_containers(&self.open_views(), true);
        let good = phase == Phase::Succeeded && !ending.cause.fails_the_pod();
        self.last = Some(if good { Phase::Succeeded } else { Phase::Failed });
        actions.push(Action::Remove);
    }
}
