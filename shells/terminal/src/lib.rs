//! What commands print, and the terminal that they print on.
//!
//! Read in this order: [`out`] writes to standard output and standard error; [`table`] lines columns up and [`figures`]
//! are ages and sizes as people read them. For commands that go on: [`line`](mod@line) makes what others wrote fit to be
//! shown, [`screen`] draws a picture that is repainted below the scrollback, [`paint`] writes it on a thread of its own,
//! [`device`] is the terminal itself: its size and raw mode.
//!
//! What it does not do: it knows neither pods nor logs; what stands in a table or on the screen is its callers' to say.

pub mod out;

pub mod figures;
pub mod table;

pub mod line;
pub mod paint;
pub mod screen;

pub mod device;
