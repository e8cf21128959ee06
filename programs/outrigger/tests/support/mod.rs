//! Runs the real executable with a state directory of its own, and reads what it says.
#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    reason = "a failure here is a failure of the test"
)]

pub mod place;
pub mod site;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A state directory that goes away with the test, and the executable.
pub struct Machine {
    state: tempfile::TempDir,
}

impl Machine {
    /// A machine without pods.
    pub fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap() }
    }

    /// Where its pods are recorded.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// A command of the executable. A background shell has its programs ignore SIGINT, which the executable would keep to:
    /// it begins with the signals as a terminal's shell leaves them.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,HUP", env!("CARGO_BIN_EXE_outrigger")])
            .args(args)
            .env("OUTRIGGER_RUN_STATE_DIRECTORY", self.state())
            .env("OUTRIGGER_RUN_LAUNCHER", "host")
            .env_remove("HOME")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Writes a file beside the state, for a command to read.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.state().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
