//! What the files of a run hold. Each carries `format`; a newer one than ours is refused by name, an older one is read.
//!
//! When changing this: a new field gets `#[serde(default)]`; anything else raises [`FORMAT`], and [`upgrade`] turns the
//! previous format into the new one. The recorded samples in `tests/formats/` stay and must keep being read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_pod_core::claim::Given;
use outrigger_pod_core::life::Note;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DirectoryError, RunnerIdentity, read, write};

/// The format that this release writes.
pub const FORMAT: u32 = 1;

/// `spec.json` of a pod: what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The `v1.Pod`, with namespace, name and uid. It names Secrets and holds none of their values.
    pub pod: Value,
    /// The launcher's name: `host` or `apptainer`.
    pub launcher: String,
    /// When the run was asked for.
    pub created_at: Time,
    /// The Job (in the same namespace) that this pod is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Exempt from every automatic removal.
    #[serde(default)]
    pub keep: bool,
    /// The caller's own options, for `describe`; never a secret.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// `status.json` of a pod: where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusFile {
    /// The `v1.PodStatus` as a kubelet would report it.
    pub status: PodStatus,
    /// The state machine's record, from which it is built again.
    pub record: Value,
    /// Whether its claims are held and its volumes stand.
    #[serde(default)]
    pub stands: bool,
    /// The process that runs, or ran, the pod.
    pub runner: RunnerIdentity,
    /// The control socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
    /// For containers whose command could not be executed at their last start: what a shell would exit with, 126 or 127.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_executed: BTreeMap<String, i32>,
    /// By container, what it was given last of what providers hand out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<String, Vec<RecordedGiven>>,
    /// What happened, oldest first; at most [`StatusFile::NOTES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<RecordedNote>,
    /// Set once the pod has ended and nothing of it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl StatusFile {
    /// How many notes are kept; the oldest go first.
    pub const NOTES: usize = 100;
}

/// What a container was given, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedGiven {
    /// The resource.
    pub resource: String,
    /// Which of it.
    pub id: String,
    /// Where it is on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

impl From<&Given> for RecordedGiven {
    fn from(given: &Given) -> Self {
        let Given { resource, id, paths } = given.clone();
        Self { resource, id, paths }
    }
}

/// A note as it is kept; the same note told again only counts up, as a kubelet's event does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedNote {
    /// The container it is about; `None`: the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `Warning` instead of `Normal`.
    #[serde(default)]
    pub warning: bool,
    /// The kubelet's reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// How often it was told.
    pub count: u32,
    /// When first.
    pub first: Time,
    /// When last.
    pub last: Time,
}

impl RecordedNote {
    /// Adds what was told now to the notes of a [`StatusFile`], and drops the oldest of too many.
    pub fn add(notes: &mut Vec<Self>, note: &Note, now: Timestamp) {
        let container = note.container.as_ref().map(|name| name.0.as_str());
        let same = notes.iter_mut().rev().find(|old| {
            old.reason == note.reason && old.message == note.message && old.container.as_deref() == container
        });
        if let Some(old) = same {
            old.count += 1;
            old.last = Time(now);
        } else {
            notes.push(Self {
                container: container.map(str::to_owned),
                warning: note.warning,
                reason: note.reason.clone().into_owned(),
                message: note.message.clone(),
                count: 1,
                first: Time(now),
                last: Time(now),
            });
        }
        let surplus = notes.len().saturating_sub(StatusFile::NOTES);
        notes.drain(..surplus);
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// When nothing of the pod was left.
    pub at: Time,
    /// Why.
    pub why: Ending,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The pod came to its end: `Succeeded` or `Failed`.
    Finished,
    /// Somebody asked for it: `outrigger stop`.
    Stopped,
    /// The runner was told to stop: Ctrl-C, SIGTERM.
    Interrupted,
    /// The caller's own time limit was over.
    TimedOut,
    /// The runner died; a later command wrote this.
    RunnerDied,
}

/// `spec.json` of a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// The `batch/v1.Job`.
    pub job: Value,
    /// The launcher's name for its pods.
    pub launcher: String,
    /// When the run was asked for.
    pub created_at: Time,
    /// Exempt from every automatic removal.
    #[serde(default)]
    pub keep: bool,
    /// The caller's own options, for `describe`; never a secret.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// `status.json` of a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatusFile {
    /// The `batch/v1.JobStatus`.
    pub status: JobStatus,
    /// The process that drives, or drove, the Job.
    pub runner: RunnerIdentity,
    /// The run directories of its pods, as `NAME` and run number.
    #[serde(default)]
    pub pods: Vec<(String, u32)>,
    /// Set once the Job has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// `stop.json` of a Job: somebody wants it to end. A pod is asked at its control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopFile {
    /// Over the pods' own grace, in seconds; 0 kills at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    format: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Writes `body` with its format to `path`.
pub(crate) fn save<T: Serialize>(path: &Path, body: &T, sync: bool) -> Result<(), DirectoryError> {
    write::whole(path, &text(path, body)?, sync)
}

/// As [`save`], by [`write::surely`].
pub(crate) fn save_surely<T: Serialize>(path: &Path, body: &T, sync: bool, last: bool) -> Result<(), DirectoryError> {
    write::surely(path, &text(path, body)?, sync, last)
}

fn text<T: Serialize>(path: &Path, body: &T) -> Result<Vec<u8>, DirectoryError> {
    serde_json::to_vec(&Versioned { format: FORMAT, body })
        .map_err(|source| DirectoryError::Damaged { path: path.to_owned(), source })
}

/// Reads a file that this or the previous release wrote.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, DirectoryError> {
    let text = read::whole(path).map_err(DirectoryError::io("cannot read", path))?;
    let damaged = |source| DirectoryError::Damaged { path: path.to_owned(), source };
    let document: Value = serde_json::from_slice(&text).map_err(damaged)?;
    let found = document.get("format").and_then(Value::as_u64).unwrap_or_default();
    if found > u64::from(FORMAT) {
        return Err(DirectoryError::NewerFormat { path: path.to_owned(), found });
    }
    serde_json::from_value(document).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_was_told_before_counts_up_and_of_too_many_the_newest_stay() {
        let at = |second| Timestamp::new(second, 0).unwrap();
        let note = |message: String| Note { container: None, warning: false, reason: "Pulled".into(), message };
        let mut notes = Vec::new();
        for second in [1, 2] {
            RecordedNote::add(&mut notes, &note("the same".into()), at(second));
        }
        assert_eq!((notes.len(), notes[0].count), (1, 2));
        assert_eq!((&notes[0].first, &notes[0].last), (&Time(at(1)), &Time(at(2))));
        for number in 0..StatusFile::NOTES {
            RecordedNote::add(&mut notes, &note(number.to_string()), at(3));
        }
        assert_eq!((notes.len(), notes[0].message.as_str()), (StatusFile::NOTES, "0"));
    }
}
