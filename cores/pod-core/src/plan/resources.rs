//! What a pod counts for: its effective request, and its quality-of-service class.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::build::{PlanError, quantities};
use super::{ContainerPlan, QosClass, Role};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// Requests of the pod itself, where it has limits (`pkg/apis/core/v1/defaults.go`, `defaultPodRequests`): what its
/// containers ask for together, else what its limits allow.
pub(super) fn default_pod_requests(spec: &mut PodSpec, containers: &[ContainerPlan]) {
    let Some(own) = &mut spec.resources else { return };
    let Some(limits) = own.limits.clone().filter(|limits| !limits.is_empty()) else { return };
    let asked = together(containers).into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
    let asked = asked.map(|(name, amount)| (name, Written(amount.to_string())));
    let allowed = limits.into_iter().filter(|(name, _)| is_pod_level(name));
    let requests = own.requests.get_or_insert_default();
    for (name, amount) in asked.chain(allowed) {
        requests.entry(name).or_insert(amount);
    }
}

/// The effective request of a pod (`k8s.io/component-helpers/resource/helpers.go`, `PodRequests`): that of its containers
/// together; requests of the pod itself replace it for the resources they name; then the overhead.
pub(super) fn pod_requests(spec: &PodSpec, containers: &[ContainerPlan]) -> Result<Amounts, PlanError> {
    let mut total = together(containers);
    let own = spec.resources.as_ref().and_then(|own| own.requests.as_ref());
    let requests = quantities("spec.resources.requests", own)?;
    total.extend(requests.into_iter().filter(|(name, _)| is_pod_level(name)));
    add(&mut total, &quantities("spec.overhead", spec.overhead.as_ref())?);
    Ok(total)
}

/// What containers ask for together (`AggregateContainerRequests`): main containers and sidecars, or the neediest init
/// container beside the sidecars before it, whichever is more.
fn together(containers: &[ContainerPlan]) -> Amounts {
    let mut sidecars = Amounts::new();
    let mut most = Amounts::new();
    for container in containers {
        match container.role {
            Role::Main => {}
            Role::Sidecar => {
                add(&mut sidecars, &container.requests);
                raise(&mut most, &sidecars);
            }
            Role::Init => {
                let mut beside = sidecars.clone();
                add(&mut beside, &container.requests);
                raise(&mut most, &beside);
            }
        }
    }
    let mut total = sidecars;
    for container in containers.iter().filter(|container| container.role == Role::Main) {
        add(&mut total, &container.requests);
    }
    raise(&mut total, &most);
    total
}

/// `IsSupportedPodLevelResource` of the same file.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.plus(*amount);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let value = to.entry(name.clone()).or_default();
        *value = (*value).max(*amount);
    }
}

/// The quality-of-service class (`pkg/apis/core/v1/helper/qos/qos.go`, `ComputePodQOS`).
pub(super) fn qos_class(spec: &PodSpec) -> Result<QosClass, PlanError> {
    let all: Vec<ResourceRequirements> = if let Some(own) = &spec.resources {
        vec![own.clone()]
    } else {
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        containers.map(|container| container.resources.clone().unwrap_or_default()).collect()
    };
    let (mut requests, mut limits, mut guaranteed) = (Amounts::new(), Amounts::new(), true);
    for resources in &all {
        add(&mut requests, &counted(resources.requests.as_ref())?);
        let limited = counted(resources.limits.as_ref())?;
        guaranteed &= limited.len() == 2;
        add(&mut limits, &limited);
    }
    let equal =
        requests.keys().collect::<BTreeSet<_>>() == limits.keys().collect::<BTreeSet<_>>() && requests == limits;
    Ok(match (requests.is_empty() && limits.is_empty(), guaranteed && equal) {
        (true, _) => QosClass::BestEffort,
        (false, true) => QosClass::Guaranteed,
        (false, false) => QosClass::Burstable,
    })
}

/// Only CPU and memory count, and only where they are more than nothing.
fn counted(written: Option<&BTreeMap<String, Written>>) -> Result<Amounts, PlanError> {
    let mut amounts = quantities("resources", written)?;
    amounts.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && *amount > Quantity::ZERO);
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::PodPlan;

    fn plan(spec: &Value) -> PodPlan {
        PodPlan::new(serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap(), "u").unwrap()
    }

    fn asks(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn the_neediest_init_container_counts_where_it_needs_more() {
        let mut sidecar = asks("s", "200m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "initContainers": [sidecar, asks("i", "2")],
            "containers": [asks("a", "500m"), asks("b", "600m")],
            "overhead": {"cpu": "50m"},
        });
        assert_eq!(plan(&spec).requests["cpu"].millis(), 2250);
        let spec = json!({"initContainers": [asks("i", "1")], "containers": [asks("a", "500m"), asks("b", "600m")]});
        assert_eq!(plan(&spec).requests["cpu"].millis(), 1100);
    }

    #[test]
    fn requests_of_the_pod_replace_the_sum() {
        let spec = json!({"resources": {"requests": {"cpu": "3"}}, "containers": [asks("a", "500m")]});
        assert_eq!(plan(&spec).requests["cpu"].millis(), 3000);
    }

    #[test]
    fn limits_of_the_pod_are_its_request_only_where_no_container_asks() {
        let spec = json!({"resources": {"limits": {"cpu": "3", "memory": "1Gi"}}, "containers": [asks("a", "500m")]});
        let requests = plan(&spec).requests;
        assert_eq!((requests["cpu"].millis(), requests["memory"].to_string()), (500, "1Gi".to_owned()));
    }

    #[test]
    fn limits_of_the_pod_alone_guarantee_them_where_its_containers_ask_for_nothing_less() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let table = [
            (json!([{"name": "a"}]), QosClass::Guaranteed),
            (json!([{"name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]), QosClass::Burstable),
            (json!([{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]), QosClass::Guaranteed),
        ];
        for (containers, expected) in table {
            let spec = json!({"resources": both, "containers": containers});
            assert_eq!(plan(&spec).qos_class, expected, "{containers}");
        }
    }

    #[test]
    fn the_class_follows_requests_and_limits_of_all_containers() {
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let table = [
            (json!([{"name": "a"}]), QosClass::BestEffort),
            (json!([{"name": "a", "resources": both}]), QosClass::Guaranteed),
            (json!([{"name": "a", "resources": both}, {"name": "b"}]), QosClass::Burstable),
            (json!([{"name": "a", "resources": {"limits": {"cpu": "1"}}}]), QosClass::Burstable),
            (json!([{"name": "a", "resources": {"limits": {"cpu": "0"}}}]), QosClass::BestEffort),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]),
                QosClass::Burstable,
            ),
        ];
        for (containers, expected) in table {
            assert_eq!(plan(&json!({"containers": containers})).qos_class, expected, "{containers}");
        }
    }
}
