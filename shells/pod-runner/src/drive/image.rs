//! Sees that a container's image is there, as its policy says.

use std::sync::Arc;

use outrigger_launcher::{ImageError, ImageState};
use outrigger_pod_core::life::{Event, ImageProblem, Instance, Pulled};
use outrigger_pod_core::plan::{ContainerPlan, PullPolicy};
use tokio::time::Instant;

use super::pod::Pod;

/// Looks for the image of a run, fetches it where it must, and tells the machine how that went.
pub(super) async fn ensure(pod: Arc<Pod>, instance: Instance) {
    let Some(container) = pod.plan.container(&instance.container) else { return };
    let Some(ensured) = pod.ending.run_until_cancelled(find_or_fetch(&pod, &instance, container)).await else { return };
    let event = match ensured {
        Ok((image_id, pulled)) => Event::ImageReady { instance, image_id, pulled },
        Err(ImageError { problem, message }) => Event::ImageFailed { instance, problem, message },
    };
    pod.tell(event).await;
}

/// `pkg/kubelet/images/image_manager.go`, `EnsureImageExists`.
async fn find_or_fetch(
    pod: &Pod,
    instance: &Instance,
    container: &ContainerPlan,
) -> Result<(String, Option<Pulled>), ImageError> {
    match (container.pull_policy, pod.launcher.image(container).await?) {
        (_, ImageState::Given(image)) | (PullPolicy::Never | PullPolicy::IfNotPresent, ImageState::Present(image)) => {
            return Ok((image.id, None));
        }
        (PullPolicy::Never, ImageState::Absent) => {
            let message = format!("Container image \"{}\" is not present with pull policy of Never", container.image);
            return Err(ImageError { problem: ImageProblem::NeverPull, message });
        }
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, ImageState::Absent) => {}
    }
    pod.tell(Event::PullBegan { instance: instance.clone() }).await;
    let begun = Instant::now();
    let image = pod.launcher.pull(container).await?;
    Ok((image.id, Some(Pulled { took: begun.elapsed(), bytes: image.size })))
}
