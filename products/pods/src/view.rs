//! What a running pod looks like: live lines and logs on a terminal, plain lines elsewhere.

mod follow;
pub mod line;
mod live;
pub mod paint;
pub mod screen;
pub mod show;
mod state;
pub mod watch;
