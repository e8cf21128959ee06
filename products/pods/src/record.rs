//! What the state directory says about pods and jobs, joined to what commands need: finding one by name, its Kubernetes
//! object, whether its runner lives.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use outrigger_config::{listing, plain};
use outrigger_pod_directory::{
    DirectoryError, JobSpec, JobStatusFile, Kind, ObjectName, PodSpec, RunDirectory, StateDirectory, StatusFile,
};
use serde_json::{Value, json};

use crate::args::TargetsArgs;
use crate::show::objects;

/// One run of one pod.
#[derive(Clone, Debug)]
pub struct PodRecord {
    /// Where it is written down.
    pub directory: RunDirectory,
    /// What was asked for.
    pub spec: PodSpec,
    /// Where it stands; `None` before its first status.
    pub file: Option<StatusFile>,
    /// The spec, typed.
    pub pod: Pod,
}

/// One run of one Job.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// Where it is written down.
    pub directory: RunDirectory,
    /// What was asked for.
    pub spec: JobSpec,
    /// Where it stands; `None` before its first status.
    pub file: Option<JobStatusFile>,
}

/// A pod or a Job.
#[derive(Clone, Debug)]
pub enum Record {
    /// A pod.
    Pod(Box<PodRecord>),
    /// A Job.
    Job(Box<JobRecord>),
}

impl PodRecord {
    /// Reads a run of a pod.
    pub fn read(directory: RunDirectory) -> Result<Self, DirectoryError> {
        let spec = directory.pod_spec()?;
        let file = directory.status()?;
        let pod = serde_json::from_value(spec.pod.clone())
            .map_err(|source| DirectoryError::Damaged { path: directory.spec_file(), source })?;
        Ok(Self { directory, spec, file, pod })
    }

    /// Its status; that of a pod nothing is known of before the first one was written.
    pub fn status(&self) -> PodStatus {
        let pending = || PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() };
        self.file.as_ref().map_or_else(pending, |file| file.status.clone())
    }

    /// Whether nothing of it is left to happen.
    pub fn has_ended(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.end.is_some())
    }

    /// When it was asked for.
    pub fn created_at(&self) -> Timestamp {
        self.spec.created_at.0
    }

    /// The Kubernetes object: what was asked for, and where it stands.
    pub fn object(&self) -> Value {
        let mut object = self.spec.pod.clone();
        object["metadata"]["creationTimestamp"] = json!(self.spec.created_at);
        object["status"] = json!(self.status());
        objects::of_kind(Kind::Pod, object)
    }
}

impl JobRecord {
    /// Reads a run of a Job.
    pub fn read(directory: RunDirectory) -> Result<Self, DirectoryError> {
        Ok(Self { spec: directory.job_spec()?, file: directory.job_status()?, directory })
    }

    /// Whether nothing of it is left to happen.
    pub fn has_ended(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.end.is_some())
    }

    /// When it was asked for.
    pub fn created_at(&self) -> Timestamp {
        self.spec.created_at.0
    }

    /// The Kubernetes object: what was asked for, and where it stands.
    pub fn object(&self) -> Value {
        let mut object = self.spec.job.clone();
        object["metadata"]["creationTimestamp"] = json!(self.spec.created_at);
        object["status"] = json!(self.file.as_ref().map(|file| file.status.clone()).unwrap_or_default());
        objects::of_kind(Kind::Job, object)
    }
}

impl Record {
    /// Reads the run in a directory.
    pub fn read(directory: RunDirectory) -> Result<Self, DirectoryError> {
        match directory.kind() {
            Kind::Pod => PodRecord::read(directory).map(|record| Self::Pod(Box::new(record))),
            Kind::Job => JobRecord::read(directory).map(|record| Self::Job(Box::new(record))),
        }
    }

    /// Where it is written down.
    pub fn directory(&self) -> &RunDirectory {
        match self {
            Self::Pod(record) => &record.directory,
            Self::Job(record) => &record.directory,
        }
    }

