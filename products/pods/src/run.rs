//! `outrigger run`: from the command line to running pods, and from their end to an exit code.

use outrigger_config::Faults;

use crate::args::{Form, RunArgs};
use crate::manifest::{self, Work};
use crate::settings::{self, Surroundings};
use crate::show::{objects, out, plan};

/// Runs what the manifests say.
pub fn run(args: &RunArgs) -> anyhow::Result<i32> {
    let (_settings, warnings) = settings::settings(&args.settings, &Surroundings::here())?;
    tell(&warnings);
    let (work, warnings) = manifest::load(&args.files, &args.given, args.how.strict)?;
    tell(&warnings);
    if args.how.dry_run {
        return dry_run(&work, args.how.output);
    }
    anyhow::bail!("this build shows what would run; use --dry-run")
}

fn tell(warnings: &Faults) {
    for warning in warnings {
        out::note(&warning.to_string());
    }
}

/// Shows what would run.
fn dry_run(work: &Work, form: Form) -> anyhow::Result<i32> {
    let objects = work
        .pods
        .iter()
        .map(|(_, pod)| serde_json::to_value(pod))
        .chain(work.jobs.iter().map(|(_, job)| serde_json::to_value(job)))
        .collect::<Result<Vec<_>, _>>()?;
    let text = objects::text(&objects::one_or_list(objects), form).unwrap_or_else(|| {
        let pods = work.pods.iter().map(|(_, pod)| plan::pod(pod));
        let jobs = work.jobs.iter().map(|(_, job)| plan::job(job));
        pods.chain(jobs).collect::<Vec<_>>().join("\n")
    });
    out::print(&text)?;
    Ok(0)
}
