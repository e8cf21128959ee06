//! Hooks and probes of a running container, asked by [`crate::probe`].

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::ContainerId;
use outrigger_pod_core::life::{Event, HookKind, HookOutcome, Instance, ProbeKind, ProbeOutcome};
use outrigger_pod_core::plan::ContainerPlan;

use super::pod::{Pod, Stand};
use outrigger_probes::{self as probes, Target};

/// A run of a container that is asked.
pub(super) struct Asked {
    pub instance: Instance,
    /// `None` where it does not run.
    pub target: Option<Target>,
}

impl Asked {
    pub fn new(pod: &Pod, stand: Option<&Stand>, instance: Instance, id: Option<ContainerId>) -> Self {
        let address = stand.and_then(|stand| stand.addresses.pod.first().copied());
        let target = id.map(|id| Target {
            plan: Arc::clone(&pod.plan),
            launcher: Arc::clone(&pod.launcher),
            id,
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        });
        Self { instance, target }
    }

    fn container<'a>(&self, pod: &'a Pod) -> Option<&'a ContainerPlan> {
        pod.plan.container(&self.instance.container)
    }
}

/// Runs a hook and tells how it went.
pub(super) async fn hook(pod: Arc<Pod>, asked: Asked, kind: HookKind, limit: Option<Duration>) {
    let container = asked.container(&pod);
    let handler = container.and_then(|container| match kind {
        HookKind::PostStart => container.post_start.as_ref(),
        HookKind::PreStop => container.pre_stop.as_ref(),
    });
    let outcome = match (container, handler, &asked.target) {
        (Some(container), Some(handler), Some(target)) => probes::hook(target, container, handler, limit).await,
        (_, None, _) | (None, ..) => HookOutcome::Done,
        (.., None) => HookOutcome::Failed(format!("container {} does not run", asked.instance.container)),
    };
    pod.tell(Event::HookDone { instance: asked.instance, hook: kind, outcome }).await;
}

/// Asks a probe once and tells what it found, if the container lasts that long.
pub(super) async fn probe(pod: Arc<Pod>, asked: Asked, kind: ProbeKind) {
    let container = asked.container(&pod);
    let plan = container.and_then(|container| match kind {
        ProbeKind::Startup => container.startup.as_ref(),
        ProbeKind::Readiness => container.readiness.as_ref(),
        ProbeKind::Liveness => container.liveness.as_ref(),
    });
    let outcome = match (container, plan, &asked.target) {
        (Some(container), Some(plan), Some(target)) => match probes::ask(target, container, plan).await {
            // What it asked may be gone with the container, which says nothing about its health.
            Some(ProbeOutcome::Failure(_)) if is_gone(target).await => None,
            outcome => outcome,
        },
        // It has ended since.
        _ => None,
    };
    if let Some(outcome) = outcome {
        pod.tell(Event::Probed { instance: asked.instance, kind, outcome }).await;
    }
}

/// How long the end of a container may take to be known after its other processes were killed.
const END_KNOWN: std::time::Duration = std::time::Duration::from_millis(20);

/// Whether the container has ended, or is just about to.
async fn is_gone(target: &Target) -> bool {
    let gone =
        async || matches!(target.launcher.usage(&target.id).await, Err(outrigger_launcher::LaunchError::Gone(_)));
    if gone().await {
        return true;
    }
    tokio::time::sleep(END_KNOWN).await;
    gone().await
}
