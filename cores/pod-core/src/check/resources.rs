//! Requests and limits (`validateResourceRequirements`, `validatePodResources`) and references to them.

use super::{names, shape, shown};
use crate::fault::{At, Faults};
use crate::quantity::Quantity;

/// The quantity of a field, where it is one.
pub(super) fn quantity(at: &At<'_, '_>) -> Option<Quantity> {
    Quantity::parse(&shape::amount(at.value())?).ok()
}

/// Limits and requests of a container or a pod; `name` tells which resources it can have.
pub(super) fn check_resources(at: &At<'_, '_>, name: impl Fn(&str) -> names::Wrong, faults: &mut Faults) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    for (key, at) in limits.entries().chain(requests.entries()) {
        if let Some(wrong) = name(key) {
            faults.error(&at, format!("is no resource: {:?} must be {wrong}", shown(key)));
        }
        let Some(amount) = quantity(&at) else { continue };
        if amount < Quantity::ZERO {
            faults.error(&at, "must not be negative");
        } else if !is_fraction_allowed(key) && amount != whole(amount) {
            faults.error(&at, "must be a whole number");
        }
    }
    for (key, at) in requests.entries() {
        let Some(wanted) = quantity(&at) else { continue };
        let limit = limits.get(key);
        match quantity(&limit) {
            Some(limit) if !is_overcommitted(key) && wanted != limit => {
                faults.error(&at, format!("is {wanted}, but must equal the limit of {limit}"));
            }
            Some(limit) if wanted > limit => {
                faults.error(&at, format!("is {wanted}, more than the limit of {limit}"));
            }
            None if !is_overcommitted(key) && !limit.is_set() => {
                faults.error(&limit, "is missing: this resource needs a limit that equals its request");
            }
            _ => (),
        }
    }
}

/// `validatePodResources`, `validatePodResourceConsistency`, `validateOverhead`.
pub(super) fn check_pod_resources(at: &At<'_, '_>, faults: &mut Faults) {
    check_resources(&at.get("resources"), pod_resource, faults);
    let resources = at.get("resources");
    for container in at.get("containers").items() {
        let own = container.get("resources");
        for (key, at) in own.get("limits").entries() {
            let (Some(own), Some(pod)) = (quantity(&at), quantity(&resources.get("limits").get(key))) else { continue };
            if own > pod {
                faults.error(&at, format!("is {own}, more than the pod's limit of {pod}"));
            }
        }
    }
    for (_, at) in at.get("overhead").entries() {
        if quantity(&at).is_some_and(|amount| amount < Quantity::ZERO) {
            faults.error(&at, "must not be negative");
        }
    }
}

/// `validateContainerResourceFieldSelector`; a file must name its container.
pub(super) fn check_resource_ref(at: &At<'_, '_>, in_volume: bool, faults: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let container = at.get("containerName");
    if in_volume && container.text_or_empty().is_empty() {
        faults.error(&container, "is missing");
    }
    let resource = at.get("resource");
    let name = resource.text_or_empty();
    let kind = name.strip_prefix("limits.").or_else(|| name.strip_prefix("requests."));
    let known = kind.is_some_and(|kind| ["cpu", "memory", "ephemeral-storage"].contains(&kind) || is_huge_pages(kind));
    if !known && !name.is_empty() {
        let help = "use limits. or requests. with cpu, memory, ephemeral-storage or hugepages-SIZE";
        faults.error_with_help(&resource, format!("is {:?}", shown(name)), help);
    }
    let divisor = at.get("divisor");
    let Some(amount) = quantity(&divisor).filter(|amount| *amount != Quantity::ZERO) else { return };
    let allowed = |texts: &[&str]| texts.iter().any(|text| Quantity::parse(text) == Ok(amount));
    let (fits, help) = if kind == Some("cpu") {
        (allowed(&["1m", "1"]), "use 1 or 1m")
    } else {
        let units = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
        (allowed(&units), "use 1, or 1 with one of k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei")
    };
    if !fits {
        faults.error_with_help(&divisor, format!("is {amount}"), help);
    }
}

/// `validateContainerResourceName`.
pub(super) fn container_resource(name: &str) -> names::Wrong {
    let native = ["cpu", "memory", "ephemeral-storage"].contains(&name) || is_huge_pages(name);
    let extended = name.contains('/') && names::qualified(name).is_none() && !name.starts_with("requests.");
    (!native && !extended)
        .then_some("cpu, memory, ephemeral-storage, hugepages-SIZE or a name such as example.com/thing")
}

/// `validatePodResourceName`.
fn pod_resource(name: &str) -> names::Wrong {
    let known = ["cpu", "memory"].contains(&name) || is_huge_pages(name);
    (!known).then_some("cpu, memory or hugepages-SIZE for a whole pod")
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// `IsOvercommitAllowed`.
fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// `IsIntegerResourceName`: what is counted in pieces has no fractions.
fn is_fraction_allowed(name: &str) -> bool {
    is_native(name)
}

/// `IsNativeResource`.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn whole(amount: Quantity) -> Quantity {
    Quantity::whole(u64::try_from(amount.value()).unwrap_or(0))
}
