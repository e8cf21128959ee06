//! What a container's fields mean together (`validateContainerCommon`, `validateContainers`, `validateInitContainers`).

use std::collections::BTreeSet;

use super::pod::{check_id, check_profiles};
use super::{names, probe, resources, shown, volume};
use crate::fault::{At, Faults};

/// What the pod decides for all its containers.
pub(super) struct Scope<'s> {
    pub(super) volumes: &'s BTreeSet<&'s str>,
    pub(super) grace: i64,
    pub(super) has_os: bool,
    pub(super) host_network: bool,
    pub(super) host_users: bool,
}

/// Host address, protocol, port.
pub(super) type HostPort<'v> = (&'v str, &'v str, i64);

/// Checks one container; `init` for those under `initContainers`.
pub(super) fn check_container<'v>(
    at: &At<'_, 'v>,
    init: bool,
    scope: &Scope<'_>,
    host_ports: &mut BTreeSet<HostPort<'v>>,
    faults: &mut Faults,
) {
    names::require(&at.get("name"), names::label, faults);
    let image = at.get("image");
    if image.text().is_some_and(|text| text.trim() != text) {
        faults.error(&image, "must not begin or end with white space");
    }
    check_texts(at, faults);
    let ports = check_ports(at, scope, host_ports, faults);
    check_env(at, faults);
    check_mounts(at, scope, faults);
    check_restart(at, faults);
    check_security(at, scope, faults);
    resources::check_resources(&at.get("resources"), resources::container_resource, faults);
    let sidecar = at.get("restartPolicy").text() == Some("Always");
    if init && !sidecar {
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if at.get(key).is_set() {
                let help = "only an init container with restartPolicy: Always (a sidecar) can have one";
                faults.error_with_help(&at.get(key), "cannot be given for an init container", help);
            }
        }
    } else {
        probe::check_probes(at, &ports, scope, faults);
    }
}

/// What a process is given cannot hold a zero byte; a kubelet finds that out at the start.
fn check_texts(at: &At<'_, '_>, faults: &mut Faults) {
    let holds_zero = |at: &At<'_, '_>| at.text().is_some_and(|text| text.contains('\0'));
    let mut check = |at: &At<'_, '_>| {
        if holds_zero(at) {
            faults.error(at, "must not hold a zero byte");
        }
    };
    check(&at.get("workingDir"));
    at.get("command").items().for_each(|word| check(&word));
    at.get("args").items().for_each(|word| check(&word));
    at.get("env").items().for_each(|variable| check(&variable.get("value")));
    at.get("volumeMounts").items().for_each(|mount| check(&mount.get("mountPath")));
}

/// `validateContainerPorts`, `validatePodHostNetworkDeps`. Gives the ports' names.
fn check_ports<'v>(
    at: &At<'_, 'v>,
    scope: &Scope<'_>,
    host_ports: &mut BTreeSet<HostPort<'v>>,
    faults: &mut Faults,
) -> BTreeSet<&'v str> {
    let mut seen = BTreeSet::new();
    for port in at.get("ports").items() {
        let (name, number, host) = (port.get("name"), port.get("containerPort"), port.get("hostPort"));
        names::require(&name, names::port, faults);
        if name.text().is_some_and(|text| !text.is_empty() && !seen.insert(text)) {
            faults.error(&name, "is the name of another port");
        }
        probe::check_port_number(&number, faults);
        let Some(on_host) = host.number().filter(|number| *number != 0) else { continue };
        probe::check_port_number(&host, faults);
        if scope.host_network && number.number() != Some(on_host) {
            faults.error(&host, "must equal containerPort where hostNetwork is true");
        }
        let protocol = port.get("protocol").text().filter(|text| !text.is_empty()).unwrap_or("TCP");
        if !host_ports.insert((port.get("hostIP").text_or_empty(), protocol, on_host)) {
            faults.error(&host, "is the host port of another container port");
        }
    }
    seen
}

/// `ValidateEnv`, `ValidateEnvFrom`.
fn check_env(at: &At<'_, '_>, faults: &mut Faults) {
    for variable in at.get("env").items() {
        names::require(&variable.get("name"), names::variable, faults);
        let source = variable.get("valueFrom");
        if !source.is_set() {
            continue;
        }
        let kinds = ["configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef", "fileKeyRef"];
        let given = kinds.iter().filter(|kind| source.get(kind).is_set()).count();
        if given != 1 {
            let help = format!("use one of {}", kinds.join(", "));
            faults.error_with_help(&source, "must have exactly one source", help);
        } else if !variable.get("value").text_or_empty().is_empty() {
            faults.error(&source, "cannot be given together with value");
        }
        for reference in ["configMapKeyRef", "secretKeyRef"] {
            names::require(&source.get(reference).get("name"), names::subdomain, faults);
            names::require(&source.get(reference).get("key"), names::key, faults);
        }
        check_field_ref(&source.get("fieldRef"), false, faults);
        resources::check_resource_ref(&source.get("resourceFieldRef"), false, faults);
    }
    for from in at.get("envFrom").items() {
        names::require(&from.get("prefix"), names::variable, faults);
        let given = ["configMapRef", "secretRef"].iter().filter(|kind| from.get(kind).is_set()).count();
        if given != 1 {
            faults.error(&from, "must have exactly one of configMapRef and secretRef");
        }
        names::require(&from.get("configMapRef").get("name"), names::subdomain, faults);
        names::require(&from.get("secretRef").get("name"), names::subdomain, faults);
    }
}

