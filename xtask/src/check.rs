//! `cargo xtask check`: format, lints, tidy, documentation, with warnings denied.

use anyhow::{Result, bail};

use crate::project::Project;
use crate::step::{self, Found};
use crate::tidy;

/// A step of the check.
type Step = fn(&Project) -> Result<()>;

/// The steps, the quickest first.
const STEPS: &[(&str, Step)] =
    &[("format", format), ("tidy", tidy), ("lints", lints), ("documentation", documentation)];

/// Checks everything, also after a step that found something, so that all is told at once.
pub fn run(project: &Project) -> Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        if let Err(failure) = step::timed(name, || step(project)) {
            eprintln!("{name}: {failure:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!(Found(format!("the check failed in {}", failed.join(", "))));
    }
    Ok(())
}

fn format(project: &Project) -> Result<()> {
    step::command(project.cargo().args(["fmt", "--all", "--check"]))
}

fn tidy(project: &Project) -> Result<()> {
    tidy::run(project, &tidy::Args::default())
}

fn lints(project: &Project) -> Result<()> {
    let all = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"];
    step::command(project.cargo().args(all))
}

/// A link to a private item is fine: these crates are read by those who work on them.
fn documentation(project: &Project) -> Result<()> {
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    step::command(project.cargo().args(["doc", "--workspace", "--no-deps", "--keep-going"]).env("RUSTDOCFLAGS", flags))
}
