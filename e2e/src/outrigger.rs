//! The executable under test with a state directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The executable, its state and the folder with the manifests of one benchmark.
#[derive(Debug)]
pub struct Outrigger {
    /// Its path.
    pub executable: PathBuf,
    folder: TempDir,
}

impl Outrigger {
    /// A fresh state directory for this executable.
    pub fn new(executable: &Path) -> Result<Self> {
        let executable =
            executable.canonicalize().with_context(|| format!("no executable {}", executable.display()))?;
        Ok(Self { executable, folder: TempDir::with_prefix("outrigger-bench-")? })
    }

    /// Writes a manifest and answers its path.
    pub fn manifest(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Where the state lies.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A command of the executable.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(args).env("OUTRIGGER_RUN_STATE_DIRECTORY", self.state()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; anything but exit code 0 is an error that shows what it said.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().context("cannot start the executable")?;
        if !output.status.success() {
            bail!(
                "`outrigger {}` ended with {}:\n{}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(output)
    }
}
