//! `cargo xtask ci`: setup, check and test, with the time of each. `.ci/run` is exactly this.

use anyhow::Result;

use crate::project::Project;
use crate::{check, setup, step, test};

/// What CI runs, and the second command of the README.
pub fn run(project: &Project) -> Result<()> {
    step::timed("ci", || {
        step::timed("setup", || setup::run(project))?;
        step::timed("check", || check::run(project))?;
        step::timed("test", || test::run(project, &test::Args::default()))
    })
}
