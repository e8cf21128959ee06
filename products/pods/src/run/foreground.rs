//! Errands in this process: one runner for each pod, a view of all of them, Ctrl-C, and the exit code.

use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use outrigger_config::listing;
use outrigger_manifest::containers::is_sidecar;
use outrigger_pod_core::job::JobEnd;
use outrigger_pod_directory::Ending;
use outrigger_pod_runner::drive::Outcome;
use outrigger_pod_runner::handle::Handle;
use outrigger_runtime::{Children, Stop};
use outrigger_terminal::paint::Channel;
use outrigger_terminal::{figures, out};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::errand::{Errand, What};
use super::job::{self, JobOutcome};
use super::pod::{self, Tools};
use crate::args::Form;
use crate::show::objects;
use crate::verdict::{self, Circumstances, End};
use crate::view::show::{Style, show};
use crate::view::watch::Event;

/// How many happenings wait for the view; then the readers of logs wait.
const EVENTS: usize = 32;

/// How long tasks of pods that are over may take to end.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// How the user wants to see it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The form of the final status.
    pub form: Form,
    /// Only what the containers write.
    pub quiet: bool,
}

/// What became of one errand.
enum News {
    /// A pod of a Job begins.
    Begun(Handle),
    /// It has come to its end: its place in the list of errands, and how; an error where its runner failed.
    Ended(usize, anyhow::Result<Finished>),
}

/// How an errand ended.
struct Finished {
    end: End,
    ending: Ending,
    /// The object with its last status.
    object: Value,
}

/// Runs the errands to their end; answers the exit code.
pub async fn run(errands: Vec<Errand>, tools: Tools, wish: Wish, stop: &Stop) -> anyhow::Result<i32> {
    let (events, told) = mpsc::channel(EVENTS);
    let view = show(
        style(wish, errands.len() > 1 || errands.iter().any(|it| matches!(it.what, What::Job(_)))),
        events.downgrade(),
        told,
    );
    let (shown, ran) = tokio::join!(view, work(&errands, tools, events, stop));
    let Ran { ends, finals, circumstances } = ran?;
    shown?;
    last_words(finals, wish)?;
    Ok(verdict::exit_code(&ends, circumstances))
}

/// What became of the errands.
#[derive(Default)]
struct Ran {
    ends: Vec<End>,
    /// The objects with their last statuses, in the order of the errands.
    finals: Vec<Value>,
    circumstances: Circumstances,
}

async fn work(errands: &[Errand], tools: Tools, events: mpsc::Sender<Event>, stop: &Stop) -> anyhow::Result<Ran> {
    let (tell, mut ended) = mpsc::channel(errands.len().max(1));
    let mut starter = Starter { tools, tasks: Children::new(errands.len()), tell, stop: stop.token().clone() };
    let mut handles = Vec::new();
    let mut ran = Ran::default();
    for (place, errand) in errands.iter().enumerate() {
        match starter.start(place, errand) {
            Ok(Some(handle)) => {
                say(&events, Event::Pod(handle.clone())).await;
                handles.push(handle);
            }
            Ok(None) => (),
            Err(error) => {
                say(&events, Event::Fault(errand.what.failure(&error))).await;
                ran.ends.push(End::Refused);
            }
        }
    }
    let Starter { tasks, tell, .. } = starter;
    drop(tell);
    let (mut finals, mut asked, mut late) = (Vec::new(), false, false);
    let limit = errands.iter().find_map(|errand| errand.how.timeout);
    let mut out_of_time = pin!(sleep(limit.unwrap_or(Duration::MAX)));
    loop {
        let one = tokio::select! {
            () = stop.token().cancelled(), if !asked => {
                asked = true;
                say(&events, Event::Say(format!("{}; Ctrl-C again kills at once", waits_for(&handles)))).await;
                continue;
            }
            () = &mut out_of_time, if limit.is_some() && !asked && !late => {
                late = true;
                say(&events, Event::Fault(format!("out of time (--timeout); {}", waits_for(&handles)))).await;
                continue;
            }
            one = ended.recv() => one,
        };
        match one {
            None => break,
            Some(News::Begun(handle)) => {
                say(&events, Event::Pod(handle.clone())).await;
                handles.push(handle);
            }
            Some(News::Ended(errand, Ok(Finished { end, ending, object }))) => {
                ran.circumstances.interrupted |= ending == Ending::Interrupted;
                ran.circumstances.timed_out |= ending == Ending::TimedOut;
                finals.push((errand, object));
                ran.ends.push(end);
            }
            Some(News::Ended(errand, Err(error))) => {
                say(&events, Event::Fault(errands[errand].what.failure(&error))).await;
                ran.ends.push(End::Refused);
            }
        }
    }
    tasks.finish(LAST_GRACE).await?;
    finals.sort_by_key(|(place, _)| *place);
    ran.finals = finals.into_iter().map(|(_, object)| object).collect();
    Ok(ran)
}

