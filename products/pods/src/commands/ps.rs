//! `outrigger ps`: the pods and jobs of the user; for root those of all users of this machine.

use std::collections::BTreeMap;

use jiff::Timestamp;
use outrigger_pod_directory::{Ending, Kind, RunDirectory};
use outrigger_terminal::{figures, out, table};

use crate::args::{Form, PsArgs, WideForm};
use crate::others::{self, Section};
use crate::record::{self, JobRecord, PodRecord, Record};
use crate::settings::Settings;
use crate::show::objects;
use crate::show::summary::summary;

/// Prints the list.
pub fn ps(args: &PsArgs, settings: &Settings) -> anyhow::Result<i32> {
    let state = &settings.state;
    let note = |line: String| out::note(&format!("outrigger ps: {line}"));
    let mut records = record::newest(state, note)?;
    if !args.targets.names.is_empty() {
        let wanted = record::find_all(state, &args.targets)?;
        records.retain(|record| wanted.contains(record.directory()));
    } else if let Some(namespace) = &args.targets.namespace {
        records.retain(|record| record.directory().name().namespace() == namespace);
    }
    let mut others = Vec::new();
    if settings.of_all_users && args.targets.names.is_empty() {
        others = others::sections(state, note);
        if let Some(namespace) = &args.targets.namespace {
            let is_of_it = |record: &Record| record.directory().name().namespace() == namespace;
            for section in &mut others {
                section.records.retain(is_of_it);
            }
        }
    }
    let mut sections = vec![Section { user: "root".to_owned(), records }];
    sections.append(&mut others);
    let mut ended = 0;
    for section in sections.iter_mut().filter(|_| args.running) {
        let all = section.records.len();
        section.records.retain(|record| !record.has_ended());
        ended += all - section.records.len();
    }
    let form = match args.output {
        WideForm::Json => Form::Json,
        WideForm::Yaml => Form::Yaml,
        WideForm::Table | WideForm::Wide => {
            let nothing = sections.iter().all(|section| section.records.is_empty());
            let wide = args.output == WideForm::Wide;
            out::print(&if nothing { none(ended) } else { list(&sections, wide, Timestamp::now()) })?;
            return Ok(0);
        }
    };
    let found: Vec<_> = sections.iter().flat_map(|section| &section.records).map(Record::object).collect();
    let named_one = args.targets.names.len() == 1 && found.len() == 1;
    let value = if named_one { objects::one_or_list(found) } else { objects::list(found) };
    out::print(&objects::text(&value, form).unwrap_or_default())?;
    Ok(0)
}

/// Where there is nothing to list.
fn none(ended: usize) -> String {
    match ended {
        0 => "No pods here. Start one: outrigger run pod.yaml\n".to_owned(),
        1 => "None is running here, 1 has ended. See it: outrigger ps\n".to_owned(),
        many => format!("None is running here, {many} have ended. See them: outrigger ps\n"),
    }
}

/// The table. The user and the namespace are columns where they say something.
fn list(sections: &[Section], wide: bool, now: Timestamp) -> String {
    let mut all = sections.iter().flat_map(|section| &section.records);
    let spaces = all.any(|record| record.directory().name().namespace() != "default");
    let users = sections.len() > 1;
    let mut head = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
    if spaces {
        head.insert(0, "NAMESPACE");
    }
    if users {
        head.insert(0, "USER");
    }
    if wide {
        head.extend(["ADDRESS", "LAUNCHER", "RUN", "RUNNER", "DIRECTORY"]);
    }
    let mut rows = Vec::new();
    for Section { user, records } in sections {
        for (space, mut row) in rows_of(records, wide, now) {
            if spaces {
                row.insert(0, space.to_owned());
            }
            if users {
                row.insert(0, user.clone());
            }
            rows.push(row);
        }
    }
    table::table(&head, &rows)
}

/// Each Job with its pods below it, then the other pods; each with its namespace.
fn rows_of(records: &[Record], wide: bool, now: Timestamp) -> Vec<(&str, Vec<String>)> {
    let mut by_job: BTreeMap<(&str, &str), Vec<&PodRecord>> = BTreeMap::new();
    for record in records {
        if let Record::Pod(pod) = record
            && let Some(job) = &pod.spec.job
        {
            by_job.entry((pod.directory.name().namespace(), job)).or_default().push(pod);
        }
    }
    let mut rows = Vec::new();
    for record in records {
        match record {
            Record::Job(job) => {
                let name = job.directory.name();
                rows.push((name.namespace(), job_row(job, wide, now)));
                let pods = by_job.remove(&(name.namespace(), name.name())).unwrap_or_default();
                let of_this_run = pods.into_iter().filter(|pod| is_of_run(job, pod));
                rows.extend(of_this_run.map(|pod| (name.namespace(), pod_row(pod, "  ", wide, now))));
            }
            Record::Pod(pod) => {
                let of_listed_job = pod.spec.job.as_ref().is_some_and(|job| is_listed(records, pod, job));
                if !of_listed_job {
                    rows.push((pod.directory.name().namespace(), pod_row(pod, "", wide, now)));
                }
            }
        }
    }
    rows
}

