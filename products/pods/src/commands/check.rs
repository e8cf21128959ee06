//! `outrigger run check`: tries what `run.yaml` names, and tells what would be used.

mod machine;

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::Launcher;
use outrigger_pod_core::plan::PodPlan;
use outrigger_terminal::{figures, out};
use serde_json::json;

use crate::args::CheckArgs;
use crate::launcher;
use crate::record;
use crate::settings::{self, LauncherChoice, Settings, Surroundings};
use machine::Machine;

/// Checks; 1 where something would not work.
pub fn check(args: &CheckArgs) -> anyhow::Result<i32> {
    let (settings, warnings) = settings::settings(&args.settings, &Surroundings::here())?;
    for warning in &warnings {
        out::note(&warning.to_string());
    }
    let apptainer = launcher::find_apptainer(std::env::var_os("PATH").as_deref());
    let host = HostLauncher::new().map_err(|error| crate::record::chain(&error));
    let (mut lines, good) = report(&settings, apptainer.as_deref());
    lines.extend(Machine::here(apptainer.as_deref(), host.as_ref()).lines());
    if let (Ok(host), true) = (&host, settings.launcher != LauncherChoice::Apptainer) {
        lines.extend(not_held(host)?.into_iter().map(|line| ("not held here", line)));
    }
    out::print(&lines.into_iter().map(|(name, value)| format!("{name:15} {value}\n")).collect::<String>())?;
    Ok(i32::from(!good))
}

/// A line: what it is about, and how that is.
type Line = (&'static str, String);

/// What the host launcher cannot hold here, of a pod that asks for everything that a machine may lack.
fn not_held(launcher: &HostLauncher) -> anyhow::Result<Vec<String>> {
    let pod = json!({"metadata": {"name": "check", "namespace": "default"}, "spec": {
        "shareProcessNamespace": true,
        "securityContext": {"fsGroup": 1, "supplementalGroups": [1]},
        "containers": [{"name": "check", "command": ["true"], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}});
    let pod: Pod = serde_json::from_value(pod)?;
    let plan = PodPlan::new(pod, "")?;
    let told = |path: &str| path.trim_start_matches("spec.").replace("containers[0].", "");
    Ok(launcher.shortfalls(&plan).iter().map(|one| format!("{}: {}", told(&one.path), one.message)).collect())
}

/// What is used, a line each, and whether all of it works.
fn report(settings: &Settings, apptainer: Option<&Path>) -> (Vec<Line>, bool) {
    let Settings { launcher, log_max_size, log_max_files, keep, state, file, of_all_users: _ } = settings;
    let mut good = true;
    let mut lines = Vec::new();
    lines.push(match file {
        Some(path) => ("configuration", path.display().to_string()),
        None => ("configuration", "no run.yaml, defaults are used".to_owned()),
    });
    lines.push(match (launcher, apptainer) {
        (LauncherChoice::Apptainer, None) => {
            good = false;
            ("launcher", "apptainer, but neither apptainer nor singularity is in PATH: install it".to_owned())
        }
        (LauncherChoice::Auto, Some(path)) => ("launcher", format!("auto; {} is here", path.display())),
        (LauncherChoice::Auto, None) => ("launcher", "auto; apptainer is not here, so host is used".to_owned()),
        (chosen, _) => ("launcher", chosen.to_string()),
    });
    lines.push(("logs", format!("{log_max_files} files of {} for each container", figures::bytes(*log_max_size))));
    lines.push(("finished pods", format!("kept for {}", figures::span(*keep))));
    lines.push(match writable(state.root()) {
        Ok(()) => ("state", format!("{}, can be written", state.root().display())),
        Err(why) => {
            good = false;
            ("state", format!("{} cannot be written: {why}; use --state-directory", state.root().display()))
        }
    });
    (lines, good)
}

/// Whether the directory, or the nearest one above it that is there, can be written.
fn writable(path: &Path) -> Result<(), String> {
    let nearest = path.ancestors().find(|above| above.exists()).ok_or("nothing of the path is there")?;
    if !nearest.is_dir() {
        return Err(format!("{} is no directory", nearest.display()));
    }
    rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("{}: {}", nearest.display(), record::chain(&error)))
}
