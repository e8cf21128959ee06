//! The downward API: a pod's own fields and resources as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ResourceFieldSelector;

use super::{ConfigError, Facts};
use crate::plan::{ContainerPlan, PodPlan};
use crate::quantity::Quantity;

/// The value of a `fieldRef` (`pkg/kubelet/kubelet_pods.go`, `podFieldSelectorRuntimeValue`; `pkg/fieldpath/fieldpath.go`).
pub fn field(plan: &PodPlan, facts: &Facts, path: &str) -> Result<String, ConfigError> {
    let metadata = &plan.pod.metadata;
    let joined =
        |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let first = |addresses: &[std::net::IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.annotations" => &metadata.annotations,
            "metadata.labels" => &metadata.labels,
            _ => return Err(ConfigError(format!("fieldPath {path:?} does not support subscript"))),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => plan.name.clone(),
        "metadata.namespace" => plan.namespace.clone(),
        "metadata.uid" => plan.uid.clone(),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => account(plan),
        "status.hostIP" => first(&facts.addresses.host),
        "status.hostIPs" => joined(&facts.addresses.host),
        "status.podIP" => first(&facts.addresses.pod),
        "status.podIPs" => joined(&facts.addresses.pod),
        _ => return Err(ConfigError(format!("unsupported fieldPath: {path}"))),
    })
}

/// The service account's name, which the API server's admission would have defaulted.
fn account(plan: &PodPlan) -> String {
    let spec = plan.pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.service_account_name.clone().or_else(|| spec.service_account.clone()));
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
}

/// `key="value"` lines in the order of their keys (`FormatMap`).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let quoted = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value)));
    quoted.collect::<Vec<_>>().join("\n")
}

/// A string as Go's `strconv.Quote` writes it.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a `resourceFieldRef` (`pkg/api/v1/resource/helpers.go`, `ExtractContainerResourceValue`): in units of the
/// divisor, rounded up. A container without the limit has what the machine has (`MergeContainerResourceLimits`).
///
/// `own` is the container whose variable it is; volumes name their container.
pub fn resource(
    plan: &PodPlan,
    own: Option<&ContainerPlan>,
    facts: &Facts,
    reference: &ResourceFieldSelector,
) -> Result<String, ConfigError> {
    let named = reference.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => plan.containers.iter().find(|container| container.name.0 == name),
        None => own,
    };
    let missing = || ConfigError(format!("container {} not found", named.unwrap_or_default()));
    let container = container.ok_or_else(missing)?;
    let unsupported = || ConfigError(format!("unsupported container resource : {}", reference.resource));
    let (kind, name) = reference.resource.split_once('.').ok_or_else(unsupported)?;
    let huge = name.starts_with("hugepages-");
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !huge {
        return Err(unsupported());
    }
    let amount = match kind {
        "limits" => {
            let limit = container.limits.get(name).copied().filter(|limit| *limit != Quantity::ZERO);
            let machine = || facts.allocatable.get(name).copied().filter(|_| !huge);
            limit.or_else(|| own.and_then(|_| pod_limit(plan, name))).or_else(machine)
        }
        "requests" => container.requests.get(name).copied(),
        _ => return Err(unsupported()),
    };
    let divisor = divisor(reference)?;
    Ok(in_units(amount.unwrap_or_default(), divisor, name == "cpu").to_string())
}

/// A variable, but not a file, has the limit of the whole pod before that of the machine
/// (`pkg/kubelet/kubelet_resources.go`, `defaultPodLimitsForDownwardAPI`).
fn pod_limit(plan: &PodPlan, name: &str) -> Option<Quantity> {
    let limits = plan.pod.spec.as_ref()?.resources.as_ref()?.limits.as_ref()?;
    let limit = Quantity::parse(&limits.get(name)?.0).ok()?;
    Some(limit).filter(|limit| *limit != Quantity::ZERO && matches!(name, "cpu" | "memory"))
}

fn divisor(reference: &ResourceFieldSelector) -> Result<Quantity, ConfigError> {
    let Some(written) = &reference.divisor else { return Ok(Quantity::whole(1)) };
    let divisor =
        Quantity::parse(&written.0).map_err(|fault| ConfigError(format!("divisor {:?}: {fault}", written.0)))?;
    Ok(if divisor == Quantity::ZERO { Quantity::whole(1) } else { divisor })
}

/// CPU counts in thousandths, everything else in whole units; the quotient is rounded up.
fn in_units(amount: Quantity, divisor: Quantity, is_cpu: bool) -> i64 {
    let (amount, divisor) =
        if is_cpu { (amount.millis(), divisor.millis()) } else { (amount.value(), divisor.value()) };
    let divisor = divisor.max(1);
    amount.div_euclid(divisor) + i64::from(amount.rem_euclid(divisor) != 0)
}
