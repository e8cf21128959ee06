//! The commands beside `run`, one module each.

pub mod describe;
pub mod ps;
pub mod rm;
pub mod session;
pub mod talk;
