//! `outrigger run`: from the command line to running pods, and from their end to an exit code.
//!
//! ```text
//! settings, manifests ──► errands ──examined──► foreground: runners and a view in this process
//!                                          └──► detached: a process for each
//! ```

mod detach;
mod errand;
mod examine;
mod foreground;
mod job;
mod pod;
mod prepare;

use std::sync::Arc;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use outrigger_apptainer_launcher::{ApptainerLauncher, Program};
use outrigger_config::Faults;
use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::Launcher;
use outrigger_manifest::{Work, outline};
use outrigger_pod_directory::log::LogThread;
use outrigger_pod_directory::{KeepRules, Kind};
use outrigger_pod_runner::drive::Clock;
use outrigger_terminal::out;

use crate::args::{Form, RunArgs};
use crate::launcher::{self, Chosen};
use crate::runtime;
use crate::settings::{self, LauncherChoice, Settings, Surroundings};
use crate::show::objects;
use crate::{Parts, Providers};
use errand::{Errand, How, What};
use foreground::Wish;
use pod::Tools;

/// Runs what the manifests say; answers the exit code.
pub fn run(args: &RunArgs, parts: Parts) -> anyhow::Result<i32> {
    let (settings, odd) = settings::settings(&args.settings, &Surroundings::here())?;
    let given = prepare::given(&args.given)?;
    let (work, mut faults) = prepare::work(&args.files, &args.given, args.how.strict);
    let ready = match make_ready(args, parts, &settings, &given, work) {
        // What else is wrong may come of what is wrong with the manifests.
        Err(_) if faults.has_errors() => return Err(faults.into()),
        ready => ready?,
    };
    let Ready { why, launcher, providers, errands, notes, faults: more } = ready;
    faults.extend(more);
    faults.sort();
    let (mut errands, warnings) = faults.into_result(errands)?;
    if !args.how.quiet {
        out::note(&format!("outrigger: launcher {}, {why}", launcher.name()));
    }
    tell(&odd);
    tell(&warnings);
    for note in notes {
        out::note(&format!("outrigger: {note}"));
    }
    examine::taken_ports(&errands)?;
    if args.how.dry_run {
        return dry_run(&errands, args.how.output);
    }
    crate::abandoned::end(&settings.state, || parts.providers_if_any(&args.settings.places));
    prune(&settings);
    if args.how.detach {
        return detach::detach(&errands, &args.given.env);
    }
    let tools = tools(launcher, providers)?;
    let wish = Wish { form: args.how.output, quiet: args.how.quiet };
    runtime::block_on(async |stop| Box::pin(foreground::run(std::mem::take(&mut errands), tools, wish, stop)).await)
}

/// What the manifests say, and everything to run it with.
struct Ready {
    /// Why this launcher is used.
    why: String,
    launcher: Arc<dyn Launcher>,
    providers: Providers,
    errands: Vec<Errand>,
    /// Lines for the user.
    notes: Vec<String>,
    /// What cannot be had here.
    faults: Faults,
}

fn make_ready(
    args: &RunArgs,
    parts: Parts,
    settings: &Settings,
    given: &prepare::Given,
    work: Work,
) -> anyhow::Result<Ready> {
    let (chosen, why) = choose(settings, &work)?;
    let mut how = How::new(settings, chosen);
    how.timeout = args.how.timeout;
    how.keep = args.how.keep;
    how.pod_ip = args.given.pod_ip;
    how.config_dir.clone_from(&args.settings.places.config_dir);
    let launcher = launcher_of(&how)?;
    let (mut notes, unread) = (Vec::new(), work.unread);
    let errands = prepare::errands(work, given, &how, &mut notes)?;
    let providers = if errands.iter().any(|(_, errand)| prepare::asks_providers(&errand.what)) {
        (parts.providers)(args.settings.places.config_dir.as_deref())?
    } else {
        Providers::new()
    };
    let faults = examine::examine(&errands, unread, &launcher, &providers, args.how.strict);
    let errands = errands.into_iter().map(|(_, errand)| errand).collect();
    Ok(Ready { why, launcher, providers, errands, notes, faults })
}

/// The process of one detached pod or Job.
pub fn detached(parts: Parts) -> anyhow::Result<i32> {
    let errand = detach::errand()?;
    let providers = if prepare::asks_providers(&errand.what) {
        (parts.providers)(errand.how.config_dir.as_deref())?
    } else {
        Providers::new()
    };
    let tools = tools(launcher_of(&errand.how)?, providers)?;
    runtime::block_on(async |stop| Box::pin(detach::carry_out(errand, tools, stop)).await)
}

fn choose(settings: &Settings, work: &Work) -> anyhow::Result<(Chosen, String)> {
    let pods = work.pods.iter().filter_map(|(_, pod)| pod.spec.as_ref());
    let templates = work.jobs.iter().filter_map(|(_, job)| job.spec.as_ref()?.template.spec.as_ref());
    let specs: Vec<&PodSpec> = pods.chain(templates).collect();
    let apptainer = launcher::find_apptainer(std::env::var_os("PATH").as_deref());
    let chosen = launcher::choose(settings.launcher, &specs, apptainer.as_deref()).map_err(|why| anyhow!(why))?;
    match (&chosen.0, settings.launcher) {
        (Chosen::Apptainer(path), LauncherChoice::Auto) => match Program::at(path) {
            Ok(_) => Ok(chosen),
            Err(unusable) => Ok((Chosen::Host, format!("because {unusable}"))),
        },
        _ => Ok(chosen),
    }
}

fn launcher_of(how: &How) -> anyhow::Result<Arc<dyn Launcher>> {
    match &how.launcher {
        Chosen::Host => Ok(Arc::new(HostLauncher::new().context("the launcher host cannot work here")?)),
        Chosen::Apptainer(path) => {
            let launcher = ApptainerLauncher::new(Program::at(path)?, how.state.join("images"));
            Ok(Arc::new(launcher.context("the launcher apptainer cannot work here")?))
        }
    }
}

fn tools(launcher: Arc<dyn Launcher>, providers: Providers) -> anyhow::Result<Tools> {
    let logs = LogThread::start().context("the thread that writes logs cannot be started")?;
    Ok(Tools { launcher, providers, logs: Arc::new(logs), clock: Clock::default() })
}

fn tell(warnings: &Faults) {
    for warning in warnings {
        out::note(&warning.to_string());
    }
}

/// What finished long ago goes in passing; that it may fail is no reason not to run.
fn prune(settings: &Settings) {
    let rules = KeepRules { age: settings.keep, ..KeepRules::default() };
    if let Err(error) = settings.state.prune(rules, Timestamp::now()) {
        out::note(&format!("outrigger: old pods could not be removed: {}", crate::record::chain(&error)));
    }
}

/// Shows what would run.
fn dry_run(errands: &[Errand], form: Form) -> anyhow::Result<i32> {
    let mut found = Vec::new();
    let mut texts = Vec::new();
    for errand in errands {
        let (object, text) = match &errand.what {
            What::Pod(pod) => (objects::of_kind(Kind::Pod, serde_json::to_value(pod)?), outline::pod(pod)),
            What::Job(job) => (objects::of_kind(Kind::Job, serde_json::to_value(job)?), outline::job(job)),
        };
        found.push(object);
        texts.push(text);
    }
    let text = objects::text(&objects::one_or_list(found), form).unwrap_or_else(|| texts.join("\n"));
    out::print(&text)?;
    Ok(0)
}
