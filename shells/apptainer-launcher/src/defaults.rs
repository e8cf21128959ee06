//! What an image says its containers start with, where the manifest says nothing: `USER` and `WORKDIR`.
//!
//! A user that is a name is not applied: its number stands in the image's own files, which nothing can read before the
//! container is made. It is a shortfall instead.

use std::sync::Arc;

use outrigger_launcher::{Shortfall, StartRequest};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan, Role};

use crate::sif::Config;

/// The request with what the image says for its container.
pub fn applied(mut request: StartRequest, image: &Config) -> StartRequest {
    if request.working_dir.is_none() && !image.working_dir.is_empty() {
        request.working_dir = Some(image.working_dir.clone());
    }
    if image.numeric_user().is_some() {
        let plan = Arc::make_mut(&mut request.plan);
        let own = plan.containers.iter_mut().filter(|container| container.name == request.instance.container);
        own.for_each(|container| become_user(container, image));
    }
    request
}

/// The plan with what its images say, and what of that cannot be had. `config` answers what is known of a container's image.
pub fn planned(plan: &PodPlan, config: impl Fn(&ContainerPlan) -> Option<Config>) -> (PodPlan, Vec<Shortfall>) {
    let (mut plan, mut shortfalls) = (plan.clone(), Vec::new());
    let (mut mains, mut inits) = (0, 0);
    for container in &mut plan.containers {
        let (list, count) =
            if container.role == Role::Main { ("containers", &mut mains) } else { ("initContainers", &mut inits) };
        let index = *count;
        *count += 1;
        let Some(image) = config(container) else { continue };
        if container.security.run_as_user.is_none() && image.user_is_a_name() {
            let message = format!(
                "the image names its user ({}) instead of numbering it, so the container does not run as that user; \
                 give runAsUser",
                image.user
            );
            shortfalls.push(Shortfall { path: format!("spec.{list}[{index}].image"), message });
        }
        become_user(container, &image);
    }
    (plan, shortfalls)
}

/// As containerd does when `runAsUser` is not given (`internal/cri/server/container_create.go`, `getUserFromImage`). Root
/// of an image is whoever runs the pod, as with an image that names nobody.
fn become_user(container: &mut ContainerPlan, image: &Config) {
    let security = &mut container.security;
    let Some((user, group)) = image.numeric_user() else { return };
    if security.run_as_user.is_none() && user != 0 {
        security.run_as_user = Some(user);
        security.run_as_group = security.run_as_group.or(group);
    }
}
