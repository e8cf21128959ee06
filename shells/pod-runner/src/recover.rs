//! After a runner died: its directory tells the truth again, and nothing of the pod is left.
//!
//! The next command calls [`recover`] for every run whose runner is dead and whose end was never written down. Containers
//! end with their runner (a keeper or the kernel sees to it), so what was running has ended, and how is not known: a
//! kubelet's `ContainerStatusUnknown`, exit code 137. What a container said before that stays.
//!
//! ```text
//! dead, no end ──take over the lock──► launcher removes ──► secrets and volumes go ──► claims are cleared ──► final status
//! ```
//!
//! What it does not do: it continues nothing. A pod whose containers outlive their runner is continued by
//! [`crate::drive::Runner`].

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_launcher::claims::{ClaimError, Provider};
use outrigger_launcher::{LaunchError, Launcher};
use outrigger_pod_core::life::{Deletion, Event, Lost, Machine, Note, Options, RestoreError, World};
use outrigger_pod_core::plan::{PlanError, PodPlan};
use outrigger_pod_directory::{
    DirectoryError, End, Ending, Kind, OwnedRun, RecordedNote, RunDirectory, RunnerIdentity, StatusFile,
};

/// Why a run could not be brought to its end. Nothing is lost by it: the next command tries again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its directory cannot be read or written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its manifest is none that this release knows.
    #[error("the manifest in {} cannot be read", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Its manifest has faults.
    #[error("the manifest in {} has faults", .path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Which.
        #[source]
        source: PlanError,
    },
    /// Its record does not fit.
    #[error("the record in {} cannot be used", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// Something of it may still run.
    #[error("what is left of the pod cannot be removed")]
    Remove(#[from] LaunchError),
    /// A claim was not given back.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Brings an abandoned run to its end; answers whether there was something to do. Repeating it is safe.
///
/// `launcher` is one of the name that [`RunDirectory::pod_spec`] tells, whose containers end with their runner.
pub async fn recover(
    directory: &RunDirectory,
    launcher: &dyn Launcher,
    providers: &[Arc<dyn Provider>],
    now: Timestamp,
) -> Result<bool, RecoverError> {
    if !directory.is_abandoned()? {
        return Ok(false);
    }
    let Some(owned) = directory.take_over()? else { return Ok(false) };
    // Its runner may have written the end, and then freed the lock, since the status was read.
    if directory.has_ended()? {
        return Ok(false);
    }
    // Whatever else fails: secrets do not stay on the disk.
    owned.remove_secrets()?;
    match directory.kind() {
        Kind::Pod => recover_pod(&owned, launcher, providers, now).await?,
        Kind::Job => owned.end_job_without_runner(now)?,
    }
    Ok(true)
}

async fn recover_pod(
    owned: &OwnedRun,
    launcher: &dyn Launcher,
    providers: &[Arc<dyn Provider>],
    now: Timestamp,
) -> Result<(), RecoverError> {
    let directory = owned.directory();
    let plan = Arc::new(plan_of(directory)?);
    let before = directory.status()?;
    let mut machine = machine(&plan, before.as_ref(), now)
        .map_err(|source| RecoverError::Record { path: directory.status_file(), source })?;
    launcher.remove(&plan.uid).await?;
    outrigger_pod_directory::volumes::remove(directory)?;
    owned.remove_launcher()?;
    for provider in providers {
        provider.clear(&plan.uid).await?;
    }
    machine.step(now, Event::Removed);
    let mut notes = before.as_ref().map(|file| file.notes.clone()).unwrap_or_default();
    RecordedNote::add(&mut notes, &runner_died(before.as_ref()), now);
    let file = StatusFile {
        status: machine.status(),
        record: machine.record(),
        stands: false,
        runner: before.as_ref().map_or_else(RunnerIdentity::this, |file| file.runner.clone()),
        control: None,
        not_executed: before.as_ref().map(|file| file.not_executed.clone()).unwrap_or_default(),
        given: before.map(|file| file.given).unwrap_or_default(),
        notes,
        end: Some(End { at: Time(now), why: Ending::RunnerDied }),
    };
    owned.write_status(&file, true)?;
    Ok(())
}

fn plan_of(directory: &RunDirectory) -> Result<PodPlan, RecoverError> {
    let spec = directory.pod_spec()?;
    let path = directory.spec_file();
    let pod: Pod =
        serde_json::from_value(spec.pod).map_err(|source| RecoverError::Manifest { path: path.clone(), source })?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    PodPlan::new(pod, &uid).map_err(|source| RecoverError::Plan { path, source })
}

/// The machine with its pod over: every container that was running is lost, nothing runs again.
fn machine(plan: &Arc<PodPlan>, before: Option<&StatusFile>, now: Timestamp) -> Result<Machine, RestoreError> {
    let options = Options::default();
    let Some(before) = before else {
        let mut machine = Machine::new(Arc::clone(plan), options, now);
        machine.step(now, Event::Delete(Deletion { grace: None }));
        return Ok(machine);
    };
    let world = World { found: &[], lost: Lost::PodOver };
    // What it wants done is done by the caller whatever it says: everything goes.
    Machine::restore(Arc::clone(plan), options, &before.record, world, now).map(|(machine, _)| machine)
}

fn runner_died(before: Option<&StatusFile>) -> Note {
    let which = before.map(|file| format!(" (process {})", file.runner.pid)).unwrap_or_default();
    let message = format!("The pod's runner{which} was killed or crashed; its containers ended with it");
    Note { container: None, warning: true, reason: "RunnerDied".into(), message }
}
