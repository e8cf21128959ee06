//! Standard output and standard error: commands write to them here and nowhere else.
//!
//! A reader that goes away (`outrigger ps | head -1`) is no fault: what is left is dropped.

use std::io::{self, IsTerminal, Write};

/// Writes to standard output and flushes.
pub fn print(text: &str) -> io::Result<()> {
    whole(&mut io::stdout().lock(), text.as_bytes())
}

/// Writes one line to standard error. That it may fail is all the same: there is nobody left to tell.
pub fn note(line: &str) {
    let _ = whole(&mut io::stderr().lock(), format!("{line}\n").as_bytes());
}

/// Writes everything; a reader that is gone counts as having read.
pub fn whole(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Whether standard output shows colors and moves its cursor: it is a terminal that can.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether colors are wanted on standard output (<https://no-color.org>).
pub fn has_colors() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
