//! The commands that look and tell, one module each, and what several of them tell by: `who`, `facts`, `nodes`. None of them needs
//! the node agent.

use outrigger_config::Faults;
use outrigger_terminal::out;

use crate::args::SettingsArgs;
use crate::inventory::Inventory;
use crate::settings::{self, Configuration, Surroundings};

mod busy;
pub mod check;
pub mod explain;
mod facts;
pub mod list;
mod nodes;
pub mod who;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Wrong(#[from] Faults),
    /// The answer could not be printed.
    #[error("standard output: {0}")]
    Print(#[from] std::io::Error),
}

impl CommandError {
    /// The exit code that tells it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 2,
            Self::Print(_) => 3,
        }
    }
}

/// Reads the configuration and says what is odd about it.
fn configured(args: &SettingsArgs) -> Result<(Configuration, Inventory), Faults> {
    let configuration = settings::load(args, &Surroundings::here())?;
    let (inventory, odd) = Inventory::of(&configuration)?;
    for warning in configuration.warnings.iter().chain(odd.iter()) {
        out::note(&warning.to_string());
    }
    Ok((configuration, inventory))
}
