//! Metadata, `ConfigMaps`, Secrets and Jobs (`ValidateObjectMeta`, `ValidateConfigMap`, `ValidateSecret`, `validateJobSpec`).

use super::names::{self, Wrong};
use super::{pod, shown};
use crate::fault::{At, Faults};

/// The greatest content of a `ConfigMap` or Secret (`MaxSecretSize`).
const MOST_BYTES: usize = 1 << 20;
/// Pods of an Indexed job (`maxParallelismForIndexedJob`).
const MOST_PARALLEL: i64 = 100_000;
/// The total size of annotations (`TotalAnnotationSizeLimitB`).
const MOST_ANNOTATIONS: usize = 256 * 1024;

/// `ValidateObjectMeta`: the form of the name is the kind's.
pub(super) fn check_metadata(at: &At<'_, '_>, form: fn(&str) -> Wrong, faults: &mut Faults) {
    let (name, generated) = (at.get("name"), at.get("generateName"));
    let missing = at.is_set() && name.text_or_empty().is_empty();
    if missing && generated.is_set() {
        faults.error_with_help(&name, "is missing", "no server makes one from generateName here: write the name");
    } else if missing {
        faults.error(&name, "is missing");
    }
    names::require(&name, form, faults);
    names::require(&generated, |text| form(text.strip_suffix('-').unwrap_or(text)), faults);
    names::require(&at.get("namespace"), names::label, faults);
    check_labels(at, faults);
}

/// `ValidateLabels`, `ValidateAnnotations`.
fn check_labels(at: &At<'_, '_>, faults: &mut Faults) {
    for (key, at) in at.get("labels").entries() {
        check_key(key, &at, names::qualified, faults);
        names::require(&at, names::label_value, faults);
    }
    let mut size = 0;
    for (key, at) in at.get("annotations").entries() {
        check_key(key, &at, |text| names::qualified(&text.to_lowercase()), faults);
        size += key.len() + at.text_or_empty().len();
    }
    if size > MOST_ANNOTATIONS {
        faults.error(&at.get("annotations"), format!("hold {size} bytes, more than {MOST_ANNOTATIONS}"));
    }
}

fn check_key(key: &str, at: &At<'_, '_>, form: impl Fn(&str) -> Wrong, faults: &mut Faults) {
    if let Some(wrong) = form(key) {
        faults.error(at, format!("has the key {:?}, which must be {wrong}", shown(key)));
    }
}

/// `ValidateConfigMap`.
pub(super) fn check_config_map(at: &At<'_, '_>, faults: &mut Faults) {
    check_metadata(&at.get("metadata"), names::subdomain, faults);
    let mut size = 0;
    for (key, value) in at.get("data").entries() {
        check_key(key, &value, names::key, faults);
        size += value.text_or_empty().len();
        if at.get("binaryData").get(key).is_set() {
            faults.error(&value, "is also a key of binaryData");
        }
    }
    for (key, value) in at.get("binaryData").entries() {
        check_key(key, &value, names::key, faults);
        size += crate::env::decode(value.text_or_empty()).map_or(0, |bytes| bytes.len());
    }
    check_size(at, size, faults);
}

/// `ValidateSecret`. Values are never shown.
pub(super) fn check_secret(at: &At<'_, '_>, faults: &mut Faults) {
    check_metadata(&at.get("metadata"), names::subdomain, faults);
    let (data, texts) = (at.get("data"), at.get("stringData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        check_key(key, &value, names::key, faults);
        size += crate::env::decode(value.text_or_empty()).map_or(0, |bytes| bytes.len());
    }
    for (key, value) in texts.entries() {
        check_key(key, &value, names::key, faults);
        size += value.text_or_empty().len();
    }
    check_size(at, size, faults);
    let needed: &[&str] = match at.get("type").text_or_empty() {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in needed {
        if !data.get(key).is_set() && !texts.get(key).is_set() {
            faults.error(&data.get(key), "is missing, though the type of the Secret needs it");
        }
    }
}

fn check_size(at: &At<'_, '_>, size: usize, faults: &mut Faults) {
    if size > MOST_BYTES {
        faults.error(at, format!("holds {size} bytes, more than {MOST_BYTES}"));
    }
}

/// `ValidateJob`, `validateJobSpec` (`pkg/apis/batch/validation/validation.go`).
pub(super) fn check_job(at: &At<'_, '_>, faults: &mut Faults) {
    check_metadata(&at.get("metadata"), names::subdomain, faults);
    let spec = at.get("spec");
    for key in ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"] {
        if spec.get(key).number().is_some_and(|number| number < 0) {
            faults.error(&spec.get(key), "must not be negative");
        }
    }
    if spec.get("completionMode").text() == Some("Indexed") {
        let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
        if !completions.is_set() {
            faults.error(&completions, "is missing, though completionMode is Indexed");
        }
        if parallelism.number().is_some_and(|number| number > MOST_PARALLEL) {
            faults.error(&parallelism, format!("must be at most {MOST_PARALLEL} for an Indexed job"));
        }
        check_indexed_name(at, &completions, faults);
    }
    let template = spec.get("template");
    check_labels(&template.get("metadata"), faults);
    let pod_spec = template.get("spec");
    let policy = pod_spec.get("restartPolicy");
    if !matches!(policy.text(), Some("OnFailure" | "Never")) && pod_spec.is_set() {
        faults.error(&policy, "must be OnFailure or Never in a Job");
    }
    pod::check_spec(&pod_spec, faults);
}

/// The host name of each pod is the job's name with the greatest index, and must be a label
/// (`ValidateJob`, `validateGeneratedNames`).
fn check_indexed_name(at: &At<'_, '_>, completions: &At<'_, '_>, faults: &mut Faults) {
    let metadata = at.get("metadata");
    let name = metadata.get("name");
    let Some(last) = completions.number().filter(|count| *count > 0).map(|count| count - 1) else { return };
    let host = format!("{}-{last}", name.text_or_empty());
    if name.is_set() && names::label(&host).is_some() && names::subdomain(name.text_or_empty()).is_none() {
        faults.error(
            &name,
            format!("is too long or no label: the host name {:?} of the last pod would be none", shown(&host)),
        );
    }
}
