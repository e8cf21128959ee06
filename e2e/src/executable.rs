//! Executables at places where every user can execute them: where they were built may be closed to others.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Puts the executable there too, where that file system allows it without a copy.
pub fn put(built: &Path, there: &Path) -> Result<()> {
    if fs::hard_link(built, there).is_ok() {
        return Ok(());
    }
    copy(built, there)
}

/// Copies an executable. Another process does it: what this one has open for writing, a child that another test starts has
/// too until it executes something, and what is written to cannot be executed.
pub fn copy(built: &Path, there: &Path) -> Result<()> {
    let copied = Command::new("cp").args([built, there]).status().context("cannot start cp")?;
    ensure!(copied.success(), "cannot copy {} to {}", built.display(), there.display());
    Ok(())
}
