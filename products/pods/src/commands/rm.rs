//! `outrigger rm` and `outrigger prune`: what has ended goes, with its logs.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use outrigger_pod_directory::{KeepRules, Kind, RunDirectory, StateDirectory};
use outrigger_terminal::{figures, out};
use tokio_util::sync::CancellationToken;

use super::talk;
use crate::args::{PruneArgs, RmArgs};
use crate::record::{self, Record};

/// How long a runner whose pod has ended may take to end; a little more than it allows itself for its last tasks.
const LAST_BREATH: Duration = Duration::from_secs(12);

/// Removes pods and jobs with all their runs; with `--force` they are stopped first.
pub async fn rm(args: &RmArgs, state: &StateDirectory, interrupted: &CancellationToken) -> anyhow::Result<i32> {
    let mut code = 0;
    for directory in targets(args, state)? {
        if args.force
            && directory.life()?.may_live()
            && talk::ask_to_stop(&Record::read(directory.clone())?, None).await?
        {
            tokio::select! {
                ended = talk::wait_for_end(&directory) => ended?,
                () = interrupted.cancelled() => return Ok(crate::verdict::INTERRUPTED),
            }
        }
        wait_for_last_breath(&directory).await?;
        if let Err(error) = remove(state, &directory) {
            out::note(&format!("outrigger rm: {}", record::chain(&*error)));
            code = 1;
        }
    }
    Ok(code)
}

/// The directories that `rm` is about.
fn targets(args: &RmArgs, state: &StateDirectory) -> anyhow::Result<Vec<RunDirectory>> {
    if args.all {
        let records = record::newest(state, |line| out::note(&format!("outrigger rm: {line}")))?;
        return Ok(records
            .into_iter()
            .filter(|it| args.force || it.has_ended())
            .map(|it| it.directory().clone())
            .collect());
    }
    if args.targets.names.is_empty() {
        bail!("nothing is named to be removed; name pods, or --all for everything that has ended");
    }
    Ok(record::find_all(state, &args.targets)?)
}

/// A runner that has written its end down needs a moment to go.
async fn wait_for_last_breath(directory: &RunDirectory) -> anyhow::Result<()> {
    let has_ended = Record::read(directory.clone()).is_ok_and(|record| record.has_ended());
    if has_ended && directory.life()?.may_live() {
        // Where it takes longer, the removal says that it still runs.
        let _ = tokio::time::timeout(LAST_BREATH, talk::wait_for_end(directory)).await;
    }
    Ok(())
}

/// Removes all runs of a name; nothing where its newest one lives.
fn remove(state: &StateDirectory, newest: &RunDirectory) -> anyhow::Result<()> {
    let label = format!("{} {}", newest.kind(), newest.name());
    if newest.life()?.may_live() {
        bail!("{label} still runs; stop it first, or use --force");
    }
    if newest.kind() == Kind::Job
        && let Record::Job(job) = Record::read(newest.clone())?
    {
        for (name, run) in job.file.iter().flat_map(|file| &file.pods) {
            let name = outrigger_pod_directory::ObjectName::new(newest.name().namespace(), name)?;
            if state.run(Kind::Pod, &name, *run).is_ok() {
                state.remove(Kind::Pod, &name)?;
            }
        }
    }
    state.remove(newest.kind(), newest.name())?;
    out::print(&format!("{label} removed\n"))?;
    Ok(())
}

/// Removes what finished long ago.
pub fn prune(args: &PruneArgs, state: &StateDirectory, age: Duration) -> anyhow::Result<i32> {
    let rules = KeepRules { age: args.older_than.unwrap_or(age), ..KeepRules::default() };
    let now = Timestamp::now();
    if args.dry_run {
        let mut count = 0;
        for kind in [Kind::Job, Kind::Pod] {
            for run in state.list(kind)? {
                if is_due(&run, rules.age, now) {
                    out::print(&format!("{} {} (run {}) would be removed\n", run.kind(), run.name(), run.number()))?;
                    count += 1;
                }
            }
        }
        out::print(&format!("{} would be removed\n", outrigger_config::count(count, "run")))?;
        return Ok(0);
    }
    let pruned = state.prune(rules, now)?;
    for run in &pruned {
        out::print(&format!("{} {} (run {}) removed\n", run.kind(), run.name(), run.number()))?;
    }
    if pruned.is_empty() {
        out::print(&format!("nothing finished longer than {} ago\n", figures::span(rules.age)))?;
    }
    Ok(0)
}

fn is_due(run: &RunDirectory, age: Duration, now: Timestamp) -> bool {
    let (keep, end) = match Record::read(run.clone()) {
        Ok(Record::Pod(pod)) => (pod.spec.keep, pod.file.and_then(|file| file.end)),
        Ok(Record::Job(job)) => (job.spec.keep, job.file.and_then(|file| file.end)),
        Err(_) => return false,
    };
    let since = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    !keep && end.is_some_and(|end| since(end.at.0) >= age)
}
