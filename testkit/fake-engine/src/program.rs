//! The programs that containers run.

use std::path::PathBuf;
use std::time::Duration;

use outrigger_launcher::LogStream;

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Write(LogStream, String),
    Sleep(Duration),
    Message(String),
    Deaf,
    Exit(i32),
}

/// What a container runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// Where its termination message goes.
    pub message_file: PathBuf,
}

impl Program {
    /// Reads `command`; `None` where the command does not exist.
    pub fn read(command: &[String], message_file: PathBuf) -> Option<Self> {
        let steps = command.iter().map(|word| step(word)).collect::<Option<_>>()?;
        Some(Self { steps, message_file })
    }
}

fn step(word: &str) -> Option<Step> {
    let (kind, value) = word.split_once(':').unwrap_or((word, ""));
    Some(match kind {
        "print" => Step::Write(LogStream::Stdout, format!("{value}\n")),
        "complain" => Step::Write(LogStream::Stderr, format!("{value}\n")),
        "sleep" => Step::Sleep(Duration::from_secs_f64(value.parse().ok()?)),
        "message" => Step::Message(value.to_owned()),
        "deaf" => Step::Deaf,
        "exit" => Step::Exit(value.parse().ok()?),
        _ => return None,
    })
}
