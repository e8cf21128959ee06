//! `outrigger describe`: everything about a pod or a Job, laid out as `kubectl describe` does. Never a Secret's value.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus};
use outrigger_manifest::containers::is_sidecar;
use outrigger_manifest::words;
use outrigger_pod_directory::{Ending, RecordedGiven, RecordedNote, StateDirectory};
use outrigger_terminal::{figures, out, table};

use super::ps::job_state;
use crate::args::DescribeArgs;
use crate::record::{self, JobRecord, PodRecord, Record};
use crate::show::summary::summary;
use crate::view::state::containers;

/// Describes what was named, or everything.
pub fn describe(args: &DescribeArgs, state: &StateDirectory) -> anyhow::Result<i32> {
    let targets = &args.targets;
    let records = if targets.names.is_empty() {
        record::newest(state, |line| out::note(&format!("outrigger describe: {line}")))?
    } else {
        record::find_all(state, targets)?.into_iter().map(Record::read).collect::<Result<_, _>>()?
    };
    let now = Timestamp::now();
    let texts: Vec<String> = records
        .iter()
        .map(|record| match record {
            Record::Pod(pod) => describe_pod(pod, now),
            Record::Job(job) => describe_job(job, now),
        })
        .collect();
    out::print(&texts.join("\n\n"))?;
    Ok(0)
}

fn describe_pod(record: &PodRecord, now: Timestamp) -> String {
    let status = record.status();
    let mut page = Page::default();
    let directory = &record.directory;
    page.line("Name", directory.name().name());
    page.line("Namespace", directory.name().namespace());
    page.line("Status", &summary(&record.pod, &status).status);
    page.some("Reason", status.reason.as_deref());
    page.some("Message", status.message.as_deref());
    page.line("Created", &when(record.created_at(), now));
    if let Some(end) = record.file.as_ref().and_then(|file| file.end.as_ref()) {
        page.line("Ended", &format!("{}, {}", when(end.at.0, now), ending(end.why)));
    }
    page.some("Job", record.spec.job.as_deref());
    page.line("Launcher", &record.spec.launcher);
    page.line("Run", &format!("{} in {}", directory.number(), directory.path().display()));
    if let Some(file) = record.file.as_ref().filter(|file| file.end.is_none()) {
        page.line("Runner", &format!("process {} on {}", file.runner.pid, file.runner.host));
    }
    page.some("IP", status.pod_ip.as_deref());
    page.some("QoS Class", status.qos_class.as_deref());
    let metadata = &record.pod.metadata;
    page.many("Labels", metadata.labels.iter().flatten().map(|(key, value)| format!("{key}={value}")));
    page.many("Annotations", metadata.annotations.iter().flatten().map(|(key, value)| format!("{key}: {value}")));
    let pod_spec = record.pod.spec.clone().unwrap_or_default();
    let init = pod_spec.init_containers.unwrap_or_default();
    let statuses: Vec<&ContainerStatus> = containers(&status).collect();
    let given = record.file.as_ref().map(|file| &file.given);
    let seen = Seen { statuses, given, now };
    page.containers("Init Containers", &init, &seen);
    page.containers("Containers", &pod_spec.containers, &seen);
    let conditions = status.conditions.iter().flatten();
    let conditions = conditions.map(|condition| {
        vec![condition.type_.clone(), condition.status.clone(), condition.reason.clone().unwrap_or_default()]
    });
    page.table("Conditions", &["TYPE", "STATUS", "REASON"], &conditions.collect::<Vec<_>>());
    let volumes = pod_spec.volumes.iter().flatten().map(|volume| vec![volume.name.clone(), words::volume(volume)]);
    page.table("Volumes", &["NAME", "SOURCE"], &volumes.collect::<Vec<_>>());
    page.events(record.file.as_ref().map_or(&[], |file| &file.notes), now);
    page.text
}

fn describe_job(record: &JobRecord, now: Timestamp) -> String {
    let mut page = Page::default();
    let directory = &record.directory;
    page.line("Name", directory.name().name());
    page.line("Namespace", directory.name().namespace());
    page.line("Kind", "Job");
    page.line("Status", &job_state(record));
    page.line("Created", &when(record.created_at(), now));
    if let Some(end) = record.file.as_ref().and_then(|file| file.end.as_ref()) {
        page.line("Ended", &format!("{}, {}", when(end.at.0, now), ending(end.why)));
    }
    page.line("Launcher", &record.spec.launcher);
    page.line("Run", &format!("{} in {}", directory.number(), directory.path().display()));
    for (name, key) in [
        ("Parallelism", "parallelism"),
        ("Completions", "completions"),
        ("Mode", "completionMode"),
        ("Retries", "backoffLimit"),
        ("Deadline", "activeDeadlineSeconds"),
    ] {
        match &record.spec.job["spec"][key] {
            serde_json::Value::Null => (),
            serde_json::Value::String(text) => page.line(name, text),
            other => page.line(name, &other.to_string()),
        }
    }
    if let Some(file) = &record.file {
        let status = &file.status;
        let count = |count: Option<i32>| count.unwrap_or(0);
        page.line(
            "Pods",
            &format!(
                "{} active, {} succeeded, {} failed",
                count(status.active),
                count(status.succeeded),
                count(status.failed)
            ),
        );
        let conditions = status.conditions.iter().flatten().map(|condition| {
            vec![
                condition.type_.clone(),
                condition.status.clone(),
                condition.reason.clone().unwrap_or_default(),
                condition.message.clone().unwrap_or_default(),
            ]
        });
        page.table("Conditions", &["TYPE", "STATUS", "REASON", "MESSAGE"], &conditions.collect::<Vec<_>>());
        let pods = file.pods.iter().map(|(name, run)| vec![name.clone(), run.to_string()]);
        page.table("Its pods", &["NAME", "RUN"], &pods.collect::<Vec<_>>());
    }
    page.text
}

