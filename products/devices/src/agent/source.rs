//! Where the configuration comes from, so that it can be read again while the process runs.

use std::path::{Path, PathBuf};

use outrigger_config::Faults;

use crate::args::SettingsArgs;
use crate::gdp::command::{self, GdpArgs};
use crate::gdp::glog;
use crate::settings::{self, Configuration, Surroundings};

/// By whose habits this process was called, with what was typed.
#[derive(Debug)]
pub enum Source {
    /// `outrigger devices agent`.
    Ours(SettingsArgs),
    /// `generic-device-plugin`.
    Gdp(GdpArgs),
    /// `device-plugin`, with what is to be logged.
    Simple(&'static str),
}

impl Source {
    /// Reads the configuration, and what is to be logged.
    ///
    /// # Errors
    /// Everything that is wrong in it, each with its place.
    pub fn read(&self, around: &Surroundings) -> Result<(Configuration, &'static str), Faults> {
        match self {
            Self::Ours(args) => settings::load(args, around).map(|read| (read, "info")),
            Self::Gdp(args) => command::load(args, around).map(|read| (read.configuration, read.log_level)),
            Self::Simple(log_level) => glog::profile(around).map(|read| (read, *log_level)),
        }
    }

    /// The exit code where the configuration is wrong, and where this process cannot run.
    pub fn codes(&self) -> (u8, u8) {
        match self {
            Self::Ours(_) => (2, 3),
            Self::Gdp(_) | Self::Simple(_) => (1, 1),
        }
    }

    /// What stands before the reason why this process ends.
    pub fn last_words(&self) -> &'static str {
        match self {
            Self::Ours(_) => "outrigger devices agent",
            Self::Gdp(_) => "Execution failed",
            Self::Simple(_) => "device-plugin",
        }
    }

    /// Whether the metrics of the generic-device-plugin are served too.
    pub fn is_gdp(&self) -> bool {
        matches!(self, Self::Gdp(_))
    }
}

/// The directory in which a change of the file shows. Of a `ConfigMap` it is the link `..data` in it that changes.
pub fn watched(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}
