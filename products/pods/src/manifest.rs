//! From the command line's manifests to what is to run.
//!
//! ```text
//! files ──source──► objects with places ──kinds──► pods, jobs, ConfigMaps, Secrets ──checked──► Work
//! ```
//!
//! Every fault of every file is collected before anything is said; what the objects mean is `pod-core`'s to know.

pub mod given;
pub mod kinds;
pub mod source;
pub mod token;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use outrigger_config::{Fault, Faults, Severity};
use serde::de::DeserializeOwned;

use crate::args::GivenArgs;
use kinds::{Expected, Sorted};
use source::{Object, read_all};

/// What is to run, and what lies beside it.
#[derive(Debug, Default)]
pub struct Work {
    /// The pods, in their order.
    pub pods: Vec<(Object, Pod)>,
    /// The jobs, in their order.
    pub jobs: Vec<(Object, Job)>,
    /// The `ConfigMaps`.
    pub config_maps: Vec<ConfigMap>,
    /// The Secrets; values from the command line are in one of ours.
    pub secrets: Vec<Secret>,
    /// What was changed in passing, for the user to know.
    pub notes: Vec<String>,
}

/// Reads everything that the command line names.
///
/// # Errors
/// Every fault at once; with `strict` the warnings count as errors.
pub fn load(files: &[String], given: &GivenArgs, strict: bool) -> Result<(Work, Faults), Faults> {
    let mut sorted = Sorted::default();
    let mut faults = Faults::default();
    for (files, expected) in [
        (files, Expected::Any),
        (given.config_maps.as_slice(), Expected::Only("ConfigMap")),
        (given.secrets.as_slice(), Expected::Only("Secret")),
    ] {
        let (objects, more) = read_all(files.iter().map(String::as_str));
        faults.extend(more);
        faults.extend(sorted.take(objects, expected));
    }
    faults.extend(sorted.check());
    if sorted.pods.is_empty() && sorted.jobs.is_empty() && !faults.has_errors() {
        let beside = sorted.config_maps.len() + sorted.secrets.len();
        let message = format!("no Pod and no Job in {}", crate::text::listing(files));
        let help = if beside > 0 { "what lies beside a pod does not run alone" } else { "the manifests are empty" };
        faults.push(Fault::error("outrigger run", message).help(help));
    }
    let mut work = Work::default();
    work.take(sorted, given, &mut faults);
    let fatal = faults.has_errors() || strict && !faults.is_empty();
    if fatal { Err(raised(faults, strict)) } else { Ok((work, faults)) }
}

/// With `--strict` a warning is an error.
fn raised(faults: Faults, strict: bool) -> Faults {
    let raise = |mut fault: Fault| {
        if strict {
            fault.severity = Severity::Error;
        }
        fault
    };
    faults.into_iter().map(raise).collect()
}

impl Work {
    fn take(&mut self, sorted: Sorted, given: &GivenArgs, faults: &mut Faults) {
        let Sorted { pods, jobs, config_maps, secrets } = sorted;
        self.config_maps = config_maps.iter().filter_map(|object| typed(object, faults)).collect();
        self.secrets = secrets.iter().filter_map(|object| typed(object, faults)).collect();
        self.pods = pods.into_iter().filter_map(|object| Some((object.clone(), typed(&object, faults)?))).collect();
        self.jobs = jobs.into_iter().filter_map(|object| Some((object.clone(), typed(&object, faults)?))).collect();
        let _ = given;
    }
}

/// The object as its Kubernetes type, once it is checked.
fn typed<T: DeserializeOwned>(object: &Object, faults: &mut Faults) -> Option<T> {
    match serde_json::from_value(object.value.clone()) {
        Ok(typed) => Some(typed),
        Err(error) => {
            faults.push(object.fault("", format!("is no {}: {error}", object.kind)));
            None
        }
    }
}
