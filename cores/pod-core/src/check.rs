//! Everything that is wrong with a document, at once: `Pod`, `Job`, `ConfigMap`, `Secret`, `List`.
//!
//! First the shape is compared ([`shape`], [`table`]): types, enums, required and unknown fields. Then what the values mean
//! is checked as the API server does (`pkg/apis/core/validation/validation.go`, `pkg/apis/batch/validation/validation.go`;
//! the function is named at each rule). What Kubernetes knows but nothing here carries out is refused by its field with the
//! way out; what only matters where a cluster places pods is accepted. The work is linear in the document.
//!
//! It reads values, not text: whoever read the text joins line and column to [`Fault::path`](crate::fault::Fault::path).

mod container;
mod names;
mod pod;
mod probe;
mod resources;
mod shape;
mod table;
mod volume;
mod workload;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::Value;

use crate::fault::{At, Fault, Faults, FieldPath};
use shape::Shape;
use table::workload as shapes;

/// Lists in lists are followed this deep.
const DEEPEST_LIST: usize = 8;

/// What a document holds and what is wrong with it.
#[derive(Debug, Default)]
pub struct Checked {
    /// The objects in their order; those with errors are left out.
    pub objects: Vec<Located>,
    /// Those with errors, as far as they can be read, and never to be run: so what they are called and refer to can be
    /// looked at together with all else, and told at once.
    pub unsound: Vec<Located>,
    /// Whether something here could not be read at all that may be a `ConfigMap` or a Secret: then nobody knows what is absent.
    pub unread: bool,
    /// All faults, sorted by place. The document can be run when none is an error.
    pub faults: Vec<Fault>,
}

/// An object and where it stood.
#[derive(Debug)]
pub struct Located {
    /// Its place in the document: empty, or `items[2]` in a `List`. Faults of the object's plan are below it.
    pub path: FieldPath,
    /// The object.
    pub object: Object,
}

/// What can be run, and what goes with it.
#[derive(Debug)]
pub enum Object {
    /// `v1` `Pod`.
    Pod(Box<Pod>),
    /// `batch/v1` `Job`.
    Job(Box<Job>),
    /// `v1` `ConfigMap`.
    ConfigMap(ConfigMap),
    /// `v1` `Secret`.
    Secret(Secret),
}

/// Checks a document, and gives its objects in typed form. Fields that a server sets (status, `managedFields`, …) are
/// accepted and dropped, so what `kubectl get pod -o json` writes can be run.
pub fn check(document: &Value) -> Checked {
    let mut faults = Faults::default();
    let mut checked = Checked::default();
    check_object(&At::root(document), DEEPEST_LIST, &mut faults, &mut checked);
    Checked { faults: faults.finish(), ..checked }
}

fn check_object(at: &At<'_, '_>, lists: usize, faults: &mut Faults, checked: &mut Checked) {
    let before = faults.errors();
    let object = match (at.get("apiVersion").text(), at.get("kind").text()) {
        (Some("v1"), Some("List" | "PodList" | "ConfigMapList" | "SecretList"))
        | (Some("batch/v1"), Some("JobList"))
            if lists > 0 =>
        {
            shape::compare(at, &shape::Kind::Object(&shapes::LIST), faults);
            at.get("items").items().for_each(|at| check_object(&at, lists - 1, faults, checked));
            return;
        }
        (Some("v1"), Some("Pod")) => {
            compare(at, &shapes::POD, faults);
            pod::check_pod(at, faults);
            serde_json::from_value(fields(at, &shapes::POD, faults.errors() == before))
                .ok()
                .map(|pod| Object::Pod(Box::new(pod)))
        }
        (Some("batch/v1"), Some("Job")) => {
            compare(at, &shapes::JOB, faults);
            workload::check_job(at, faults);
            serde_json::from_value(fields(at, &shapes::JOB, faults.errors() == before))
                .ok()
                .map(|job| Object::Job(Box::new(job)))
        }
        (Some("v1"), Some("ConfigMap")) => {
            compare(at, &shapes::CONFIG_MAP, faults);
            workload::check_config_map(at, faults);
            serde_json::from_value(fields(at, &shapes::CONFIG_MAP, faults.errors() == before))
                .ok()
                .map(Object::ConfigMap)
        }
        (Some("v1"), Some("Secret")) => {
            compare(at, &shapes::SECRET, faults);
            workload::check_secret(at, faults);
            serde_json::from_value(fields(at, &shapes::SECRET, faults.errors() == before)).ok().map(Object::Secret)
        }
        (version, kind) => {
            checked.unread |= kind.is_none_or(|kind| kind.starts_with("ConfigMap") || kind.starts_with("Secret"));
            return unknown_kind(at, version, kind, faults);
        }
    };
    let is_sound = faults.errors() == before;
    match object {
        Some(object) if is_sound => checked.objects.push(Located { path: at.path(), object }),
        Some(object) => checked.unsound.push(Located { path: at.path(), object }),
        None => {
            checked.unread = true;
            if is_sound {
                faults.error(at, "cannot be read, though no single field is wrong");
            }
        }
    }
}

/// What the typed object is made from: of one that is not sound without what is not of the type that it should be.
fn fields(at: &At<'_, '_>, shape: &'static Shape, is_sound: bool) -> Value {
    if is_sound { shape.known_fields(at.value()) } else { shape.readable_fields(at.value()) }
}

fn compare(at: &At<'_, '_>, shape: &'static Shape, faults: &mut Faults) {
    shape::compare(at, &shape::Kind::Object(shape), faults);
}

fn unknown_kind(at: &At<'_, '_>, version: Option<&str>, kind: Option<&str>, faults: &mut Faults) {
    const KNOWN: &str = "known are Pod, ConfigMap, Secret and List of apiVersion v1, and Job of batch/v1";
    match (version, kind) {
        _ if !at.value().is_object() => faults.error_with_help(at, "is no Kubernetes object", KNOWN),
        (_, None) => faults.error_with_help(&at.get("kind"), "is missing", KNOWN),
        (None, _) => faults.error_with_help(&at.get("apiVersion"), "is missing", KNOWN),
        (Some(version), Some(kind)) => {
            let message = format!("{} of apiVersion {} cannot be run here", shown(kind), shown(version));
            faults.error_with_help(&at.get("kind"), message, KNOWN);
        }
    }
}

/// A value as messages show it: cut, since a manifest may hold anything.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
