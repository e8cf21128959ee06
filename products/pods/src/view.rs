//! What a running pod looks like: live lines and logs on a terminal, plain lines elsewhere.

mod follow;
mod live;
pub mod show;
pub mod state;
pub mod watch;
