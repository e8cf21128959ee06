//! `outrigger logs`: what containers wrote, read from their log files, so that it works for pods that have ended too.

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use outrigger_config::listing;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::changes::Changes;
use outrigger_pod_directory::log::read::{Line, LogReader, LogText, ReadOptions, latest_attempt};
use outrigger_pod_directory::{Kind, RunDirectory, StateDirectory, StatusFile};
use outrigger_runtime::Children;
use outrigger_terminal::line::Prefixes;
use outrigger_terminal::out;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::args::LogsArgs;
use crate::record::{self, PodRecord};
use crate::view::state::containers as container_statuses;

/// How many pieces of logs wait to be written.
const PIECES: usize = 8;

/// Prints the logs of one container, or of all with their names.
pub async fn logs(args: &LogsArgs, state: &StateDirectory, stop: &CancellationToken) -> anyhow::Result<i32> {
    let pod = pod(args, state)?;
    let names = containers(&pod, args)?;
    let prefixes = args.all_containers.then(|| Prefixes::new(names.clone(), out::has_colors()));
    let (tell, mut told) = mpsc::channel(PIECES);
    let mut readers = Children::new(names.len());
    let mut found = false;
    for (source, name) in names.iter().enumerate() {
        let Some(attempt) = attempt(&pod, name, args)? else { continue };
        found = true;
        let reader = reader(&pod, name, attempt, args)?;
        readers.start(format!("log of {name}"), send(reader, source, tell.clone()))?;
    }
    drop(tell);
    if !found && !args.all_containers {
        bail!("{}", nothing(&pod, &names[0], args.previous));
    }
    let mut texts: Vec<LogText> = names.iter().map(|_| LogText::new(args.timestamps)).collect();
    loop {
        let (source, lines) = tokio::select! {
            piece = told.recv() => match piece {
                Some(piece) => piece,
                None => return Ok(0),
            },
            () = stop.cancelled() => return Ok(crate::verdict::INTERRUPTED),
        };
        let bytes = texts[source].of(&lines);
        let mut out = io::stdout().lock();
        match &prefixes {
            None => out::whole(&mut out, &bytes)?,
            Some(prefixes) => out::whole(&mut out, &with_prefix(prefixes.of(source).as_bytes(), &bytes))?,
        }
    }
}

/// The pod's run that is meant.
fn pod(args: &LogsArgs, state: &StateDirectory) -> anyhow::Result<PodRecord> {
    let newest = record::find(state, &args.target.name, args.target.namespace.as_deref())?;
    if newest.kind() == Kind::Job {
        bail!("job {} writes no log of its own; name one of its pods (`outrigger ps` lists them)", newest.name());
    }
    let runs = state.runs(Kind::Pod, newest.name())?;
    let back = args.run as usize;
    let run: &RunDirectory = runs.iter().rev().nth(back).with_context(|| {
        format!("pod {} has {} only", newest.name(), outrigger_config::count(runs.len(), "recorded run"))
    })?;
    Ok(PodRecord::read(run.clone())?)
}

fn containers(pod: &PodRecord, args: &LogsArgs) -> anyhow::Result<Vec<String>> {
    let spec = pod.pod.spec.clone().unwrap_or_default();
    let init = spec.init_containers.iter().flatten().map(|container| container.name.clone());
    let main: Vec<String> = spec.containers.iter().map(|container| container.name.clone()).collect();
    let all: Vec<String> = init.chain(main.iter().cloned()).collect();
    if args.all_containers {
        return Ok(all);
    }
    match (&args.container, all.as_slice()) {
        (Some(name), _) => Ok(vec![super::talk::container(pod, Some(name))?]),
        (None, [one]) => Ok(vec![one.clone()]),
        (None, _) => bail!(
            "pod {} has several containers: {}; choose one with -c, or --all-containers",
            pod.directory.name(),
            listing(&all)
        ),
    }
}

/// Which run of the container is meant; `None` where it has not run.
fn attempt(pod: &PodRecord, container: &str, args: &LogsArgs) -> anyhow::Result<Option<u32>> {
    let newest = latest_attempt(&pod.directory.logs(container)?)?;
    match (newest, args.previous) {
        (newest, true) => Ok(newest.and_then(|newest| newest.checked_sub(1))),
        (newest, false) => Ok(newest.or(args.follow.then_some(0))),
    }
}

fn nothing(pod: &PodRecord, container: &str, previous: bool) -> String {
    let status = pod.status();
    let state = container_statuses(&status).filter(|it| it.name == container).find_map(|it| it.state.clone());
    let waiting = state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason);
    match (previous, waiting) {
        (true, _) => format!("container {container} has no run before the present one: it was not restarted"),
        (false, Some(reason)) => format!("container {container} has not run yet: {reason}"),
        (false, None) => format!("container {container} has not run"),
    }
}

fn reader(pod: &PodRecord, container: &str, attempt: u32, args: &LogsArgs) -> anyhow::Result<LogReader> {
    let run = Instance { container: ContainerName(container.to_owned()), attempt };
    let since = args.since.map(|ago| Timestamp::now().checked_sub(ago)).transpose()?;
    // Of a number below zero all lines are meant.
    let tail = args.tail.and_then(|lines| u64::try_from(lines).ok());
    let options = ReadOptions { tail, since, stream: None };
    let path = pod.directory.log(&run)?;
    Ok(if args.follow && !pod.has_ended() {
        LogReader::following(
            &path,
            options,
            Changes::beside(&path),
            Box::pin(over(pod.directory.clone(), Arc::new(run))),
        )
    } else {
        LogReader::new(&path, options)
    })
}

/// Resolves when the run of a container is over.
async fn over(directory: RunDirectory, run: Arc<Instance>) {
    let mut changes = Changes::of(directory.path());
    let mut runner_ended = std::pin::pin!(super::talk::wait_for_end(&directory));
    while !directory.status().is_ok_and(|file| file.is_some_and(|file| is_over(&file, &run))) {
        tokio::select! {
            () = changes.next() => (),
            // A runner that was killed writes nothing any more.
            _ = &mut runner_ended => return,
        }
    }
}

fn is_over(file: &StatusFile, run: &Instance) -> bool {
    file.end.is_some()
        || container_statuses(&file.status).any(|it| {
            let attempt = u32::try_from(it.restart_count).unwrap_or(0);
            let terminated = it.state.as_ref().is_some_and(|state| state.terminated.is_some());
            it.name == run.container.0 && (attempt > run.attempt || attempt == run.attempt && terminated)
        })
}

async fn send(mut reader: LogReader, source: usize, tell: mpsc::Sender<(usize, Vec<Line>)>) -> anyhow::Result<()> {
    while let Some(lines) = reader.next().await? {
        if tell.send((source, lines)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn with_prefix(prefix: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + prefix.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(prefix);
        out.extend_from_slice(line);
    }
    out
}