/// A view that has gone sees nothing more, and that is no reason not to run.
async fn say(events: &mpsc::Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

/// What starts errands, and owns what it started.
struct Starter {
    tools: Tools,
    tasks: Children,
    tell: mpsc::Sender<News>,
    stop: CancellationToken,
}

impl Starter {
    /// Starts an errand; a pod's handle is there at once, those of a Job's pods come as news.
    fn start(&mut self, place: usize, errand: &Errand) -> anyhow::Result<Option<Handle>> {
        let Errand { format: _, what, beside, how } = errand;
        let (tell, stop) = (self.tell.clone(), self.stop.clone());
        match what {
            What::Pod(pod) => {
                let begun = pod::begin(pod, None, beside, how, &self.tools)?;
                let handle = begun.handle.clone();
                let pod = pod.clone();
                self.tasks.start(what.label(), async move {
                    let finished = begun.finish(stop).await.map(|outcome| of_pod(&pod, &outcome));
                    let _ = tell.send(News::Ended(place, finished)).await;
                    Ok::<(), anyhow::Error>(())
                })?;
                Ok(Some(handle))
            }
            What::Job(job) => {
                let begun = job::begin(job, beside, how, &self.tools)?;
                let job = job.clone();
                self.tasks.start(what.label(), async move {
                    let finished = Box::pin(of_begun_job(begun, &job, &tell, stop)).await;
                    let _ = tell.send(News::Ended(place, finished)).await;
                    Ok::<(), anyhow::Error>(())
                })?;
                Ok(None)
            }
        }
    }
}

/// Runs a Job, and passes the news of its pods on.
async fn of_begun_job(
    begun: job::BegunJob,
    job: &Job,
    tell: &mpsc::Sender<News>,
    stop: CancellationToken,
) -> anyhow::Result<Finished> {
    let (told_begun, mut pods) = mpsc::channel(1);
    let pass_on = async {
        while let Some(handle) = pods.recv().await {
            let _ = tell.send(News::Begun(handle)).await;
        }
    };
    let (outcome, ()) = tokio::join!(begun.finish(told_begun, stop), pass_on);
    let JobOutcome { status, end, ending, pods } = outcome?;
    let template = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let reason = match end {
        Some(JobEnd::Complete) | None => None,
        Some(JobEnd::BackoffLimitExceeded) => Some("BackoffLimitExceeded".to_owned()),
        Some(JobEnd::DeadlineExceeded) => Some("DeadlineExceeded".to_owned()),
    };
    let pods = pods.iter().map(|outcome| end_of(template, outcome)).collect();
    let end = End::Job { complete: end == Some(JobEnd::Complete), reason, pods };
    let object = serde_json::json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": job.metadata, "spec": job.spec, "status": status});
    Ok(Finished { end, ending, object })
}

fn of_pod(pod: &Pod, outcome: &Outcome) -> Finished {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": pod.metadata, "spec": pod.spec, "status": outcome.status});
    Finished { end: end_of(pod.spec.as_ref(), outcome), ending: outcome.ending, object }
}

fn end_of(spec: Option<&PodSpec>, outcome: &Outcome) -> End {
    let init = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = init.filter(|one| is_sidecar(one)).map(|one| one.name.clone()).collect();
    let not_executed = outcome.not_executed.iter().map(|(name, code)| (name.0.clone(), *code)).collect();
    End::Pod { status: Box::new(outcome.status.clone()), sidecars, not_executed }
}

fn style(wish: Wish, several: bool) -> Style {
    let structured = wish.form != Form::Table;
    Style {
        live: !wish.quiet && !structured && out::is_terminal() && std::io::stderr().is_terminal(),
        colors: out::has_colors(),
        quiet: wish.quiet,
        logs: if structured { Channel::Err } else { Channel::Out },
        several,
    }
}

/// What the end waits for.
fn waits_for(handles: &[Handle]) -> String {
    let mut names = Vec::new();
    let mut grace = Duration::ZERO;
    for handle in handles {
        let snapshot = handle.status.borrow();
        if snapshot.end.is_some() {
            continue;
        }
        grace = grace.max(handle.plan.grace);
        for run in snapshot.running.keys() {
            names.push(match handles.len() {
                1 => run.container.0.clone(),
                _ => format!("{}/{}", handle.plan.name, run.container),
            });
        }
    }
    if names.is_empty() {
        "stopping".to_owned()
    } else {
        format!("stopping: {} may take up to {} to end", listing(&names), figures::span(grace))
    }
}

/// The final status, in the form that is wanted.
fn last_words(finals: Vec<Value>, wish: Wish) -> anyhow::Result<()> {
    match wish.form {
        Form::Table if wish.quiet => Ok(()),
        Form::Table => {
            for object in finals {
                out::note(&one_line(&object));
            }
            Ok(())
        }
        form => Ok(out::print(&objects::text(&objects::one_or_list(finals), form).unwrap_or_default())?),
    }
}

/// `outrigger: pod web Succeeded` and why, if there is a why.
fn one_line(object: &Value) -> String {
    let status = &object["status"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if object["kind"] == "Job" {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut last = conditions.filter(|it| it["type"] == "Complete" || it["type"] == "Failed");
        let (state, why) = last.next().map_or(("stopped", ""), |it| {
            (it["type"].as_str().unwrap_or_default(), it["message"].as_str().unwrap_or_default())
        });
        let count = |key: &str| status[key].as_i64().unwrap_or(0);
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        return format!(
            "outrigger: job {name} {state}; {} succeeded, {} failed{why}",
            count("succeeded"),
            count("failed")
        );
    }
    let phase = status["phase"].as_str().unwrap_or("Unknown");
    let reason = status["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let kinds = ["initContainerStatuses", "containerStatuses"].into_iter();
    let containers = kinds.flat_map(|kind| status[kind].as_array().into_iter().flatten());
    let codes = containers.filter_map(|container| {
        let code = container["state"]["terminated"]["exitCode"].as_i64()?;
        Some(format!("{} {code}", container["name"].as_str()?))
    });
    let codes: Vec<String> = codes.collect();
    let codes = if codes.is_empty() { String::new() } else { format!("; exit codes: {}", codes.join(", ")) };
    format!("outrigger: pod {name} {phase}{reason}{codes}")
}
