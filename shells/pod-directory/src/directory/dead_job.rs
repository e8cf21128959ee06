//! The end of a Job whose runner died, from what is written down about its pods.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{DirectoryError, End, Ending, JobStatusFile, Kind, ObjectName, OwnedRun, RunDirectory, RunnerIdentity};

impl OwnedRun {
    /// Writes down the end of a Job that was taken over from a dead runner. Its pods have been brought to their end before.
    pub fn end_job_without_runner(&self, now: Timestamp) -> Result<(), DirectoryError> {
        let end = Some(End { at: Time(now), why: Ending::RunnerDied });
        let file = match self.directory().job_status()? {
            Some(before) => JobStatusFile { status: status(self.directory(), &before)?, end, ..before },
            None => {
                JobStatusFile { status: JobStatus::default(), runner: RunnerIdentity::this(), pods: Vec::new(), end }
            }
        };
        self.write_job_status(&file, true)
    }
}

/// No pod of it is left, and each counts as it ended.
fn status(directory: &RunDirectory, before: &JobStatusFile) -> Result<JobStatus, DirectoryError> {
    let (state, namespace) = (directory.state(), directory.name().namespace());
    let (mut succeeded, mut failed) = (0, 0);
    for (name, number) in &before.pods {
        let pod = state.run(Kind::Pod, &ObjectName::new(namespace, name)?, *number).and_then(|pod| pod.status());
        match pod {
            Ok(Some(file)) if file.status.phase.as_deref() == Some("Succeeded") => succeeded += 1,
            Ok(_) => failed += 1,
            // It was removed, so it had ended, and was counted then.
            Err(DirectoryError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let status = before.status.clone();
    let most = |counted: Option<i32>, found: i32| Some(counted.unwrap_or(0).max(found));
    Ok(JobStatus {
        active: Some(0),
        ready: Some(0),
        terminating: Some(0),
        succeeded: most(status.succeeded, succeeded),
        failed: most(status.failed, failed),
        ..status
    })
}