/// `validateObjectFieldSelector`; `in_volume` for files, which cannot hold what is known only at a start.
pub(super) fn check_field_ref(at: &At<'_, '_>, in_volume: bool, faults: &mut Faults) {
    const COMMON: [&str; 3] = ["metadata.name", "metadata.namespace", "metadata.uid"];
    const IN_VOLUMES: [&str; 2] = ["metadata.labels", "metadata.annotations"];
    const IN_ENV: [&str; 6] = [
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let path = at.get("fieldPath");
    let Some(text) = path.text().filter(|text| !text.is_empty()) else { return };
    if let Some((map, key)) = subscript(text) {
        if !IN_VOLUMES.contains(&map) {
            faults.error(&path, format!("has a key in [''], which {} cannot have", shown(map)));
        } else if let Some(wrong) =
            names::qualified(&if map == IN_VOLUMES[1] { key.to_lowercase() } else { key.into() })
        {
            faults.error(&path, format!("has the key {:?}, which must be {wrong}", shown(key)));
        }
        return;
    }
    let further: &[&str] = if in_volume { &IN_VOLUMES } else { &IN_ENV };
    // `ConvertDownwardAPIFieldLabel` still knows the old name of spec.nodeName.
    if !COMMON.contains(&text) && !further.contains(&text) && (in_volume || text != "spec.host") {
        let known =
            [&COMMON[..], further, &["metadata.labels['KEY']", "metadata.annotations['KEY']"]].concat().join(", ");
        faults.error_with_help(&path, format!("is {:?}", shown(text)), format!("use one of {known}"));
    }
}

/// `metadata.labels['KEY']` as its two parts (`pkg/fieldpath/fieldpath.go`, `SplitMaybeSubscriptedPath`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// `ValidateVolumeMounts`.
fn check_mounts(at: &At<'_, '_>, scope: &Scope<'_>, faults: &mut Faults) {
    let privileged = at.get("securityContext").get("privileged").flag();
    let mut paths = BTreeSet::new();
    for mount in at.get("volumeMounts").items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.text().is_some_and(|text| !text.is_empty() && !scope.volumes.contains(text)) {
            faults
                .error(&name, format!("is {:?}, but the pod has no volume of this name", shown(name.text_or_empty())));
        }
        if path.text().is_some_and(|text| !text.is_empty() && !paths.insert(text)) {
            faults.error(&path, "is the path of another mount");
        }
        names::require(&path, volume::mount_path, faults);
        names::require(&mount.get("subPath"), names::descending_path, faults);
        names::require(&mount.get("subPathExpr"), names::descending_path, faults);
        let has = |key: &str| !mount.get(key).text_or_empty().is_empty();
        if has("subPath") && has("subPathExpr") {
            faults.error(&mount.get("subPathExpr"), "cannot be given together with subPath");
        }
        let propagation = mount.get("mountPropagation");
        if propagation.text() == Some("Bidirectional") && !privileged {
            faults.error(&propagation, "can be Bidirectional only in a privileged container");
        }
        let recursive = mount.get("recursiveReadOnly");
        if matches!(recursive.text(), Some("Enabled" | "IfPossible")) {
            if !mount.get("readOnly").flag() {
                faults.error(&recursive, "needs readOnly: true");
            }
            if !matches!(propagation.text(), None | Some("" | "None")) {
                faults.error(&recursive, "cannot be given together with a mountPropagation");
            }
        }
    }
}

/// `validateContainerRestartPolicy`, `validateInitContainerRestartPolicy`.
fn check_restart(at: &At<'_, '_>, faults: &mut Faults) {
    let (policy, rules) = (at.get("restartPolicy"), at.get("restartPolicyRules"));
    let count = rules.items().count();
    if count > 0 && !policy.is_set() {
        faults.error(&policy, "is missing, though there are restartPolicyRules");
    }
    if count > 20 {
        faults.error(&rules, "must not have more than 20 rules");
    }
    for rule in rules.items() {
        let codes = rule.get("exitCodes");
        let values = codes.get("values");
        if values.items().count() > 255 {
            faults.error(&values, "must not have more than 255 values");
        }
    }
}

/// `ValidateSecurityContext`.
fn check_security(at: &At<'_, '_>, scope: &Scope<'_>, faults: &mut Faults) {
    let security = at.get("securityContext");
    check_id(&security.get("runAsUser"), faults);
    check_id(&security.get("runAsGroup"), faults);
    check_profiles(&security, faults);
    let process = security.get("procMount");
    if scope.host_users && process.text() == Some("Unmasked") {
        faults.error(&process, "can be Unmasked only where hostUsers is false");
    }
    let escalation = security.get("allowPrivilegeEscalation");
    if escalation.value().as_bool() == Some(false) {
        if security.get("privileged").flag() {
            faults.error(&escalation, "cannot be false in a privileged container");
        }
        let capabilities = security.get("capabilities");
        if capabilities.get("add").items().any(|capability| capability.text() == Some("CAP_SYS_ADMIN")) {
            faults.error(&escalation, "cannot be false where CAP_SYS_ADMIN is added");
        }
    }
}
