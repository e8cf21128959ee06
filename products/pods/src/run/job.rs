//! One Job of this process: its directory, and the pods that it starts one after the other.
//!
//! ```text
//! pods' statuses, the clock ──► decide ──► status on disk ──► pods started and stopped
//!       ▲                                                            │
//!       └────────────────────────────────────────────────────────────┘
//! ```
//!
//! What a Job wants is `pod-core`'s to decide; here it is carried out. A stop, by signal, by the time limit or by a wish in
//! the Job's directory (`outrigger stop`), ends the pods in order and starts no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_manifest::Beside;
use outrigger_pod_core::job::{Decision, JobAction, JobEnd, JobPlan, JobPod, decide};
use outrigger_pod_directory::changes::Changes;
use outrigger_pod_directory::{
    End, Ending, JobSpec, JobStatusFile, ObjectName, OwnedRun, RunDirectory, RunnerIdentity, StateDirectory, StopFile,
};
use outrigger_pod_runner::drive::Outcome;
use outrigger_pod_runner::handle::{Handle, Request, Snapshot};
use outrigger_runtime::Children;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::errand::How;
use super::pod::{self, Tools};

/// How many changes of pods wait for the Job.
const CHANGES: usize = 64;

/// How long tasks of pods that are over may take to end.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// How a Job ended.
#[derive(Debug)]
pub struct JobOutcome {
    /// Its last status.
    pub status: JobStatus,
    /// Why it ended, as a Job controller knows it; `None` where it was stopped before.
    pub end: Option<JobEnd>,
    /// Why the run ended.
    pub ending: Ending,
    /// How its pods ended.
    pub pods: Vec<Outcome>,
}

/// A Job that has its directory and is about to run.
pub struct BegunJob {
    plan: JobPlan,
    owned: OwnedRun,
    beside: Beside,
    how: How,
    tools: Tools,
    status: JobStatus,
    pods: Vec<JobPod>,
    runs: Vec<(String, u32)>,
    handles: BTreeMap<String, Handle>,
    outcomes: Vec<Outcome>,
    tasks: Children,
}

/// What happens to a pod of the Job.
enum Change {
    Status(String, Arc<Snapshot>),
    Ended(String, Box<anyhow::Result<Outcome>>),
}

/// Gives a Job its directory. Refused while another run of its name lasts.
pub fn begin(job: &Job, beside: &Beside, how: &How, tools: &Tools) -> anyhow::Result<BegunJob> {
    let plan = JobPlan::new(job.clone(), &pod::fresh_uid()?);
    let name = ObjectName::new(&plan.namespace, &plan.name)?;
    let spec = JobSpec {
        job: serde_json::to_value(&plan.job)?,
        launcher: tools.launcher.name().to_owned(),
        created_at: Time(Timestamp::now()),
        keep: how.keep,
        options: serde_json::Map::default(),
    };
    let owned = StateDirectory::at(&how.state).create_job(&name, &spec)?;
    Ok(BegunJob {
        plan,
        owned,
        beside: beside.clone(),
        how: how.clone(),
        tools: tools.clone(),
        status: JobStatus::default(),
        pods: Vec::new(),
        runs: Vec::new(),
        handles: BTreeMap::new(),
        outcomes: Vec::new(),
        tasks: Children::new(usize::from(u16::MAX)),
    })
}

impl BegunJob {
    /// Where it is written down.
    pub fn directory(&self) -> &RunDirectory {
        self.owned.directory()
    }

    /// Runs the Job to its end; tells of each pod that it starts.
    pub async fn finish(mut self, begun: mpsc::Sender<Handle>, stop: CancellationToken) -> anyhow::Result<JobOutcome> {
        let (tell, mut told) = mpsc::channel(CHANGES);
        let limit = self.how.timeout.map(|limit| Instant::now() + limit);
        let pods_stop = CancellationToken::new();
        let mut ending = Ending::Finished;
        let mut changes = Changes::of(self.directory().path());
        let end = loop {
            let mut wake = None;
            if ending == Ending::Finished
                && let Some(wish) = self.directory().asked_to_stop()
            {
                ending = Ending::Stopped;
                self.stop_all(wish).await;
            }
            if ending == Ending::Finished {
                let decision = decide(&self.plan, &self.status, &self.pods, self.tools.clock.now());
                if let Some(end) = decision.end {
                    self.status = decision.status;
                    break Some(end);
                }
                wake = decision.wake.map(|at| self.tools.clock.instant(at));
                if self.carry_out(decision, &tell, &begun, &pods_stop).await? {
                    continue;
                }
            } else if self.handles.is_empty() {
                break None;
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if ending == Ending::Finished => {
                    ending = Ending::Interrupted;
                    pods_stop.cancel();
                }
                () = at(limit), if ending == Ending::Finished => {
                    ending = Ending::TimedOut;
                    pods_stop.cancel();
                }
                Some(change) = told.recv() => self.take(change)?,
                () = changes.next(), if ending == Ending::Finished => (),
                () = at(wake) => (),
            }
        };
        self.tasks.finish(LAST_GRACE).await?;
        let last = End { at: Time(Timestamp::now()), why: ending };
        write(&self.owned, &self.status, &self.runs, Some(last))?;
        Ok(JobOutcome { status: self.status, end, ending, pods: self.outcomes })
    }

