//! What a running pod looks like: live lines and logs on a terminal, plain lines elsewhere.

pub mod line;
pub mod screen;
