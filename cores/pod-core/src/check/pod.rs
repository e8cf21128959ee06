//! What a pod's fields mean together (`ValidatePodSpec`).

use std::collections::BTreeSet;

use super::container::{Scope, check_container};
use super::{names, resources, volume, workload};
use crate::fault::{At, Faults};

/// The greatest id of a user or group (`IsValidUserID`).
const GREATEST_ID: i64 = i32::MAX as i64;

/// `ValidatePodCreate`.
pub(super) fn check_pod(at: &At<'_, '_>, faults: &mut Faults) {
    workload::check_metadata(&at.get("metadata"), names::subdomain, faults);
    check_spec(&at.get("spec"), faults);
}

/// `ValidatePodSpec`.
pub(super) fn check_spec(at: &At<'_, '_>, faults: &mut Faults) {
    let volumes = volume::check_volumes(&at.get("volumes"), faults);
    check_containers(at, &volumes, faults);
    check_numbers(at, faults);
    check_names(at, faults);
    check_network(at, faults);
    check_security(at, faults);
    resources::check_pod_resources(at, faults);
}

fn check_containers(at: &At<'_, '_>, volumes: &BTreeSet<&str>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let os = at.get("os");
    let scope = Scope {
        volumes,
        grace: at.get("terminationGracePeriodSeconds").number().unwrap_or(30),
        has_os: os.get("name").is_set(),
        host_network: at.get("hostNetwork").flag(),
        host_users: at.get("hostUsers").value().as_bool().unwrap_or(true),
    };
    for list in ["containers", "initContainers"] {
        for container in at.get(list).items() {
            let name = container.get("name");
            if name.text().is_some_and(|text| !text.is_empty() && !seen.insert(text)) {
                faults.error(&name, format!("is {:?}, as another container", super::shown(name.text_or_empty())));
            }
            // Init containers run one by one, so their ports cannot collide with others (`checkHostPortConflicts`).
            if list == "initContainers" {
                host_ports.clear();
            }
            check_container(&container, list == "initContainers", &scope, &mut host_ports, faults);
        }
    }
}

fn check_numbers(at: &At<'_, '_>, faults: &mut Faults) {
    let deadline = at.get("activeDeadlineSeconds");
    if deadline.number().is_some_and(|seconds| !(1..=GREATEST_ID).contains(&seconds)) {
        faults.error(&deadline, "must be at least 1 and at most 2147483647");
    }
    let grace = at.get("terminationGracePeriodSeconds");
    if grace.number().is_some_and(|seconds| !(0..=GREATEST_ID).contains(&seconds)) {
        faults.error(&grace, "must not be negative, and at most 2147483647");
    }
}

fn check_names(at: &At<'_, '_>, faults: &mut Faults) {
    names::require(&at.get("hostname"), names::label, faults);
    names::require(&at.get("subdomain"), names::label, faults);
    names::require(&at.get("serviceAccountName"), names::subdomain, faults);
    names::require(&at.get("nodeName"), names::subdomain, faults);
    names::require(&at.get("priorityClassName"), names::subdomain, faults);
    names::require(&at.get("runtimeClassName"), names::subdomain, faults);
    // `validatePodHostName`.
    let hostname = at.get("hostnameOverride");
    names::require(&hostname, names::subdomain, faults);
    if hostname.is_set() && at.get("setHostnameAsFQDN").flag() {
        faults.error(&hostname, "cannot be given together with setHostnameAsFQDN");
    }
    if hostname.is_set() && at.get("hostNetwork").flag() {
        faults.error(&hostname, "cannot be given together with hostNetwork");
    }
    if hostname.text().is_some_and(|text| text.len() > 64) {
        faults.error(&hostname, "must be at most 64 characters");
    }
}

/// `validatePodDNSConfig`, `ValidateHostAliases`.
fn check_network(at: &At<'_, '_>, faults: &mut Faults) {
    let config = at.get("dnsConfig");
    let servers = config.get("nameservers");
    if at.get("dnsPolicy").text() == Some("None") && servers.items().next().is_none() {
        faults.error(&servers, "must name at least one server where dnsPolicy is None");
    }
    if servers.items().count() > 3 {
        faults.error(&servers, "must not name more than 3 servers");
    }
    servers.items().for_each(|server| names::require(&server, names::address, faults));
    let searches = config.get("searches");
    let length: usize = searches.items().map(|search| search.text_or_empty().len() + 1).sum();
    if searches.items().count() > 32 || length > 2049 {
        faults.error(&searches, "must not have more than 32 entries and 2048 characters");
    }
    for alias in at.get("hostAliases").items() {
        names::require(&alias.get("ip"), names::address, faults);
        alias.get("hostnames").items().for_each(|name| names::require(&name, names::subdomain, faults));
    }
}

/// `validatePodSpecSecurityContext`, `validateHostUsers`.
fn check_security(at: &At<'_, '_>, faults: &mut Faults) {
    let security = at.get("securityContext");
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        check_id(&security.get(id), faults);
    }
    security.get("supplementalGroups").items().for_each(|id| check_id(&id, faults));
    check_profiles(&security, faults);
    let mut seen = BTreeSet::new();
    for sysctl in security.get("sysctls").items() {
        let name = sysctl.get("name");
        if name.text().is_some_and(|text| !seen.insert(text.replace('/', "."))) {
            faults.error(&name, "is set twice");
        }
    }
    let shared = at.get("shareProcessNamespace");
    if shared.flag() && at.get("hostPID").flag() {
        faults.error(&shared, "cannot be given together with hostPID");
    }
    if at.get("hostUsers").value().as_bool() == Some(false) {
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            if at.get(key).flag() {
                faults.error(&at.get(key), "cannot be given where hostUsers is false");
            }
        }
    }
}

/// `IsValidUserID`, `IsValidGroupID`.
pub(super) fn check_id(at: &At<'_, '_>, faults: &mut Faults) {
    if at.number().is_some_and(|id| !(0..=GREATEST_ID).contains(&id)) {
        faults.error(at, "must be at least 0 and at most 2147483647");
    }
}

/// `validateSeccompProfileField`, `ValidateAppArmorProfileField`.
pub(super) fn check_profiles(security: &At<'_, '_>, faults: &mut Faults) {
    for key in ["seccompProfile", "appArmorProfile"] {
        let at = security.get(key);
        let (local, path) = (at.get("type").text() == Some("Localhost"), at.get("localhostProfile"));
        if local && path.text_or_empty().is_empty() {
            faults.error(&path, "is missing, though type is Localhost");
        } else if !local && at.get("type").is_set() && path.is_set() {
            faults.error(&path, "can only be given where type is Localhost");
        } else if key == "seccompProfile" {
            names::require(&path, names::descending_path, faults);
        }
    }
}
