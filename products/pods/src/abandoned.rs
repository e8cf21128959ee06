//! Runs whose runner was killed or crashed: every command first brings them to their end, so that it tells the truth and
//! nothing of them is left, no process and no secret.
//!
//! What it does not do: it fails no command. What cannot be brought to its end is told, and the next command tries again.

use jiff::Timestamp;
use outrigger_host_launcher::HostLauncher;
use outrigger_pod_directory::{DirectoryError, Kind, RunDirectory, StateDirectory};
use outrigger_pod_runner::recover::recover;
use outrigger_terminal::out;

use crate::Providers;
use crate::record::chain;

/// Brings every abandoned run to its end.
pub fn end(state: &StateDirectory, providers: impl FnOnce() -> Providers) {
    let found = match abandoned(state) {
        Ok(found) if found.is_empty() => return,
        Ok(found) => found,
        // The command itself meets the same directory and says what is wrong with it.
        Err(_) => return,
    };
    if let Err(error) = end_all(&found, &providers()) {
        out::note(&format!("outrigger: pods whose runner died could not be brought to their end: {}", chain(&*error)));
    }
}

/// All runs, not only the newest of each name: a secret may lie in any. Pods before their Jobs.
fn abandoned(state: &StateDirectory) -> Result<Vec<RunDirectory>, DirectoryError> {
    let mut found = Vec::new();
    for kind in [Kind::Pod, Kind::Job] {
        // What cannot be read is told by the command that shows it.
        found.extend(state.list(kind)?.into_iter().filter(|run| run.is_abandoned().unwrap_or_default()));
    }
    Ok(found)
}

/// Every launcher's containers are processes below agents of the host launcher, which so ends what is left of any.
fn end_all(found: &[RunDirectory], providers: &Providers) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let launcher = HostLauncher::new()?;
    for run in found {
        if let Err(error) = runtime.block_on(recover(run, &launcher, providers, Timestamp::now())) {
            let (kind, name, number) = (run.kind(), run.name(), run.number());
            let why = chain(&error);
            out::note(&format!(
                "outrigger: run {number} of {kind} {name} is abandoned and not brought to its end: {why}"
            ));
        }
    }
    Ok(())
}
