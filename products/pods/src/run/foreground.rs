//! Errands in this process: one runner for each pod, a view of all of them, Ctrl-C, and the exit code.

use std::io::IsTerminal;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use outrigger_pod_runner::directory::Ending;
use outrigger_pod_runner::drive::Outcome;
use outrigger_pod_runner::handle::Handle;
use outrigger_runtime::{Children, Stop};
use serde_json::Value;
use tokio::sync::mpsc;

use super::errand::{Errand, What};
use super::pod::{self, Tools};
use crate::args::Form;
use crate::show::{objects, out, summary};
use crate::text;
use crate::verdict::{self, Circumstances, End};
use crate::view::paint::Channel;
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

/// One errand that has come to its end.
struct Ended {
    /// Its place in the list of errands.
    errand: usize,
    /// How; an error where its runner failed.
    outcome: anyhow::Result<Outcome>,
}

/// Runs the errands to their end; answers the exit code.
pub async fn run(errands: Vec<Errand>, tools: Tools, wish: Wish, stop: &Stop) -> anyhow::Result<i32> {
    let (events, told) = mpsc::channel(EVENTS);
    let view = show(style(wish, errands.len() > 1), events.downgrade(), told);
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
    let mut pods = Children::new(errands.len());
    let (tell, mut ended) = mpsc::channel(errands.len().max(1));
    let mut handles = Vec::new();
    let mut ran = Ran::default();
    for (place, errand) in errands.iter().enumerate() {
        match start(place, errand, &tools, &mut pods, &tell, stop) {
            Ok(handle) => {
                say(&events, Event::Pod(handle.clone())).await;
                handles.push(handle);
            }
            Err(error) => {
                say(&events, Event::Fault(format!("{}: {error:#}", errand.what.label()))).await;
                ran.ends.push(End::Refused);
            }
        }
    }
    drop(tell);
    let mut finals = Vec::new();
    let mut asked = false;
    loop {
        let one = tokio::select! {
            () = stop.token().cancelled(), if !asked => {
                asked = true;
                say(&events, Event::Say(waits_for(&handles))).await;
                continue;
            }
            one = ended.recv() => one,
        };
        match one {
            None => break,
            Some(Ended { errand, outcome: Ok(outcome) }) => {
                ran.circumstances.interrupted |= outcome.ending == Ending::Interrupted;
                ran.circumstances.timed_out |= outcome.ending == Ending::TimedOut;
                finals.push((errand, object(&errands[errand], &outcome.status)));
                ran.ends.push(end(&errands[errand], &outcome));
            }
            Some(Ended { errand, outcome: Err(error) }) => {
                say(&events, Event::Fault(format!("{}: {error:#}", errands[errand].what.label()))).await;
                ran.ends.push(End::Refused);
            }
        }
    }
    pods.finish(LAST_GRACE).await?;
    finals.sort_by_key(|(place, _)| *place);
    ran.finals = finals.into_iter().map(|(_, object)| object).collect();
    Ok(ran)
}

/// A view that has gone sees nothing more, and that is no reason not to run.
async fn say(events: &mpsc::Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

fn start(
    place: usize,
    errand: &Errand,
    tools: &Tools,
    pods: &mut Children,
    tell: &mpsc::Sender<Ended>,
    stop: &Stop,
) -> anyhow::Result<Handle> {
    let What::Pod(it) = &errand.what else { anyhow::bail!("a Job is not run by this build") };
    let begun = pod::begin(it, None, &errand.beside, &errand.how, tools)?;
    let handle = begun.handle.clone();
    let (tell, stop) = (tell.clone(), stop.token().clone());
    pods.start(errand.what.label(), async move {
        let outcome = begun.finish(stop).await;
        let _ = tell.send(Ended { errand: place, outcome }).await;
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(handle)
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

/// What Ctrl-C waits for.
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
    match names.is_empty() {
        true => "stopping".to_owned(),
        false => format!(
            "stopping: {} may take up to {} to end; Ctrl-C again kills at once",
            text::listing(&names),
            text::span(grace)
        ),
    }
}

fn object(errand: &Errand, status: &PodStatus) -> Value {
    let What::Pod(pod) = &errand.what else { return Value::Null };
    let mut object = serde_json::json!({"apiVersion": "v1", "kind": "Pod"});
    object["metadata"] = serde_json::json!(pod.metadata);
    object["spec"] = serde_json::json!(pod.spec);
    object["status"] = serde_json::json!(status);
    object
}

fn end(errand: &Errand, outcome: &Outcome) -> End {
    let sidecars = match &errand.what {
        What::Pod(pod) => {
            let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
            init.filter(|one| summary::is_sidecar(one)).map(|one| one.name.clone()).collect()
        }
        What::Job(_) => Vec::new(),
    };
    let not_executed = outcome.not_executed.iter().map(|(name, code)| (name.0.clone(), *code)).collect();
    End::Pod { status: Box::new(outcome.status.clone()), sidecars, not_executed }
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
    let phase = status["phase"].as_str().unwrap_or("Unknown");
    let reason = status["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut parts = Vec::new();
    for kind in ["initContainerStatuses", "containerStatuses"] {
        for container in status[kind].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            if let Some(code) = container["state"]["terminated"]["exitCode"].as_i64() {
                parts.push(format!("{name} {code}"));
            }
        }
    }
    let codes = if parts.is_empty() { String::new() } else { format!("; exit codes: {}", parts.join(", ")) };
    format!("outrigger: pod {name} {phase}{reason}{codes}")
}
