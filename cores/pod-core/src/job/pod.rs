//! What a Job needs to know of one of its pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

/// A pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPod {
    /// Its name.
    pub name: String,
    /// Its completion index, for an Indexed Job.
    pub index: Option<u32>,
    /// Whether it is ready.
    pub ready: bool,
    /// Restarts of its containers, summed up.
    pub restarts: u32,
    /// When it was told to end, by the Job or anybody else.
    pub stopped: Option<Timestamp>,
    /// How and when it ended.
    pub end: Option<(PodEnd, Timestamp)>,
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEnd {
    /// Phase `Succeeded`.
    Succeeded,
    /// Phase `Failed`.
    Failed,
}

impl JobPod {
    /// A pod that was just told to start.
    pub fn started(name: String, index: Option<u32>) -> Self {
        Self { name, index, ready: false, restarts: 0, stopped: None, end: None }
    }

    /// Takes over what its status says; `now` stands for the time of its end where the status does not tell it.
    pub fn observe(&mut self, status: &PodStatus, now: Timestamp) {
        let containers = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let conditions = status.conditions.iter().flatten();
        self.ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        self.restarts = containers().filter_map(|container| u32::try_from(container.restart_count).ok()).sum();
        let how = match status.phase.as_deref() {
            Some("Succeeded") => PodEnd::Succeeded,
            Some("Failed") => PodEnd::Failed,
            _ => return,
        };
        self.end.get_or_insert_with(|| (how, containers().filter_map(finished_at).max().unwrap_or(now)));
    }

    /// When it stopped to count as active (`getFinishedTime` in `pkg/controller/job/backoff_utils.go`).
    pub(super) fn over_at(&self) -> Option<Timestamp> {
        self.end.map(|(_, at)| at).or(self.stopped)
    }
}

fn finished_at(status: &ContainerStatus) -> Option<Timestamp> {
    Some(status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
}