/// Why a run ended, in words.
pub fn ending(why: Ending) -> &'static str {
    match why {
        Ending::Finished => "finished",
        Ending::Stopped => "stopped by a user",
        Ending::Interrupted => "interrupted",
        Ending::TimedOut => "out of time",
        Ending::RunnerDied => "its runner died",
    }
}

/// `2026-11-21T10:00:00Z (3m ago)`.
fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} ago)", at.strftime("%Y-%m-%dT%H:%M:%SZ"), figures::age(at, now))
}

/// What is known of a pod's containers beside what was asked for.
struct Seen<'s> {
    statuses: Vec<&'s ContainerStatus>,
    given: Option<&'s BTreeMap<String, Vec<RecordedGiven>>>,
    now: Timestamp,
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "{:14}{}", format!("{name}:"), value.replace('\n', "\n              "));
    }

    fn some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.line(name, value);
        }
    }

    /// The name before the first value only.
    fn many(&mut self, name: &str, values: impl Iterator<Item = String>) {
        for (index, value) in values.enumerate() {
            match index {
                0 => self.line(name, &value),
                _ => {
                    let _ = writeln!(self.text, "{:14}{value}", "");
                }
            }
        }
    }

    fn containers(&mut self, title: &str, containers: &[Container], seen: &Seen<'_>) {
        if containers.is_empty() {
            return;
        }
        let _ = writeln!(self.text, "{title}:");
        for container in containers {
            let kind = if is_sidecar(container) { " (sidecar)" } else { "" };
            let _ = writeln!(self.text, "  {}:{kind}", container.name);
            if let Some(status) = seen.statuses.iter().find(|status| status.name == container.name) {
                self.state(status, seen.now);
            }
            let given = seen.given.and_then(|given| given.get(&container.name));
            self.inner("Devices", &given.into_iter().flatten().map(thing).collect::<Vec<_>>());
            for (name, values) in words::container(container) {
                self.inner(name, &values);
            }
        }
    }

    fn state(&mut self, status: &ContainerStatus, now: Timestamp) {
        self.inner("State", &state(status.state.as_ref(), now));
        let last = state(status.last_state.as_ref(), now);
        if status.last_state.as_ref().is_some_and(|state| state.terminated.is_some()) {
            self.inner("Last State", &last);
        }
        self.inner("Ready", &[status.ready.to_string()]);
        self.inner("Restarts", &[status.restart_count.to_string()]);
        self.inner("Container ID", status.container_id.as_slice());
    }

    fn inner(&mut self, name: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            let name = if index == 0 { format!("{name}:") } else { String::new() };
            let _ = writeln!(self.text, "    {name:18}{}", value.replace('\n', "\n                      "));
        }
    }

    fn table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(self.text, "{title}:");
        for line in table::table(head, rows).lines() {
            let _ = writeln!(self.text, "  {line}");
        }
    }

    fn events(&mut self, notes: &[RecordedNote], now: Timestamp) {
        let rows = notes.iter().map(|note| {
            let times = match note.count {
                0 | 1 => figures::age(note.last.0, now),
                count => {
                    format!("{} (x{count} over {})", figures::age(note.last.0, now), figures::age(note.first.0, now))
                }
            };
            vec![
                if note.warning { "Warning" } else { "Normal" }.to_owned(),
                note.reason.clone(),
                times,
                note.container.clone().unwrap_or_else(|| "-".to_owned()),
                note.message.replace('\n', " "),
            ]
        });
        if notes.is_empty() {
            self.line("Events", "none");
        } else {
            let rows: Vec<_> = rows.collect();
            self.table("Events", &["TYPE", "REASON", "AGE", "CONTAINER", "MESSAGE"], &rows);
        }
    }
}

/// `example.com/disk k7q2m4x9ab: /dev/sdb`.
fn thing(given: &RecordedGiven) -> String {
    let RecordedGiven { resource, id, paths } = given;
    let at = if paths.is_empty() { String::new() } else { format!(": {}", paths.join(", ")) };
    format!("{resource} {id}{at}")
}

/// A container's state, one line for each thing to say.
fn state(state: Option<&ContainerState>, now: Timestamp) -> Vec<String> {
    let Some(state) = state else { return vec!["unknown".to_owned()] };
    if let Some(running) = &state.running {
        let since = running.started_at.as_ref().map(|at| format!(", since {}", when(at.0, now)));
        return vec![format!("Running{}", since.unwrap_or_default())];
    }
    if let Some(ended) = &state.terminated {
        let signal = ended.signal.map(|signal| format!(", signal {signal}")).unwrap_or_default();
        let reason = ended.reason.as_deref().unwrap_or("Terminated");
        let mut lines = vec![format!("{reason}, exit code {}{signal}", ended.exit_code)];
        if let (Some(from), Some(to)) = (&ended.started_at, &ended.finished_at) {
            lines.push(format!("ended {}, ran for {}", when(to.0, now), figures::age(from.0, to.0)));
        }
        lines.extend(
            ended.message.as_deref().map(|message| message.trim_end().to_owned()).filter(|message| !message.is_empty()),
        );
        return lines;
    }
    let waiting = state.waiting.clone().unwrap_or_default();
    let mut lines = vec![format!("Waiting: {}", waiting.reason.as_deref().unwrap_or("not started"))];
    lines.extend(waiting.message.filter(|message| !message.is_empty()));
    lines
}
