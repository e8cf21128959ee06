//! Container logs: pipes drained into files in the CRI log format, and read back.
//!
//! One thread of the process drains the pipes of all its containers ([`LogThread`]), so that nothing else is slowed by it
//! and a container is slowed by nothing of ours but that thread. Each stream is cut into records (`record`), which go
//! to a file that rotates (`file`).
//!
//! ```text
//! pipe ──► 64 KiB as they come ──► live readers (bounded; a slow one is told what it missed)
//!                └──► records ──► ATTEMPT.log ──full──► ATTEMPT.log.1, .2, … (a greater number is newer)
//! ```
//!
//! A follower keeps its file open and reads it to the end; when `ATTEMPT.log` is another file, its own has been given
//! the next number, and it goes on with the number after that or, where there is none, with `ATTEMPT.log`.
//!
//! What it does not do: it never stops draining. Where the disk is full the records are dropped, and that is told once.

mod file;
pub mod read;
mod record;
mod sink;
mod tail;
mod thread;
mod written;

pub use file::{LogRules, rotated};
pub use sink::{LogSink, LogTrouble, OutputPiece, write_messages};
pub use tail::{MESSAGE_LIMIT, termination_message};
pub use thread::{Drained, LogThread};
pub use written::WrittenLogs;
