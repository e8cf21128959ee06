//! What a pod stands on: claims, then namespaces, then volumes; taken down in the opposite order.

use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{MemoryVolume, PodRequest};
use outrigger_pod_core::life::{Event, PodAddresses, PrepareProblem};
use outrigger_pod_directory::volumes::{Limited, VolumeError, Volumes};
use tokio::sync::watch;
use tokio::time::sleep;

use super::pod::{Happened, Pod, Stand};
use super::{claim, in_words, resolve};

/// How often volumes on disk are measured (the kubelet's eviction manager: `pkg/kubelet/kubelet.go`,
/// `evictionMonitoringPeriod`).
const MEASURE: Duration = Duration::from_secs(10);

/// How often taking a pod down is tried before it is left to the next command, and the pause between.
const REMOVE_TRIES: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_secs(1);

/// Why a pod does not stand.
pub(super) struct Failed {
    pub problem: PrepareProblem,
    pub message: String,
    /// `Some(reason)`: no later attempt can succeed.
    pub fatal: Option<String>,
}

impl From<VolumeError> for Failed {
    fn from(error: VolumeError) -> Self {
        let message = in_words(error);
        Self { problem: PrepareProblem::Volumes, message, fatal: None }
    }
}

/// Prepares the pod, unless its end comes first.
pub(super) async fn prepare(pod: Arc<Pod>) {
    let happened = match pod.ending.run_until_cancelled(stand(&pod)).await {
        Some(Ok(stand)) => Happened::Stands(Box::new(stand)),
        Some(Err(Failed { problem, message, fatal })) => Event::PrepareFailed { problem, message, fatal }.into(),
        None => return,
    };
    pod.tell(happened).await;
}

/// Everything the pod stands on. Repeating it gives the same.
pub(super) async fn stand(pod: &Pod) -> Result<Stand, Failed> {
    let claims = claim::take(pod).await?;
    match stand_on(pod).await {
        Ok((volumes, addresses)) => Ok(Stand { values: claim::values(&claims), claims, volumes, addresses }),
        Err(failed) => {
            claim::give_back(pod, claims).await;
            Err(failed)
        }
    }
}

async fn stand_on(pod: &Pod) -> Result<(Volumes, PodAddresses), Failed> {
    let request = PodRequest {
        plan: Arc::clone(&pod.plan),
        directory: pod.directory.path().to_owned(),
        hostname: resolve::hostname(&pod.plan),
        memory_volumes: memory_volumes(pod),
        pod_ip: pod.options.pod_ip,
    };
    let prepared = pod.launcher.prepare(request).await;
    let prepared = prepared.map_err(|error| {
        let message = in_words(error);
        Failed { problem: PrepareProblem::Sandbox, message, fatal: None }
    })?;
    let volumes = resolve::volumes(pod, &prepared)?;
    Ok((volumes, prepared.addresses))
}

fn memory_volumes(pod: &Pod) -> Vec<MemoryVolume> {
    pod.plan.volumes.iter().filter_map(outrigger_pod_directory::volumes::in_memory).collect()
}

/// Takes down what the pod stood on. The claims go back last, when nothing of the pod is left.
pub(super) async fn remove(pod: Arc<Pod>, stand: Option<Arc<Stand>>) {
    for left in (0..REMOVE_TRIES).rev() {
        match pod.launcher.remove(&pod.plan.uid).await {
            Ok(()) => break,
            Err(error) if left == 0 => {
                let message = in_words(error);
                pod.tell(Happened::Warn { container: None, reason: "FailedKillPod", message }).await;
            }
            Err(_) => sleep(REMOVE_PAUSE).await,
        }
    }
    if let Err(error) = outrigger_pod_directory::volumes::remove(&pod.directory) {
        let message = in_words(error);
        pod.tell(Happened::Warn { container: None, reason: "FailedUnmount", message }).await;
    }
    if let Some(stand) = stand.and_then(Arc::into_inner) {
        claim::give_back(&pod, stand.claims).await;
    }
    pod.tell(Event::Removed).await;
}

/// Ends the pod when its claim is lost.
pub(super) async fn watch_claim(pod: Arc<Pod>, mut lost: watch::Receiver<Option<String>>) {
    let why = async { lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) };
    if let Some(Some(message)) = pod.ending.run_until_cancelled(why).await {
        pod.tell(Event::Evict { reason: "ClaimLost".to_owned(), message }).await;
    }
}

/// Ends the pod when a volume on disk has grown over its limit
/// (`pkg/kubelet/eviction/eviction_manager.go`, `emptyDirLimitEviction`).
pub(super) async fn watch_volumes(pod: Arc<Pod>, limited: Vec<Limited>) {
    let watch = async {
        loop {
            sleep(MEASURE).await;
            for volume in &limited {
                if volume.used() > volume.limit {
                    return volume.excess();
                }
            }
        }
    };
    if let Some(message) = pod.ending.run_until_cancelled(watch).await {
        pod.tell(Event::Evict { reason: "Evicted".to_owned(), message }).await;
    }
}
