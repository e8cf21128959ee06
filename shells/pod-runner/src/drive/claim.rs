//! Taking the claims of a pod: all of them or none.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use outrigger_launcher::claims::{ClaimError, ClaimRequest, HeldClaim, Progress, Provider};
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::life::PrepareProblem;
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use outrigger_pod_core::quantity::Quantity;
use tokio::sync::watch;

use super::pod::{Happened, Pod};
use super::prepare::Failed;

/// The reason of a pod whose resources can never be had here (`pkg/kubelet/lifecycle/predicate.go`).
const NEVER: &str = "UnexpectedAdmissionError";

/// Takes what the pod asks of every provider, one after the other; what was taken goes back where a later one refuses.
pub(super) async fn take(pod: &Pod) -> Result<Vec<Box<dyn HeldClaim>>, Failed> {
    let mut held = Vec::new();
    for provider in &pod.providers {
        let containers = match wanted(&pod.plan, provider.as_ref()) {
            Ok(containers) if containers.is_empty() => continue,
            Ok(containers) => containers,
            Err(message) => {
                give_back(pod, held).await;
                return Err(Failed { problem: PrepareProblem::Claims, message, fatal: Some(NEVER.to_owned()) });
            }
        };
        let request = ClaimRequest { plan: Arc::clone(&pod.plan), containers };
        match wait(pod, provider.as_ref(), request).await {
            Ok(claim) => held.push(claim),
            Err(error) => {
                give_back(pod, held).await;
                let fatal = matches!(error, ClaimError::Refused { .. }).then(|| NEVER.to_owned());
                return Err(Failed { problem: PrepareProblem::Claims, message: error.to_string(), fatal });
            }
        }
    }
    Ok(held)
}

/// Waits for one claim and tells where it stands meanwhile.
async fn wait(pod: &Pod, provider: &dyn Provider, request: ClaimRequest) -> Result<Box<dyn HeldClaim>, ClaimError> {
    let (tell, mut progress) = watch::channel(Progress::default());
    let mut claim = provider.claim(request, tell);
    let mut open = true;
    let taken = loop {
        tokio::select! {
            biased;
            taken = &mut claim => break taken,
            changed = progress.changed(), if open => {
                open = changed.is_ok();
                let message = progress.borrow_and_update().message.clone();
                pod.tell(Happened::Waits((!message.is_empty()).then_some(message))).await;
            }
        }
    };
    pod.tell(Happened::Waits(None)).await;
    taken
}

/// Amounts by resource name, for each container that asks for something.
type Amounts = Vec<(ContainerName, BTreeMap<String, u64>)>;

/// What the containers ask of this provider, in the order in which they start.
fn wanted(plan: &PodPlan, provider: &dyn Provider) -> Result<Amounts, String> {
    let served = provider.serves();
    let mut containers = Vec::new();
    for container in &plan.containers {
        let mut amounts = BTreeMap::new();
        for (resource, amount) in &container.limits {
            if served.iter().any(|served| served.resource == *resource) && *amount > Quantity::ZERO {
                let whole = u64::try_from(amount.value()).ok().filter(|whole| Quantity::whole(*whole) == *amount);
                let whole = whole.ok_or_else(|| {
                    format!(
                        "container {} asks for {amount} of {resource}, which comes in whole ones only",
                        container.name
                    )
                })?;
                amounts.insert(resource.clone(), whole);
            }
        }
        if !amounts.is_empty() {
            containers.push((container.name.clone(), amounts));
        }
    }
    Ok(containers)
}

/// What each container gets from all claims together.
pub(super) fn values(claims: &[Box<dyn HeldClaim>]) -> BTreeMap<ContainerName, ClaimValue> {
    let mut values: BTreeMap<ContainerName, ClaimValue> = BTreeMap::new();
    for claim in claims {
        for (container, value) in claim.values() {
            values.entry(container.clone()).or_default().merge(value.clone());
        }
    }
    values
}

/// The descriptors that keep the claims locked.
pub(super) fn descriptors(claims: &[Box<dyn HeldClaim>]) -> Vec<Arc<OwnedFd>> {
    claims.iter().flat_map(|claim| claim.descriptors()).collect()
}

/// Gives claims back, the last one first; what cannot be given back is told.
pub(super) async fn give_back(pod: &Pod, claims: Vec<Box<dyn HeldClaim>>) {
    for claim in claims.into_iter().rev() {
        if let Err(error) = claim.give_back().await {
            let message = error.to_string();
            pod.tell(Happened::Warn { container: None, reason: "ClaimNotReturned", message }).await;
        }
    }
}
