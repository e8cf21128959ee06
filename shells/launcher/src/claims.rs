//! How a pod gets CPUs, devices and licenses: the trait that providers implement and the executable wires.
//!
//! The life of a claim: asked for with progress while it waits, held with a watch that tells when it is lost, given back
//! once the pod's last process has ended. The value that reaches the containers is [`ClaimValue`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use tokio::sync::watch;

use crate::BoxFuture;

/// Hands out one kind of thing a pod can ask for.
pub trait Provider: Send + Sync {
    /// What it serves on this machine, for refusals and for `outrigger resources`.
    fn serves(&self) -> Vec<Served>;

    /// Takes everything that this pod asks of this provider, or nothing.
    ///
    /// It may wait (for a place in a queue) and then tells where it stands by `progress`. Dropping the future gives up
    /// waiting and leaves nothing taken.
    fn claim(
        &self,
        request: ClaimRequest,
        progress: watch::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Box<dyn HeldClaim>, ClaimError>>;

    /// Gives back what a runner that died took for the pod of this uid. No fault where nothing is taken.
    fn clear<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), ClaimError>>;
}

/// A claim that is held.
pub trait HeldClaim: Send + Sync {
    /// What each container gets.
    fn values(&self) -> &BTreeMap<ContainerName, ClaimValue>;

    /// Descriptors whose locks are the claim. The runner hands duplicates of them to the init or keeper of every
    /// container, so that a lock frees only when the pod's last process has ended, also after a kill of the runner.
    fn descriptors(&self) -> Vec<Arc<OwnedFd>>;

    /// Becomes `Some(why)` when the claim is lost; the pod then ends with reason `ClaimLost`.
    fn lost(&self) -> watch::Receiver<Option<String>>;

    /// Gives it back. Called once, after the pod's last process has ended.
    fn give_back(self: Box<Self>) -> BoxFuture<'static, Result<(), ClaimError>>;
}

/// A resource that a provider serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The resource's name as in `limits`: `vendor.example/disk`.
    pub resource: String,
    /// How many there are.
    pub total: u64,
    /// How many are free now; `None` where the provider cannot know.
    pub free: Option<u64>,
}

/// Who asks, and for what.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The pod.
    pub plan: Arc<PodPlan>,
    /// By container, in the order in which containers start: resource name to amount, only resources this provider serves.
    pub containers: Vec<(ContainerName, BTreeMap<String, u64>)>,
}

/// Where a claim stands while it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// For people: "place 3 of 7 in the queue of pool render".
    pub message: String,
}

/// Why a claim was not given, or not given back.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Never on this machine: the pod is refused.
    #[error("{resource} cannot be had here: {why}")]
    Refused {
        /// Which resource.
        resource: String,
        /// Why, and what would help.
        why: String,
    },
    /// Not now: it is tried again with back-off.
    #[error("{resource} cannot be had now: {why}")]
    Unavailable {
        /// Which resource.
        resource: String,
        /// Why.
        why: String,
    },
    /// Giving back failed.
    #[error("{resource} could not be given back: {why}")]
    GiveBack {
        /// Which resource.
        resource: String,
        /// Why, and what to do by hand.
        why: String,
    },
}