    /// Records a decision and carries it out; answers whether there was anything to do.
    async fn carry_out(
        &mut self,
        decision: Decision,
        tell: &mpsc::Sender<Change>,
        begun: &mpsc::Sender<Handle>,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let Decision { status, actions, wake: _, end: _ } = decision;
        if status != self.status || self.runs.is_empty() {
            self.status = status;
            write(&self.owned, &self.status, &self.runs, None)?;
        }
        let any = !actions.is_empty();
        for action in actions {
            match action {
                JobAction::Start { index } => {
                    let handle = self.start(index, tell, stop)?;
                    let _ = begun.send(handle).await;
                }
                JobAction::Stop { pod } => self.stop(&pod).await,
            }
        }
        if any {
            write(&self.owned, &self.status, &self.runs, None)?;
        }
        Ok(any)
    }

    fn start(
        &mut self,
        index: Option<u32>,
        tell: &mpsc::Sender<Change>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Handle> {
        let pod = self.plan.pod(index, &pod::random_letters()?);
        // The limit is the Job's, not each pod's.
        let how = How { timeout: None, ..self.how.clone() };
        let begun = pod::begin(&pod, Some(&self.plan.name), &self.beside, &how, &self.tools)?;
        let handle = begun.handle.clone();
        let name = handle.plan.name.clone();
        self.pods.push(JobPod::started(name.clone(), index));
        self.runs.push((name.clone(), handle.directory.number()));
        self.handles.insert(name.clone(), handle.clone());
        self.tasks.start(format!("status of {name}"), watch(handle.clone(), tell.clone()))?;
        let (tell, stop) = (tell.clone(), stop.clone());
        self.tasks.start(format!("pod {name}"), async move {
            let outcome = begun.finish(stop).await;
            let _ = tell.send(Change::Ended(name, Box::new(outcome))).await;
            Ok::<(), anyhow::Error>(())
        })?;
        Ok(handle)
    }

    async fn stop(&mut self, name: &str) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.name == name) {
            pod.stopped.get_or_insert_with(|| self.tools.clock.now());
        }
        if let Some(handle) = self.handles.get(name) {
            ask_to_stop(handle, None).await;
        }
    }

    async fn stop_all(&self, wish: StopFile) {
        for handle in self.handles.values() {
            ask_to_stop(handle, wish.grace_seconds.map(Duration::from_secs)).await;
        }
    }

    fn take(&mut self, change: Change) -> anyhow::Result<()> {
        let now = self.tools.clock.now();
        match change {
            Change::Status(name, snapshot) => {
                if let Some(pod) = self.pods.iter_mut().find(|pod| pod.name == name) {
                    pod.observe(&snapshot.status, now);
                }
            }
            Change::Ended(name, outcome) => {
                let outcome = (*outcome)?;
                if let Some(pod) = self.pods.iter_mut().find(|pod| pod.name == name) {
                    pod.observe(&outcome.status, now);
                }
                self.handles.remove(&name);
                self.outcomes.push(outcome);
            }
        }
        Ok(())
    }
}

async fn ask_to_stop(handle: &Handle, grace: Option<Duration>) {
    let (reply, _) = oneshot::channel();
    // A runner that does not listen any more has ended.
    let _ = handle.requests.send(Request::Stop { grace, reply }).await;
}

fn write(owned: &OwnedRun, status: &JobStatus, runs: &[(String, u32)], end: Option<End>) -> anyhow::Result<()> {
    let runner = RunnerIdentity::this();
    let sync = end.is_some();
    let file = JobStatusFile { status: status.clone(), runner, pods: runs.to_vec(), end };
    Ok(owned.write_job_status(&file, sync)?)
}

/// Tells each status of a pod, the newest only where there are several.
async fn watch(handle: Handle, tell: mpsc::Sender<Change>) -> anyhow::Result<()> {
    let Handle { mut status, plan, .. } = handle;
    while status.changed().await.is_ok() {
        let snapshot = status.borrow_and_update().clone();
        if tell.send(Change::Status(plan.name.clone(), snapshot)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Waits for a moment; for ever where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
