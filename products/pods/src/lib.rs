//! Pods on this machine: `outrigger run`, `ps`, `logs`, `exec`, `attach`, `stop`, `describe`, `rm`, `prune`.
//!
//! Read in this order: [`args`] is the command line; `settings` is what is set for this machine, `run` makes of manifests
//! what is to run and runs it, `verdict` is its exit code; `record` is what the state directory says, `others` what those
//! of other users say, `abandoned` sees to what a killed runner left, `commands` are the companions of `run`; `view` and
//! `show` are how pods look. What runs a pod is the pod runner; what stands in a manifest is `manifest`'s to read and
//! `pod-core`'s to know; what prints is `terminal`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use outrigger_launcher::claims::Provider;
use outrigger_pod_directory::StateDirectory;
use outrigger_terminal::out;
use tokio_util::sync::CancellationToken;

mod abandoned;
pub mod args;
mod commands;
mod launcher;
mod others;
mod record;
mod run;
mod runtime;
mod settings;
mod show;
mod verdict;
mod view;

pub use args::Command;
use settings::{Settings, SettingsError};

/// What hands out CPUs, devices and licenses.
pub type Providers = Vec<Arc<dyn Provider>>;

/// What the executable wires in: the products that hand out what Kubernetes does not know.
#[derive(Clone, Copy)]
pub struct Parts {
    /// Makes them, of the machine configuration in this directory, else of the usual ones. A wrong configuration of theirs
    /// is an error.
    pub providers: fn(Option<&Path>) -> anyhow::Result<Providers>,
}

impl Parts {
    /// For a command that does not depend on them: what is wrong with their configuration is told, and that is all.
    fn providers_if_any(self, places: &args::PlaceArgs) -> Providers {
        (self.providers)(places.config_dir.as_deref()).unwrap_or_else(|error| {
            out::note(&format!("outrigger: what this machine hands out is not known: {}", record::chain(&*error)));
            Providers::new()
        })
    }
}

/// Runs one command to its end; what it answers is the exit code of the process.
pub fn execute(command: Command, parts: Parts) -> ExitCode {
    let (name, done) = dispatch(command, parts);
    let code = done.unwrap_or_else(|error| {
        let code = error_code(name, &error);
        out::note(&told(name, &error));
        code
    });
    ExitCode::from(u8::try_from(code.clamp(0, 255)).unwrap_or(u8::MAX))
}

/// The command's name for messages, and what it came to.
fn dispatch(command: Command, parts: Parts) -> (&'static str, anyhow::Result<i32>) {
    match command {
        Command::Run(args) => match &args.action {
            Some(args::RunAction::Check(check)) => ("run check", commands::check::check(check)),
            None => ("run", run::run(&args, parts)),
        },
        Command::Ps(args) => ("ps", with_state(&args.places, parts, |it| commands::ps::ps(&args, it))),
        Command::Exec(args) => {
            ("exec", talk(&args.places, parts, async |it, stop| commands::talk::exec(&args, it, stop).await))
        }
        Command::Attach(args) => {
            ("attach", talk(&args.places, parts, async |it, stop| commands::talk::attach(&args, it, stop).await))
        }
        Command::Stop(args) => {
            ("stop", talk(&args.places, parts, async |it, stop| commands::talk::stop(&args, it, stop).await))
        }
        Command::Logs(args) => {
            ("logs", talk(&args.places, parts, async |it, stop| commands::logs::logs(&args, it, stop).await))
        }
        Command::Describe(args) => {
            ("describe", with_state(&args.places, parts, |it| commands::describe::describe(&args, &it.state)))
        }
        Command::Rm(args) => {
            ("rm", talk(&args.places, parts, async |it, stop| commands::rm::rm(&args, it, stop).await))
        }
        Command::Prune(args) => {
            ("prune", with_state(&args.places, parts, |it| commands::rm::prune(&args, &it.state, it.keep)))
        }
        Command::DetachedRunner => ("run", run::detached(parts)),
    }
}

/// A command that only looks at what is written down.
fn with_state(
    places: &args::PlaceArgs,
    parts: Parts,
    work: impl FnOnce(&Settings) -> anyhow::Result<i32>,
) -> anyhow::Result<i32> {
    let settings = settings::of_places(places)?;
    abandoned::end(&settings.state, || parts.providers_if_any(places));
    work(&settings)
}

/// A command that talks to runners.
fn talk(
    places: &args::PlaceArgs,
    parts: Parts,
    work: impl AsyncFnOnce(&StateDirectory, &CancellationToken) -> anyhow::Result<i32>,
) -> anyhow::Result<i32> {
    let settings = settings::of_places(places)?;
    abandoned::end(&settings.state, || parts.providers_if_any(places));
    runtime::block_on(async |stop| work(&settings.state, stop.token()).await)
}

/// 2 where the configuration or the manifest is wrong, 3 where nothing can run here; else failed by us, which for `run`
/// has a code of its own so that it is told apart from the containers'.
fn error_code(name: &str, error: &anyhow::Error) -> i32 {
    if error.is::<outrigger_config::Faults>() {
        return 2;
    }
    match error.downcast_ref::<SettingsError>() {
        Some(SettingsError::Wrong(_)) => 2,
        Some(SettingsError::NoState) => 3,
        None if name == "run" || name == "exec" => verdict::REFUSED,
        None => 1,
    }
}

/// Faults stand as they are, a line each with its place; all else on one line with its causes.
fn told(name: &str, error: &anyhow::Error) -> String {
    let faults = error.downcast_ref::<outrigger_config::Faults>();
    let settings = error.downcast_ref::<SettingsError>();
    match (faults, settings) {
        (Some(faults), _) | (_, Some(SettingsError::Wrong(faults))) => faults.to_string(),
        _ => format!("outrigger {name}: {}", record::chain(&**error)),
    }
}

/// The JSON Schemas of this product's configuration files, by the command they belong to.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    vec![("run", outrigger_config::schema::<settings::RunFile>())]
}