/// Whether the Job of this pod is in the list, and so this pod below it or, of an earlier run of the Job, left out.
fn is_listed(records: &[Record], pod: &PodRecord, job: &str) -> bool {
    records.iter().any(|record| {
        let name = record.directory().name();
        record.directory().kind() == Kind::Job
            && name.name() == job
            && name.namespace() == pod.directory.name().namespace()
    })
}

/// Whether the pod is of the newest run of its Job.
fn is_of_run(job: &JobRecord, pod: &PodRecord) -> bool {
    let known = job.file.iter().flat_map(|file| &file.pods);
    known.into_iter().any(|(name, run)| name == pod.directory.name().name() && *run == pod.directory.number())
}

fn pod_row(record: &PodRecord, indent: &str, wide: bool, now: Timestamp) -> Vec<String> {
    let status = record.status();
    let sum = summary(&record.pod, &status);
    let restarts = match &sum.restarted_at {
        Some(at) if sum.restarts > 0 => format!("{} ({} ago)", sum.restarts, figures::age(at.0, now)),
        _ => sum.restarts.to_string(),
    };
    let mut row = vec![
        format!("{indent}{}", record.directory.name().name()),
        format!("{}/{}", sum.ready, sum.total),
        if record.directory.is_abandoned().unwrap_or_default() { "RunnerDied".to_owned() } else { sum.status },
        restarts,
        figures::age(record.created_at(), now),
    ];
    if wide {
        let runner = record.file.as_ref().filter(|file| file.end.is_none()).map(|file| file.runner.pid);
        row.extend(wide_columns(status.pod_ip, &record.spec.launcher, runner, &record.directory));
    }
    row
}

fn job_row(record: &JobRecord, wide: bool, now: Timestamp) -> Vec<String> {
    let status = record.file.as_ref().map(|file| file.status.clone()).unwrap_or_default();
    let wanted = record.spec.job["spec"]["completions"].as_i64();
    let wanted = wanted.or_else(|| record.spec.job["spec"]["parallelism"].as_i64()).unwrap_or(1);
    let mut row = vec![
        format!("job/{}", record.directory.name().name()),
        format!("{}/{wanted}", status.succeeded.unwrap_or(0)),
        job_state(record),
        "-".to_owned(),
        figures::age(record.created_at(), now),
    ];
    if wide {
        let runner = record.file.as_ref().filter(|file| file.end.is_none()).map(|file| file.runner.pid);
        row.extend(wide_columns(None, &record.spec.launcher, runner, &record.directory));
    }
    row
}

/// `Complete`, `Failed`, `Suspended` or `Running`, as `kubectl get jobs` says it; `Stopped` or `RunnerDied` where it has not
/// come to its own end.
pub fn job_state(record: &JobRecord) -> String {
    let conditions = record.file.iter().flat_map(|file| file.status.conditions.iter().flatten());
    let mut is_true = conditions.filter(|condition| condition.status == "True").map(|condition| &condition.type_);
    let named = is_true.find(|kind| matches!(kind.as_str(), "Complete" | "Failed" | "Suspended"));
    let end = record.file.as_ref().and_then(|file| file.end.as_ref());
    let other = match end.map(|end| end.why) {
        // It died since this command began: the next one writes down the end.
        None if record.directory.is_abandoned().unwrap_or_default() => "RunnerDied",
        None => "Running",
        Some(Ending::RunnerDied) => "RunnerDied",
        Some(_) => "Stopped",
    };
    named.map_or_else(|| other.to_owned(), Clone::clone)
}

/// The columns of `-o wide`; the runner's process where it has not ended.
fn wide_columns(address: Option<String>, launcher: &str, runner: Option<u32>, run: &RunDirectory) -> [String; 5] {
    let none = || "-".to_owned();
    [
        address.unwrap_or_else(none),
        launcher.to_owned(),
        run.number().to_string(),
        runner.map_or_else(none, |pid| pid.to_string()),
        run.path().display().to_string(),
    ]
}
