//! Who follows a log that this process writes hears of every write without the help of the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_pod_core::life::Instance;
use tokio::sync::watch;

use crate::changes::Changes;

/// The logs that this process writes for one pod. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WrittenLogs(Arc<Mutex<BTreeMap<Instance, watch::Receiver<()>>>>);

impl WrittenLogs {
    /// A log begins; its writer tells of each write, and of its end by dropping the sender.
    pub fn begin(&self, instance: &Instance) -> watch::Sender<()> {
        let (sender, receiver) = watch::channel(());
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|_, log| log.has_changed().is_ok());
        logs.insert(instance.clone(), receiver);
        sender
    }

    /// What tells that there may be more in the log at `path`: its writer, else (an engine keeps it, or nobody writes any
    /// more) its directory.
    pub fn changes(&self, instance: &Instance, path: &Path) -> Changes {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match logs.get(instance).filter(|log| log.has_changed().is_ok()) {
            Some(log) => Changes::told_by(log.clone()),
            None => Changes::beside(path),
        }
    }
}
