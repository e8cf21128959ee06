//! What of a pod cannot be enforced under Apptainer.

use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::{Launcher, Shortfall};
use outrigger_pod_core::plan::PodPlan;

/// Those of the host launcher, whose surroundings are used, without what Apptainer makes good.
pub fn shortfalls(host: &HostLauncher, plan: &PodPlan) -> Vec<Shortfall> {
    let made_good = ["readOnlyRootFilesystem", "volumeMounts", "hostAliases", "terminationMessagePath"];
    let mut all = host.shortfalls(plan);
    all.retain(|shortfall| !made_good.iter().any(|field| shortfall.path.ends_with(field)));
    for shortfall in &mut all {
        shortfall.message = shortfall.message.replace("the host launcher", "the apptainer launcher");
    }
    all
}
