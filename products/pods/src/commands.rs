//! The commands beside `run`, one module each.

pub mod check;
pub mod describe;
pub mod logs;
pub mod ps;
pub mod rm;
mod session;
pub mod talk;
