//! What the status says of the pod's resources as a whole (`kubelet_pods.go`, `convertStatusToAPIStatus` and
//! `convertToAPIPodLevelResourcesStatus`; the feature `InPlacePodLevelResourcesVerticalScaling` is on in 1.36).
//!
//! A kubelet reads a running pod's amounts back from its cgroup, where they may be rounded; here they are exact.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::Machine;
use super::phase::Phase;
use crate::plan::{ContainerPlan, Role};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

impl Machine {
    /// `status.allocatedResources` and `status.resources`.
    pub(super) fn pod_resources(&self, phase: Phase) -> (Option<BTreeMap<String, Written>>, ResourceRequirements) {
        let (mut requests, mut limits) = (self.plan.requests.clone(), pod_limits(&self.plan.containers));
        let own = self.plan.pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        for (name, text) in own.into_iter().flat_map(|own| own.limits.iter().flatten()) {
            limits.extend(Quantity::parse(&text.0).map(|amount| (name.clone(), amount)));
        }
        let allocated = self.written(&requests);
        if phase != Phase::Pending {
            // What a cgroup holds: CPU and memory, limited only where the pod itself or every container is
            // (`pkg/kubelet/cm/helpers_linux.go`, `ResourceConfigForPod`).
            let of_pod =
                |name: &String| own.and_then(|own| own.limits.as_ref()).is_some_and(|it| it.contains_key(name));
            let everywhere =
                |name: &String| of_pod(name) || self.plan.containers.iter().all(|it| it.limits.contains_key(name));
            requests.retain(|name, _| matches!(name.as_str(), "cpu" | "memory"));
            limits.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") && everywhere(name));
        }
        let resources = ResourceRequirements {
            requests: self.written(&requests),
            limits: self.written(&limits),
            ..ResourceRequirements::default()
        };
        (allocated, resources)
    }

    /// Amounts in the form in which the first container of the manifest writes that resource.
    fn written(&self, amounts: &Amounts) -> Option<BTreeMap<String, Written>> {
        let spec = self.plan.pod.spec.as_ref()?;
        let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let binary = |name: &String| {
            let resources = all().filter_map(|container| container.resources.as_ref());
            let mut texts = resources.flat_map(|it| it.requests.iter().chain(&it.limits)).filter_map(|it| it.get(name));
            texts.next().is_some_and(|text| text.0.ends_with('i'))
        };
        let texts = amounts.iter().map(|(name, amount)| (name.clone(), Written(canonical(*amount, binary(name)))));
        Some(texts.collect()).filter(|all: &BTreeMap<_, _>| !all.is_empty())
    }
}

/// `k8s.io/component-helpers/resource/helpers.go`, `PodLimits`: as for requests.
fn pod_limits(containers: &[ContainerPlan]) -> Amounts {
    let (mut together, mut sidecars, mut most) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in containers {
        let mut beside = sidecars.clone();
        for (name, amount) in &container.limits {
            let add = |to: &mut Amounts| {
                let sum = to.entry(name.clone()).or_default();
                *sum = sum.plus(*amount);
            };
            add(&mut beside);
            if container.role != Role::Init {
                add(&mut together);
            }
        }
        if container.role == Role::Sidecar {
            sidecars.clone_from(&beside);
        }
        if container.role != Role::Main {
            for (name, amount) in beside {
                let value = most.entry(name).or_default();
                *value = (*value).max(amount);
            }
        }
    }
    for (name, amount) in most {
        let value = together.entry(name).or_default();
        *value = (*value).max(amount);
    }
    together
}

/// The canonical text of `apimachinery/pkg/api/resource/quantity.go`: the largest suffix that leaves a whole number.
fn canonical(amount: Quantity, binary: bool) -> String {
    let plain = amount.to_string();
    let Ok(mut number) = plain.parse::<u64>() else { return plain };
    let (step, suffixes): (u64, [&str; 6]) =
        if binary { (1024, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]) } else { (1000, ["k", "M", "G", "T", "P", "E"]) };
    let mut suffix = "";
    for larger in suffixes {
        if number == 0 || !number.is_multiple_of(step) {
            break;
        }
        number /= step;
        suffix = larger;
    }
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::life::Options;
    use crate::plan::PodPlan;

    #[test]
    fn limits_of_the_pod_itself_hold_whatever_its_containers_have() {
        let pod = serde_json::json!({"metadata": {"name": "p"}, "spec": {
            "resources": {"limits": {"cpu": "2"}},
            "containers": [{"name": "a", "resources": {"limits": {"memory": "1Gi"}}}, {"name": "b"}],
        }});
        let plan = PodPlan::new(serde_json::from_value(pod).unwrap(), "u").unwrap();
        let machine = Machine::new(Arc::new(plan), Options::default(), jiff::Timestamp::UNIX_EPOCH);
        let (_, resources) = machine.pod_resources(Phase::Running);
        assert_eq!(resources.limits, Some([("cpu".to_owned(), Written("2".to_owned()))].into()));
    }

    #[test]
    fn amounts_are_written_as_kubernetes_does() {
        let table = [
            ("1500m", false, "1500m"),
            ("2", false, "2"),
            ("0", false, "0"),
            ("1000", false, "1k"),
            ("1500", false, "1500"),
            ("65536Ki", true, "64Mi"),
            ("1.5Gi", true, "1536Mi"),
            ("500", true, "500"),
        ];
        for (text, binary, expected) in table {
            assert_eq!(canonical(Quantity::parse(text).unwrap(), binary), expected, "{text}");
        }
    }
}
