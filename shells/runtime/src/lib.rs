//! What every process of ours is made of: tasks and their owner, signals, logging, readiness, the admin endpoint.
//!
//! A process is one function `run(config, stop) -> Result`. It starts its long-running parts in [`Tasks`] and ends with
//! [`Tasks::finish`]; work that comes and goes inside one of them is [`Children`].
//!
//! What it does not do: it reads no configuration and knows no product.

pub mod admin;
mod children;
mod driven;
mod logging;
mod readiness;
mod signals;
mod tasks;

pub use children::{Children, ChildrenOverran, NoRoom};
pub use driven::Driven;
pub use logging::{LogFilter, LogFilterError, LogFormat, LogLevel, LogsAlreadyStarted, start_logging, subscriber};
pub use readiness::{Condition, Readiness};
pub use signals::{Stop, StopSignal, stop_on_signals, stop_on_signals_but_hangup};
pub use tasks::{TaskFailure, TaskName, Tasks};
