//! `cargo xtask check`: format, lints, tidy, documentation, with warnings denied.

use anyhow::Result;

use crate::project::Project;
use crate::{step, tidy};

/// Checks everything, and stops at the first step that finds something.
pub fn run(project: &Project) -> Result<()> {
    step::timed("format", || step::command(project.cargo().args(["fmt", "--all", "--check"])))?;
    step::timed("tidy", || tidy::run(project, &tidy::Args::default()))?;
    step::timed("lints", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"];
        step::command(project.cargo().args(lints))
    })?;
    step::timed("documentation", || {
        step::command(project.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}
