//! A container engine without child processes: its containers are small programs of steps, and they outlive whoever
//! started them.
//!
//! An [`Engine`] is the world; [`Engine::launcher`] is one caller's connection to it. A caller that goes away leaves its
//! containers running; the next one lists them and joins them again. The program of a container stands in its manifest:
//!
//! | word of `command` | step |
//! |---|---|
//! | `print:TEXT` | writes TEXT and a line end to stdout |
//! | `complain:TEXT` | the same to stderr |
//! | `sleep:SECONDS` | waits |
//! | `message:TEXT` | writes its termination message |
//! | `deaf` | does not end at a signal any more, only at a kill |
//! | `exit:CODE` | ends |
//! | `missing` (first) | is not there: the start fails as for a command that does not exist |
//!
//! A program whose steps are over ends with 0. As a command of exec, `exit:CODE`, `print:TEXT` and `sleep:SECONDS` do the
//! same. An image called `absent` cannot be pulled.
//!
//! What it does not do: it isolates nothing, and it mounts nothing.

mod engine;
mod launcher;
mod program;

pub use engine::{Engine, Run};
pub use launcher::EngineLauncher;
