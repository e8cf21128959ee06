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
    /// No grace at all.
    pub at_once: bool,
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
        self.end(Cause::Deleted, if at_once { Duration::ZERO } else { grace }, actions);
        if at_once && let Some(ending) = &mut self.ending {
            ending.at_once = true;
            self.shorten(self.now, actions);
        }
    }

    /// `eviction/eviction_manager.go`, `evictPod`.
    pub(super) fn evict(&mut self, reason: String, message: String, actions: &mut Vec<Action>) {
        if self.last.is_none() {
            self.note(None, true, "Evicted", message.clone(), actions);
            self.end(Cause::Evicted { reason, message }, EVICTION_GRACE, actions);
        }
    }

    /// Begins the end, or makes its grace shorter; the first cause stays.
    pub(super) fn end(&mut self, cause: Cause, grace: Duration, actions: &mut Vec<Action>) {
        if self.last.is_some() {
            return;
        }
        let deadline = after(self.now, grace);
        let ending = self.ending.get_or_insert(Ending { cause, deadline, at_once: false });
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
        let phase = match ending.cause {
            Cause::Deadline | Cause::Evicted { .. } | Cause::Rejected { .. } => Phase::Failed,
            Cause::Finished | Cause::Deleted => match self.phase_by_containers(&self.views(), true) {
                Phase::Succeeded => Phase::Succeeded,
                Phase::Pending | Phase::Running | Phase::Failed => Phase::Failed,
            },
        };
        self.last = Some(phase);
        actions.push(Action::Remove);
    }
}
