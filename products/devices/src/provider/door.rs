//! The other door of this machine: who else hands out devices here, and how we keep out of each other's way.

use std::io::ErrorKind;
use std::path::PathBuf;

use outrigger_host::Locks;
use tokio::net::UnixStream;

use crate::claims::{self, Holders};
use crate::settings::Settings;

/// Where the machine's locks are, and where a kubelet would be.
#[derive(Clone, Debug)]
pub struct Door {
    settings: Settings,
    kubelet: PathBuf,
    pod_resources: PathBuf,
}

impl Door {
    /// Of the machine that the settings name.
    pub fn of(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            kubelet: settings.plugin_directory.join(outrigger_kubelet_api::KUBELET_SOCKET),
            pod_resources: claims::socket(&settings.kubelet_directory),
        }
    }

    /// The machine's locks; without them no device is given, for nobody would know of it.
    pub fn locks(&self) -> Result<Locks, String> {
        self.settings.locks().map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }

    /// Whether a kubelet runs here. One that takes no connections because too many wait is one too.
    async fn has_kubelet(&self) -> bool {
        match UnixStream::connect(&self.kubelet).await {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// What pods of a kubelet hold, where one runs here and tells. Where it does not tell, the locks alone must do: our node
    /// agent holds those of all that it gave away, and leaves them where it ends. `is_told` is whether the log has that already.
    pub async fn holders(&self, is_told: &mut bool) -> Option<Holders> {
        if !self.has_kubelet().await {
            return None;
        }
        let error = match claims::holders(&self.pod_resources).await {
            Ok(holders) => return Some(holders),
            Err(error) => error,
        };
        if !std::mem::replace(is_told, true) {
            tracing::warn!(
                "A kubelet runs here, and which devices its pods hold cannot be read from {}: {:#}; what another program than \
                 outrigger gave them is not known",
                self.pod_resources.display(),
                anyhow::Error::new(error)
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

    use super::*;
    use crate::args::SettingsArgs;
    use crate::settings::{Surroundings, load};

    /// Tried with a connection that is waited for: then nothing else of the process is done any more.
    #[tokio::test]
    async fn a_kubelet_that_takes_no_connection_is_here_and_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let args =
            SettingsArgs { plugin_directory: Some(place.path().display().to_string()), ..SettingsArgs::default() };
        let door = Door::of(&load(&args, &Surroundings::default()).unwrap().settings);
        assert!(!door.has_kubelet().await);
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(&door.kubelet).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(connection) = UnixStream::connect(&door.kubelet).await {
            waiting.push(connection);
        }
        assert!(door.has_kubelet().await, "after {} others", waiting.len());
    }

    /// As the node agent's are: else one file with `hostRoot` would give a device away by both doors.
    #[test]
    fn locks_are_not_below_another_root() {
        let root = tempfile::tempdir().unwrap();
        let args = SettingsArgs { host_root: Some(root.path().display().to_string()), ..SettingsArgs::default() };
        let settings = load(&args, &Surroundings::default()).unwrap().settings;
        let locks = Door::of(&settings).locks().unwrap();
        assert_eq!(locks, settings.locks().unwrap());
        assert!(!locks.directory().starts_with(root.path()) && std::fs::read_dir(root).unwrap().next().is_none());
    }
}
