//! The user's terminal: its size, and raw mode that ends however we end in order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{self, OptionalActions, Termios};

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Default for Size {
    /// What is assumed of a terminal that does not know its size.
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// The size of the terminal at a descriptor; `None` where it is no terminal.
pub fn size(at: impl AsFd) -> Option<Size> {
    let found = termios::tcgetwinsize(at).ok()?;
    Some(match (usize::from(found.ws_col), usize::from(found.ws_row)) {
        (0, _) | (_, 0) => Size::default(),
        (columns, rows) => Size { columns, rows },
    })
}

/// Raw mode of standard input: keys go on as they are pressed, also Ctrl-C. Ends when this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Begins it.
    pub fn begin() -> io::Result<Self> {
        let before = termios::tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}
