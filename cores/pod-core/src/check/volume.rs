//! Volumes (`ValidateVolumes`, `validateVolumeSource`, `validateProjectionSources`).

use std::collections::BTreeSet;

use super::container::check_field_ref;
use super::{names, resources, shown};
use crate::fault::{At, Faults};
use crate::quantity::Quantity;

/// Checks all volumes and gives their names.
pub(super) fn check_volumes<'v>(at: &At<'_, 'v>, faults: &mut Faults) -> BTreeSet<&'v str> {
    let mut seen = BTreeSet::new();
    for volume in at.items() {
        let name = volume.get("name");
        names::require(&name, names::label, faults);
        if name.text().is_some_and(|text| !text.is_empty() && !seen.insert(text)) {
            faults.error(&name, format!("is {:?}, as another volume", shown(name.text_or_empty())));
        }
        check_source(&volume, faults);
    }
    seen
}

fn check_source(at: &At<'_, '_>, faults: &mut Faults) {
    let sources: Vec<_> = at.entries().filter(|(key, _)| *key != "name").collect();
    if sources.len() > 1 {
        let given: Vec<_> = sources.iter().map(|(key, _)| shown(key)).collect();
        faults.error(at, format!("must have exactly one source, but has {}", given.join(", ")));
    }
    let empty = at.get("emptyDir");
    let limit = empty.get("sizeLimit");
    if resources::quantity(&limit).is_some_and(|limit| limit < Quantity::ZERO) {
        faults.error(&limit, "must not be negative");
    }
    let medium = empty.get("medium");
    if !matches!(medium.text_or_empty(), "" | "Memory") {
        let message = format!("is {:?}", shown(medium.text_or_empty()));
        faults.error_with_help(&medium, message, "use Memory, or leave it out for the disk");
    }
    let host = at.get("hostPath");
    names::require(&host.get("path"), names::no_backsteps, faults);
    names::require(&at.get("persistentVolumeClaim").get("claimName"), names::subdomain, faults);
    for key in ["configMap", "secret", "downwardAPI", "projected"] {
        check_mode(&at.get(key).get("defaultMode"), faults);
    }
    let mut paths = BTreeSet::new();
    check_items(&at.get("configMap"), &mut paths, faults);
    check_items(&at.get("secret"), &mut paths, faults);
    check_files(&at.get("downwardAPI"), &mut paths, faults);
    // The paths of all sources of a projection are in one directory.
    for source in at.get("projected").get("sources").items() {
        check_projection(&source, &mut paths, faults);
    }
}

fn check_projection<'v>(at: &At<'_, 'v>, paths: &mut BTreeSet<&'v str>, faults: &mut Faults) {
    let given: Vec<_> = at.entries().map(|(key, _)| shown(key)).collect();
    if given.len() != 1 {
        let help = "use configMap, secret, downwardAPI, serviceAccountToken or clusterTrustBundle";
        faults.error_with_help(at, "must have exactly one source", help);
    }
    check_items(&at.get("configMap"), paths, faults);
    check_items(&at.get("secret"), paths, faults);
    check_files(&at.get("downwardAPI"), paths, faults);
    let (token, bundle) = (at.get("serviceAccountToken"), at.get("clusterTrustBundle"));
    check_path(&token.get("path"), paths, faults);
    let expiration = token.get("expirationSeconds");
    if expiration.number().is_some_and(|seconds| !(600..=1 << 32).contains(&seconds)) {
        faults.error(&expiration, "must be at least 600 and at most 4294967296");
    }
    check_path(&bundle.get("path"), paths, faults);
    if bundle.is_set() && bundle.get("name").is_set() == bundle.get("signerName").is_set() {
        faults.error(&bundle, "must have exactly one of name and signerName");
    }
}

/// `validateKeyToPath` for each item.
fn check_items<'v>(at: &At<'_, 'v>, paths: &mut BTreeSet<&'v str>, faults: &mut Faults) {
    for item in at.get("items").items() {
        check_path(&item.get("path"), paths, faults);
        check_mode(&item.get("mode"), faults);
    }
}

/// `validateDownwardAPIVolumeFile` for each item.
fn check_files<'v>(at: &At<'_, 'v>, paths: &mut BTreeSet<&'v str>, faults: &mut Faults) {
    for file in at.get("items").items() {
        check_path(&file.get("path"), paths, faults);
        check_mode(&file.get("mode"), faults);
        let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
        if field.is_set() == resource.is_set() {
            faults.error(&file, "must have exactly one of fieldRef and resourceFieldRef");
        }
        check_field_ref(&field, true, faults);
        resources::check_resource_ref(&resource, true, faults);
    }
}

fn check_path<'v>(at: &At<'_, 'v>, paths: &mut BTreeSet<&'v str>, faults: &mut Faults) {
    names::require(at, names::file_path, faults);
    if at.text().is_some_and(|text| !text.is_empty() && !paths.insert(text)) {
        faults.error(at, "is the path of another file of this volume");
    }
}

fn check_mode(at: &At<'_, '_>, faults: &mut Faults) {
    if at.number().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        faults.error_with_help(
            at,
            "must be at most 0777",
            "write it in octal with a leading 0, or as the decimal number",
        );
    }
}

/// A mount path without `:`, as the field's documentation asks, and without `..`. A relative one begins at the root, as in a
/// kubelet.
pub(super) fn mount_path(text: &str) -> names::Wrong {
    if text.contains(':') {
        return Some("a path without ':'");
    }
    names::no_backsteps(text)
}
