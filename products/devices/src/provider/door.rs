//! The other door of this machine: who else hands out devices here, and how we keep out of each other's way.

use std::path::PathBuf;

use outrigger_host::Locks;

use crate::claims::{self, Holders};
use crate::settings::Settings;

/// Where the machine's locks are, and where a kubelet would be.
#[derive(Clone, Debug)]
pub struct Door {
    host_root: PathBuf,
    locks: Option<PathBuf>,
    kubelet: PathBuf,
    pod_resources: PathBuf,
}

impl Door {
    /// Of the machine that the settings name.
    pub fn of(settings: &Settings) -> Self {
        Self {
            host_root: settings.host_root.clone(),
            locks: settings.lock_directory.clone(),
            kubelet: settings.plugin_directory.join(outrigger_kubelet_api::KUBELET_SOCKET),
            pod_resources: claims::socket(&settings.kubelet_directory),
        }
    }

    /// The machine's locks; without them no device is given, for nobody would know of it.
    pub fn locks(&self) -> Result<Locks, String> {
        match &self.locks {
            Some(directory) => Ok(Locks::at(directory)),
            None => Locks::of_machine(&self.host_root).map_err(|error| format!("{:#}", anyhow::Error::new(error))),
        }
    }

    /// What pods of a kubelet hold, where one runs here and tells. Where it does not tell, the locks alone must do: our node
    /// agent holds those of all that it gave away. `is_told` is whether the log has that already.
    pub async fn holders(&self, is_told: &mut bool) -> Holders {
        if std::os::unix::net::UnixStream::connect(&self.kubelet).is_err() {
            return Holders::new();
        }
        claims::holders(&self.pod_resources).await.unwrap_or_else(|error| {
            if !std::mem::replace(is_told, true) {
                tracing::warn!(
                    "A kubelet runs here, and which devices its pods hold cannot be read from {}: {:#}; what another \
                     program than outrigger gave them is not known",
                    self.pod_resources.display(),
                    anyhow::Error::new(error)
                );
            }
            Holders::new()
        })
    }
}
