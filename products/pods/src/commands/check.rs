//! `outrigger run check`: tries what `run.yaml` names, and tells what would be used.

use std::path::Path;

use crate::args::CheckArgs;
use crate::launcher;
use crate::settings::{self, LauncherChoice, Settings, Surroundings};
use crate::show::out;
use crate::text;

/// Checks; 1 where something would not work.
pub fn check(args: &CheckArgs) -> anyhow::Result<i32> {
    let (settings, warnings) = settings::settings(&args.settings, &Surroundings::here())?;
    for warning in &warnings {
        out::note(&warning.to_string());
    }
    let (lines, good) = report(&settings, launcher::find_apptainer(std::env::var_os("PATH").as_deref()).as_deref());
    out::print(&lines)?;
    Ok(i32::from(!good))
}

/// What is used, a line each, and whether all of it works.
fn report(settings: &Settings, apptainer: Option<&Path>) -> (String, bool) {
    let Settings { launcher, log_max_size, log_max_files, keep, state, file } = settings;
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
    lines.push(("logs", format!("{log_max_files} files of {} for each container", text::bytes(*log_max_size))));
    lines.push(("finished pods", format!("kept for {}", text::span(*keep))));
    lines.push(match writable(state.root()) {
        Ok(()) => ("state", format!("{}, can be written", state.root().display())),
        Err(why) => {
            good = false;
            ("state", format!("{} cannot be written: {why}; use --state-directory", state.root().display()))
        }
    });
    (lines.into_iter().map(|(name, value)| format!("{name:14} {value}\n")).collect(), good)
}

/// Whether the directory, or the nearest one above it that is there, can be written.
fn writable(path: &Path) -> Result<(), String> {
    let nearest = path.ancestors().find(|above| above.exists()).ok_or("nothing of the path is there")?;
    if !nearest.is_dir() {
        return Err(format!("{} is no directory", nearest.display()));
    }
    rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("{}: {error}", nearest.display()))
}
