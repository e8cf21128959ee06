//! What goes over the control socket, as types: the requests, the answers and the refusals.
//!
//! When changing this: a new field gets `#[serde(default)]`; anything else is a new [`VERSION`] beside the old one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_directory::End;
use serde::{Deserialize, Serialize};

use super::query;
use crate::handle::Snapshot;

/// The version of the protocol, as in the paths.
pub const VERSION: &str = "v1";

/// The protocol of upgraded streams.
pub(super) const STREAM_PROTOCOL: &str = "outrigger-stream/1";

pub(super) const STATUS_PATH: &str = "/v1/status";
pub(super) const LOGS_PATH: &str = "/v1/logs";
pub(super) const EXEC_PATH: &str = "/v1/exec";
pub(super) const ATTACH_PATH: &str = "/v1/attach";
pub(super) const STOP_PATH: &str = "/v1/stop";
pub(super) const USAGE_PATH: &str = "/v1/usage";

/// Where a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// As a kubelet would report it.
    pub status: PodStatus,
    /// What the pod waits for before its first container, for people: a place in a queue of licenses, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Containers whose command could not be executed at the last start: 126 or 127.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_executed: BTreeMap<String, i32>,
    /// Set once nothing of the pod is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl Status {
    pub(super) fn of(plan: &PodPlan, snapshot: &Snapshot) -> Self {
        let Snapshot { status, running: _, waiting, not_executed, end } = snapshot;
        Self {
            namespace: plan.namespace.clone(),
            name: plan.name.clone(),
            uid: plan.uid.clone(),
            status: status.clone(),
            waiting: waiting.clone(),
            not_executed: not_executed.iter().map(|(name, code)| (name.0.clone(), *code)).collect(),
            end: end.clone(),
        }
    }
}

/// Which log, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The container's name.
    pub container: String,
    /// The run before the current one.
    pub previous: bool,
    /// Go on until the container's run ends.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only lines that were written at this time or later.
    pub since: Option<Timestamp>,
    /// Each line after its time.
    pub timestamps: bool,
    /// Only one of the two streams.
    pub stream: StreamChoice,
}

/// Which output of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamChoice {
    /// Both streams as they were written.
    #[default]
    Both,
    /// stdout alone.
    Stdout,
    /// stderr alone.
    Stderr,
}

impl LogQuery {
    /// The query part of the request's path.
    pub(super) fn to_query(&self) -> String {
        let mut pairs = vec![("container", self.container.clone())];
        for (name, set) in [("previous", self.previous), ("follow", self.follow), ("timestamps", self.timestamps)] {
            if set {
                pairs.push((name, "true".to_owned()));
            }
        }
        pairs.extend(self.tail.map(|lines| ("tail", lines.to_string())));
        pairs.extend(self.since.map(|time| ("since", time.to_string())));
        match self.stream {
            StreamChoice::Both => {}
            StreamChoice::Stdout => pairs.push(("stream", "stdout".to_owned())),
            StreamChoice::Stderr => pairs.push(("stream", "stderr".to_owned())),
        }
        query::encode(&pairs)
    }

    /// Reads what [`LogQuery::to_query`] wrote; the error says what is wrong with which option.
    pub(super) fn from_query(text: &str) -> Result<Self, String> {
        let mut this = Self::default();
        for (name, value) in query::decode(text).map_err(|piece| format!("{piece:?} in the query cannot be read"))? {
            let wrong = || format!("{name}={value:?} in the query is not understood");
            match name.as_str() {
                "container" => this.container = value,
                "previous" => this.previous = value.parse().map_err(|_| wrong())?,
                "follow" => this.follow = value.parse().map_err(|_| wrong())?,
                "timestamps" => this.timestamps = value.parse().map_err(|_| wrong())?,
                "tail" => this.tail = Some(value.parse().map_err(|_| wrong())?),
                "since" => this.since = Some(value.parse().map_err(|_| wrong())?),
                "stream" => {
                    this.stream = match value.as_str() {
                        "stdout" => StreamChoice::Stdout,
                        "stderr" => StreamChoice::Stderr,
                        _ => return Err(wrong()),
                    }
                }
                _ => return Err(wrong()),
            }
        }
        if this.container.is_empty() {
            return Err("the query names no container".to_owned());
        }
        Ok(this)
    }
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecQuery {
    /// The container's name.
    pub container: String,
    /// The command; no shell.
    pub command: Vec<String>,
    /// Whether it gets a stdin.
    #[serde(default)]
    pub stdin: bool,
    /// Whether it gets a terminal, and of which size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Size>,
}

/// A container to attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachQuery {
    /// The container's name.
    pub container: String,
    /// Whether to write to its stdin too.
    #[serde(default)]
    pub stdin: bool,
}

/// A stop of the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopQuery {
    /// Over the pod's own grace, in seconds; zero kills at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

impl StopQuery {
    /// The grace as a duration.
    pub fn grace(&self) -> Option<Duration> {
        self.grace_seconds.map(Duration::from_secs)
    }
}

/// What a running container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// CPU time since its start, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory now, in bytes.
    pub memory_bytes: u64,
}

/// The answer of `/v1/usage`: running containers by name. One whose usage could not be read is missing.
pub(super) type UsageByContainer = BTreeMap<String, ContainerUsage>;

/// Why the runner did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what happened, to what, and what to do.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// What kind of refusal it is, by what the caller will do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalCode {
    /// The request is none that this runner understands (400, 404 for the path, 413, 426).
    BadRequest,
    /// The peer is another user (403).
    Forbidden,
    /// The pod has no such container, or it had no such run (404).
    NotFound,
    /// The container does not run now, or has no stdin to attach to (409).
    NotRunning,
    /// The launcher cannot do this (501).
    Unsupported,
    /// Too many streams are open; later it may work (503).
    Busy,
    /// No answer came within the time limit (504).
    Timeout,
    /// The machine refused (500).
    Failed,
    /// A code that a newer runner knows.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_query_comes_back_as_it_was_written() {
        let query = LogQuery {
            container: "main".into(),
            previous: true,
            follow: true,
            tail: Some(7),
            since: Some("2026-01-02T03:04:05.5Z".parse().unwrap()),
            timestamps: true,
            stream: StreamChoice::Stderr,
        };
        assert_eq!(LogQuery::from_query(&query.to_query()[1..]), Ok(query));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(
            LogQuery::from_query("container=a&tail=-1"),
            Err("tail=\"-1\" in the query is not understood".into())
        );
        assert_eq!(LogQuery::from_query("follow=true"), Err("the query names no container".into()));
    }

    #[test]
    fn the_recorded_documents_of_version_1_are_still_read() {
        let exec = r#"{"container":"main","command":["sh"],"stdin":true,"terminal":{"columns":80,"rows":24}}"#;
        let query: ExecQuery = serde_json::from_str(exec).unwrap();
        assert_eq!(query.terminal, Some(Size { columns: 80, rows: 24 }));
        let stop: StopQuery = serde_json::from_str(r#"{"graceSeconds":3}"#).unwrap();
        assert_eq!(stop.grace(), Some(Duration::from_secs(3)));
        let refusal: Refusal = serde_json::from_str(r#"{"code":"somethingNew","message":"m"}"#).unwrap();
        assert_eq!(refusal.code, RefusalCode::Unknown);
        let status: Status =
            serde_json::from_str(r#"{"namespace":"default","name":"p","uid":"u","status":{"phase":"Running"}}"#)
                .unwrap();
        assert_eq!(status.status.phase.as_deref(), Some("Running"));
    }
}
