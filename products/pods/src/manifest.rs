//! From the command line's manifests to what is to run.
//!
//! ```text
//! files ──source──► checked objects with their places ──► Work: pods, jobs, and what lies beside them
//! ```
//!
//! Every fault of every file is collected before anything is said; what the objects mean is `pod-core`'s to know.

pub mod given;
pub mod source;
pub mod token;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use outrigger_config::{Fault, Faults, Severity};
use outrigger_pod_core::check::Object;

use crate::args::GivenArgs;
use source::{Place, read_all};

/// What is to run, and what lies beside it.
#[derive(Debug, Default)]
pub struct Work {
    /// The pods, in their order.
    pub pods: Vec<(Place, Pod)>,
    /// The jobs, in their order.
    pub jobs: Vec<(Place, Job)>,
    /// The `ConfigMaps`.
    pub config_maps: Vec<ConfigMap>,
    /// The Secrets.
    pub secrets: Vec<Secret>,
}

/// Reads everything that the command line names.
///
/// # Errors
/// Every fault at once; with `strict` the warnings count as errors.
pub fn load(files: &[String], given: &GivenArgs, strict: bool) -> Result<(Work, Faults), Faults> {
    let mut work = Work::default();
    let mut faults = Faults::default();
    let mut seen = Seen::default();
    for (files, only) in [(files, None), (&given.config_maps, Some("ConfigMap")), (&given.secrets, Some("Secret"))] {
        let (objects, more) = read_all(files.iter().map(String::as_str));
        faults.extend(more);
        for (place, object) in objects {
            faults.extend(work.take(place, object, only, &mut seen));
        }
        faults.sort();
    }
    if work.pods.is_empty() && work.jobs.is_empty() && !faults.has_errors() {
        let beside = work.config_maps.len() + work.secrets.len();
        let message = format!("no Pod and no Job in {}", crate::text::listing(files));
        let help = if beside > 0 { "what lies beside a pod does not run alone" } else { "the manifests are empty" };
        faults.push(Fault::error("outrigger run", message).help(help));
    }
    if strict {
        faults = faults.into_iter().map(|fault| Fault { severity: Severity::Error, ..fault }).collect();
    }
    faults.into_result(work)
}

/// The objects so far, by kind, namespace and name.
type Seen = BTreeMap<(&'static str, String, String), Place>;

impl Work {
    fn take(&mut self, place: Place, object: Object, only: Option<&str>, seen: &mut Seen) -> Option<Fault> {
        let (kind, metadata) = match &object {
            Object::Pod(pod) => ("Pod", &pod.metadata),
            Object::Job(job) => ("Job", &job.metadata),
            Object::ConfigMap(map) => ("ConfigMap", &map.metadata),
            Object::Secret(secret) => ("Secret", &secret.metadata),
        };
        let twice = stands_twice(kind, metadata, &place, seen);
        if let Some(only) = only.filter(|only| *only != kind) {
            return Some(
                place.fault("kind", format!("is {kind}, not {only}")).help("name the file as a manifest instead"),
            );
        }
        match object {
            Object::Pod(pod) => self.pods.push((place, *pod)),
            Object::Job(job) => self.jobs.push((place, *job)),
            Object::ConfigMap(map) => self.config_maps.push(map),
            Object::Secret(secret) => self.secrets.push(secret),
        }
        twice
    }
}

fn stands_twice(kind: &'static str, metadata: &ObjectMeta, place: &Place, seen: &mut Seen) -> Option<Fault> {
    let name = metadata.name.clone()?;
    let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let first = seen.insert((kind, namespace, name.clone()), place.clone())?;
    let help = format!("first at {}:{}, remove one of the two", first.file(), first.position());
    Some(place.fault("metadata.name", format!("the {kind} {name} stands twice")).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(
        texts: &[&str],
        given: impl FnOnce(&str) -> GivenArgs,
        strict: bool,
    ) -> Result<(Work, Faults), String> {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(place, text)| {
                let file = directory.path().join(format!("{place}.yaml"));
                std::fs::write(&file, text).unwrap();
                file.to_str().unwrap().to_owned()
            })
            .collect();
        let given = given(directory.path().to_str().unwrap());
        let prefix = format!("{}/", directory.path().display());
        load(&files, &given, strict).map_err(|faults| faults.to_string().replace(&prefix, ""))
    }

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, command: [c]}]}\n";
    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";

    #[test]
    fn an_object_that_stands_twice_is_told_with_both_places() {
        let told = load_text(&[POD, POD], |_| GivenArgs::default(), false).unwrap_err();
        assert_eq!(
            told,
            "1.yaml:3:18: metadata.name: the Pod a stands twice, first at 0.yaml:1:1, remove one of the two"
        );
    }

    #[test]
    fn what_lies_beside_a_pod_does_not_run_alone() {
        let told = load_text(&[MAP], |_| GivenArgs::default(), false).unwrap_err();
        assert!(told.contains("no Pod and no Job in") && told.contains("does not run alone"), "{told}");
    }

    #[test]
    fn a_pod_is_no_config_map() {
        let given =
            |directory: &str| GivenArgs { config_maps: vec![format!("{directory}/1.yaml")], ..GivenArgs::default() };
        assert!(load_text(&[POD], given, false).is_err());
        let given =
            |directory: &str| GivenArgs { secrets: vec![format!("{directory}/0.yaml")], ..GivenArgs::default() };
        let told = load_text(&[MAP], given, false).unwrap_err();
        assert!(told.contains("0.yaml:2:7: kind: is ConfigMap, not Secret"), "{told}");
    }

    #[test]
    fn strict_makes_errors_of_warnings() {
        let text = POD.replace("image: b", "image: b, imagee: c");
        assert_eq!(load_text(&[&text], |_| GivenArgs::default(), false).unwrap().1.len(), 1);
        let told = load_text(&[&text], |_| GivenArgs::default(), true).unwrap_err();
        assert!(!told.contains("warning"), "{told}");
    }
}
