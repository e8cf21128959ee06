//! An errand: one pod or one Job with everything it is run with, as one value.
//!
//! The foreground carries errands out in its own process. `--detach` hands each to a process of its own, through a pipe:
//! an errand holds the values of Secrets, so it never stands in an argument, a file or a log.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use outrigger_manifest::Beside;
use serde::{Deserialize, Serialize};

use crate::launcher::Chosen;
use crate::record;
use crate::settings::Settings;

/// The format of an errand between two processes of one release.
pub const FORMAT: u32 = 1;

/// One pod or Job, and everything it is run with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errand {
    /// [`FORMAT`].
    pub format: u32,
    /// What is run.
    pub what: What,
    /// What its volumes and variables refer to.
    pub beside: Beside,
    /// How.
    pub how: How,
}

/// What is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// A pod.
    Pod(Box<Pod>),
    /// A Job.
    Job(Box<Job>),
}

/// How it is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct How {
    /// What starts the containers.
    pub launcher: Chosen,
    /// Where it is recorded.
    pub state: PathBuf,
    /// The size above which a log file is followed by a new one.
    pub log_max_size: u64,
    /// How many log files a container has.
    pub log_max_files: u32,
    /// The caller's own limit.
    pub timeout: Option<Duration>,
    /// Exempt from every automatic removal.
    pub keep: bool,
    /// The address to report.
    pub pod_ip: Option<IpAddr>,
    /// Where the machine's configuration is, where that was named.
    pub config_dir: Option<PathBuf>,
}

impl What {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or("default")
    }

    /// `pod web`.
    pub fn label(&self) -> String {
        let kind = if matches!(self, Self::Pod(_)) { "pod" } else { "job" };
        match self.namespace() {
            "default" => format!("{kind} {}", self.name()),
            namespace => format!("{kind} {namespace}/{}", self.name()),
        }
    }

    /// The pod that it is or makes, and where that stands in it.
    pub fn pod(&self) -> (Pod, &'static str) {
        match self {
            Self::Pod(pod) => (*pod.clone(), ""),
            Self::Job(job) => {
                let template = job.spec.clone().unwrap_or_default().template;
                let mut metadata = template.metadata.unwrap_or_default();
                metadata.name.clone_from(&job.metadata.name);
                (Pod { metadata, spec: template.spec, status: None }, "spec.template.")
            }
        }
    }

    /// The spec of that pod.
    pub fn spec(&self) -> Option<&PodSpec> {
        match self {
            Self::Pod(pod) => pod.spec.as_ref(),
            Self::Job(job) => job.spec.as_ref()?.template.spec.as_ref(),
        }
    }

    /// An error about it on one line, its name once.
    pub fn failure(&self, error: &anyhow::Error) -> String {
        let (label, text) = (self.label(), record::chain(&**error));
        if text.starts_with(&label) { text } else { format!("{label}: {text}") }
    }

    fn metadata(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        match self {
            Self::Pod(pod) => &pod.metadata,
            Self::Job(job) => &job.metadata,
        }
    }
}

impl How {
    /// What the settings say about it.
    pub fn new(settings: &Settings, launcher: Chosen) -> Self {
        Self {
            launcher,
            state: settings.state.root().to_owned(),
            log_max_size: settings.log_max_size,
            log_max_files: settings.log_max_files,
            timeout: None,
            keep: false,
            pod_ip: None,
            config_dir: None,
        }
    }
}
