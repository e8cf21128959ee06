//! Reading the log of one run of a container: its current file `ATTEMPT.log` and the rotated ones beside it.
//!
//! A [`LogReader`] works on the files alone, so it serves finished pods and running ones. It joins the `P` pieces of a
//! line, filters, finds the last lines, and follows.
//!
//! ```text
//!            ┌── more ──┐
//! files ──► read ──► end of the newest file ──run over, or not following──► what is left of a line ──► done
//!            ▲                  │
//!            └─ changes tell ──┘
//! ```
//!
//! Following neither loses nor repeats a line when files rotate: the open file is read to its end after it was put aside,
//! then the next one is opened by its number. Only a reader that is slower than a whole round of rotation misses what was
//! removed meanwhile; the log says how many files. Reading never waits for the writer, nor the writer for a reader.
//!
//! At the limits: a line is joined up to 256 KiB, and what is longer comes in parts; a record that is not in the CRI format
//! comes as it stands; where inotify is not to be had, the files are looked at four times a second, and the log says so.

mod cursor;
mod join;
mod state;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use outrigger_launcher::{BoxFuture, LogStream};
use tokio::task::JoinHandle;

use self::state::{State, Step};
use crate::changes::Changes;

pub use self::join::{Line, LogText};

/// What of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only lines that began at this time or later.
    pub since: Option<Timestamp>,
    /// Only this stream.
    pub stream: Option<LogStream>,
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log {}", path.display())]
pub struct LogReadError {
    /// Its current file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Reads the log of one run of a container.
pub struct LogReader {
    path: PathBuf,
    state: Work,
    follow: Option<Follow>,
    done: bool,
}

/// The reading itself is blocking; it travels to a thread for each step and comes back.
enum Work {
    Idle(Box<State>),
    Stepping(JoinHandle<(Box<State>, io::Result<Step>)>),
    Gone,
}

struct Follow {
    changes: Changes,
    /// Resolves when the run is over and all of it stands in the log; `None` once it has.
    over: Option<BoxFuture<'static, ()>>,
}

impl LogReader {
    /// Reads what stands in the log now, then ends. A log that is not there is empty.
    pub fn new(path: &Path, options: ReadOptions) -> Self {
        let state = Work::Idle(Box::new(State::new(path, options)));
        Self { path: path.to_owned(), state, follow: None, done: false }
    }

    /// Reads on as `changes` tell, until `over`, which resolves when the container's run is over and all that it wrote
    /// stands in the log.
    pub fn following(path: &Path, options: ReadOptions, changes: Changes, over: BoxFuture<'static, ()>) -> Self {
        Self { follow: Some(Follow { changes, over: Some(over) }), ..Self::new(path, options) }
    }

    /// The next lines, at least one; `None` at the end. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, LogReadError> {
        while !self.done {
            // Asked before reading, so that everything written before the end is read after it.
            let over = match &mut self.follow {
                None => true,
                Some(follow) => follow.is_over().await,
            };
            let step = self.step().await.map_err(|source| LogReadError { path: self.path.clone(), source })?;
            let mut lines = step.lines;
            if step.at_end {
                if over {
                    self.done = true;
                    lines.extend(self.rest());
                } else if lines.is_empty()
                    && let Some(follow) = &mut self.follow
                {
                    follow.wait().await;
                }
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> io::Result<Step> {
        if let Work::Idle(_) = self.state
            && let Work::Idle(mut state) = std::mem::replace(&mut self.state, Work::Gone)
        {
            self.state = Work::Stepping(tokio::task::spawn_blocking(move || {
                let step = state.step();
                (state, step)
            }));
        }
        let Work::Stepping(handle) = &mut self.state else {
            return Err(io::Error::other("an earlier step of reading it failed"));
        };
        match handle.await {
            Ok((state, step)) => {
                self.state = Work::Idle(state);
                step
            }
            Err(failure) => {
                self.state = Work::Gone;
                Err(io::Error::other(failure))
            }
        }
    }

    /// What is left of lines whose end never came.
    fn rest(&mut self) -> Vec<Line> {
        match &mut self.state {
            Work::Idle(state) => state.rest(),
            _ => Vec::new(),
        }
    }
}

impl Follow {
    async fn is_over(&mut self) -> bool {
        let Some(over) = &mut self.over else { return true };
        tokio::select! {
            biased;
            () = over => {
                self.over = None;
                true
            }
            () = std::future::ready(()) => false,
        }
    }

    /// Waits until there may be more to read, or the run is over.
    async fn wait(&mut self) {
        let Some(over) = &mut self.over else { return };
        tokio::select! {
            () = over => self.over = None,
            () = self.changes.next() => {}
        }
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("path", &self.path).field("done", &self.done).finish_non_exhaustive()
    }
}

/// All of a log that stands there now, as text. For small logs and for tests.
pub async fn whole_text(path: &Path, options: ReadOptions, timestamps: bool) -> Result<Bytes, LogReadError> {
    let (mut reader, mut text, mut out) = (LogReader::new(path, options), LogText::new(timestamps), Vec::new());
    while let Some(lines) = reader.next().await? {
        out.extend_from_slice(&text.of(&lines));
    }
    Ok(out.into())
}

/// The newest run whose log stands in a container's log directory; `None` before its first one.
pub fn latest_attempt(directory: &Path) -> io::Result<Option<u32>> {
    let listed = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        listed => listed?,
    };
    let mut latest = None;
    for entry in listed {
        let name = entry?.file_name();
        let attempt = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok());
        latest = latest.max(attempt);
    }
    Ok(latest)
}