    /// Whether nothing of it is left to happen.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Pod(record) => record.has_ended(),
            Self::Job(record) => record.has_ended(),
        }
    }

    /// The Kubernetes object.
    pub fn object(&self) -> Value {
        match self {
            Self::Pod(record) => record.object(),
            Self::Job(record) => record.object(),
        }
    }

    /// `pod web` or `job import`.
    pub fn label(&self) -> String {
        let directory = self.directory();
        format!("{} {}", directory.kind(), directory.name())
    }
}

/// The newest run of everything, in order of name: jobs, then pods. What cannot be read is told by `note`, not fatal.
pub fn newest(state: &StateDirectory, mut note: impl FnMut(String)) -> Result<Vec<Record>, DirectoryError> {
    let mut records = Vec::new();
    for kind in [Kind::Job, Kind::Pod] {
        for name in state.names(kind)? {
            let read = state.latest(kind, &name).and_then(Record::read);
            match read {
                Ok(record) => records.push(record),
                // Its last run was removed; the name's lock stays.
                Err(DirectoryError::Missing { .. }) => {}
                Err(error) => note(format!("{kind} {name} is left out: {}", chain(&error))),
            }
        }
    }
    Ok(records)
}

/// An error with its causes, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    plain(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// The directory of the newest run that a user's word names.
///
/// A word is `NAME`, `NAMESPACE/NAME`, `pod/NAME` or `job/NAME`; a bare name is a pod's, else a Job's.
pub fn find(state: &StateDirectory, word: &str, namespace: Option<&str>) -> Result<RunDirectory, FindError> {
    let (kinds, name): (&[Kind], &str) = match word.split_once('/') {
        Some(("pod" | "pods" | "po", name)) => (&[Kind::Pod], name),
        Some(("job" | "jobs", name)) => (&[Kind::Job], name),
        _ => (&[Kind::Pod, Kind::Job], word),
    };
    let (namespace, name) = match (namespace, name.split_once('/')) {
        (None, Some((namespace, name))) => (Some(namespace), name),
        _ => (namespace, name),
    };
    for &kind in kinds {
        let mut names = state.names(kind)?;
        names.retain(|known| known.name() == name && namespace.is_none_or(|wanted| known.namespace() == wanted));
        match names.as_slice() {
            [] => (),
            [one] => return Ok(state.latest(kind, one)?),
            several => {
                let names: Vec<String> = several.iter().map(full).collect();
                return Err(FindError::Several { name: name.to_owned(), names });
            }
        }
    }
    let known = kinds.iter().map(|kind| state.names(*kind)).collect::<Result<Vec<_>, _>>()?.concat();
    let near = outrigger_config::nearest(name, known.iter().map(ObjectName::name)).map(str::to_owned);
    Err(FindError::Missing { word: word.to_owned(), near, state: state.root().display().to_string() })
}

/// The same for each of the words that a command is given; the first that leads nowhere is the error.
pub fn find_all(state: &StateDirectory, targets: &TargetsArgs) -> Result<Vec<RunDirectory>, FindError> {
    targets.names.iter().map(|word| find(state, word, targets.namespace.as_deref())).collect()
}

/// `NAMESPACE/NAME`, the default namespace too.
fn full(name: &ObjectName) -> String {
    format!("{}/{}", name.namespace(), name.name())
}

/// Why a name leads to no pod or Job.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error(
        "there is no pod or job {word} in {state}; {}`outrigger ps` lists those there are",
        .near.as_ref().map(|near| format!("did you mean {near}? ")).unwrap_or_default()
    )]
    Missing {
        /// The word as given.
        word: String,
        /// The nearest name.
        near: Option<String>,
        /// The state directory.
        state: String,
    },
    /// There are several.
    #[error("{name} is the name of several: {}; choose one with --namespace", listing(.names))]
    Several {
        /// The name.
        name: String,
        /// With their namespaces.
        names: Vec<String>,
    },
    /// The state directory cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}
