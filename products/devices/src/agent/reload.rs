//! Reads the configuration again when its file or `ConfigMap` changes, and at SIGHUP. A wrong one changes nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use outrigger_config::count;
use outrigger_host::Watches;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::metrics::Metrics;
use super::source::{self, Source};
use crate::inventory::Inventory;
use crate::settings::{Configuration, Settings, Surroundings};

/// What a process reads its configuration from, and what it has read.
#[derive(Debug)]
pub struct Reload {
    /// Where from.
    pub source: Arc<Source>,
    /// Around it.
    pub around: Surroundings,
    /// What holds.
    pub configuration: Configuration,
    /// Where new rules go.
    pub inventories: watch::Sender<Arc<Inventory>>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Reload {
    /// Watches until `stop`.
    pub async fn run(self, watches: Watches, stop: CancellationToken) -> anyhow::Result<()> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        let file = self.configuration.file.clone();
        let mut changes = file.as_deref().map(|file| watches.contents(source::watched(file)));
        let mut text = file.as_deref().map(std::fs::read);
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(()) = hangups.recv() => true,
                () = async {
                    match &mut changes {
                        Some(changes) => changes.changed().await,
                        None => std::future::pending().await,
                    }
                } => false,
            };
            let now = file.as_deref().map(std::fs::read);
            let is_same = match (&text, &now) {
                (Some(Ok(before)), Some(Ok(now))) => before == now,
                // A ConfigMap's file is gone for a moment while it is replaced.
                (_, Some(Err(_))) => true,
                _ => false,
            };
            if asked || !is_same {
                self.again();
            }
            if now.as_ref().is_some_and(Result::is_ok) {
                text = now;
            }
        }
    }

    fn again(&self) {
        let read = self.source.read(&self.around).and_then(|(configuration, _)| {
            let (inventory, odd) = Inventory::of(&configuration)?;
            Ok((configuration, inventory, odd))
        });
        let gone = self.configuration.file.as_deref().filter(|_| read.is_ok()).and_then(says_nothing);
        if let Some(why) = gone {
            error!("The new configuration is not used: {why}; `devices: []` withdraws every resource");
            self.metrics.reloaded("error");
            return;
        }
        match read {
            Ok((configuration, inventory, odd)) => {
                for warning in configuration.warnings.iter().chain(odd.iter()) {
                    warn!("{warning}");
                }
                if let Some(fixed) = fixed_change(&self.configuration.settings, &configuration.settings) {
                    warn!("{fixed} has changed, which holds only after a restart");
                }
                let resources = count(configuration.resources.len(), "resource");
                info!("The configuration has been read again: {resources}");
                self.metrics.reloaded("ok");
                self.inventories.send_replace(Arc::new(inventory));
            }
            Err(faults) => {
                for fault in &faults {
                    error!("The new configuration is not used: {fault}");
                }
                self.metrics.reloaded("error");
            }
        }
    }
}

/// Why a file that was read at the start says nothing now: it is gone, or there is nothing in it but comments.
fn says_nothing(file: &Path) -> Option<String> {
    let shown = file.display();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Some(format!("{shown} cannot be read: {error}")),
    };
    let is_said = |line: &str| !line.is_empty() && !line.starts_with('#') && line != "---";
    (!text.lines().map(str::trim).any(is_said)).then(|| format!("{shown} is empty"))
}

/// What a running process cannot change.
fn fixed_change(before: &Settings, now: &Settings) -> Option<&'static str> {
    let Settings { domain: _, ids: _, plugin_directory, kubelet_directory, host_root, host_mountinfo, .. } = before;
    let Settings { lock_directory, audit, admin, .. } = before;
    [
        ("pluginDirectory", *plugin_directory == now.plugin_directory),
        ("kubeletDirectory", *kubelet_directory == now.kubelet_directory),
        ("hostRoot", *host_root == now.host_root),
        ("hostMountinfo", *host_mountinfo == now.host_mountinfo),
        ("lockDirectory", *lock_directory == now.lock_directory),
        ("audit", *audit == now.audit),
        ("admin", *admin == now.admin),
    ]
    .into_iter()
    .find_map(|(key, is_same)| (!is_same).then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_empty_says_nothing_and_an_empty_list_does() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("devices.yaml");
        assert!(says_nothing(&file).unwrap().contains("cannot be read"));
        for (text, is_empty) in [("", true), ("---\n# to be written\n\n", true), ("devices: []\n", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(says_nothing(&file).is_some(), is_empty, "{text:?}");
        }
    }
}
