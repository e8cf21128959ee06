//! One pod of this process: its directory and its runner.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_manifest::Beside;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_core::quantity::Quantity;
use outrigger_pod_directory::log::{LogRules, LogThread};
use outrigger_pod_directory::{ObjectName, PodSpec, StateDirectory};
use outrigger_pod_runner::drive::{Clock, Outcome, Runner, RunnerConfig, RunnerOptions};
use outrigger_pod_runner::handle::Handle;
use tokio_util::sync::CancellationToken;

use super::errand::How;

/// What all pods of a process share.
#[derive(Clone)]
pub struct Tools {
    /// Starts the containers.
    pub launcher: Arc<dyn Launcher>,
    /// Hand out what Kubernetes does not know.
    pub providers: Vec<Arc<dyn Provider>>,
    /// Writes the logs.
    pub logs: Arc<LogThread>,
    /// Tells the time.
    pub clock: Clock,
}

/// A pod that has its directory and is about to run.
pub struct Begun {
    /// For those who watch it.
    pub handle: Handle,
    runner: Runner,
}

/// Gives a pod its directory. Refused while another run of its name lasts.
pub fn begin(pod: &Pod, job: Option<&str>, beside: &Beside, how: &How, tools: &Tools) -> anyhow::Result<Begun> {
    let plan = PodPlan::new(pod.clone(), &fresh_uid()?)?;
    let name = ObjectName::new(&plan.namespace, &plan.name)?;
    let spec = PodSpec {
        pod: serde_json::to_value(&plan.pod)?,
        launcher: tools.launcher.name().to_owned(),
        created_at: Time(Timestamp::now()),
        job: job.map(str::to_owned),
        keep: how.keep,
        options: serde_json::Map::default(),
    };
    let owned = StateDirectory::at(&how.state).create_pod(&name, &spec)?;
    let options = RunnerOptions {
        clock: tools.clock,
        log_rules: LogRules { size: how.log_max_size, files: how.log_max_files as usize },
        time_limit: how.timeout,
        pod_ip: how.pod_ip,
        claim_directories: beside.claim_directories.clone(),
        node_name: node_name(),
        allocatable: allocatable(),
        ..RunnerOptions::default()
    };
    let runner = Runner::new(RunnerConfig {
        plan: Arc::new(plan),
        sources: Arc::new(beside.sources()),
        launcher: Arc::clone(&tools.launcher),
        providers: tools.providers.clone(),
        directory: owned,
        logs: Arc::clone(&tools.logs),
        options,
    })?;
    Ok(Begun { handle: runner.handle(), runner })
}

impl Begun {
    /// Runs the pod to its end, and answers those who ask at its socket meanwhile.
    pub async fn finish(self, stop: CancellationToken) -> anyhow::Result<Outcome> {
        Ok(self.runner.run(stop).await?)
    }
}

/// This machine's name, as `spec.nodeName` tells it.
fn node_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// What the machine has: a container without a limit may use this much. What cannot be read is left out.
fn allocatable() -> BTreeMap<String, Quantity> {
    let cpus = std::thread::available_parallelism().ok().and_then(|count| u64::try_from(count.get()).ok());
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    });
    let known = [("cpu", cpus), ("memory", memory)].into_iter();
    known.filter_map(|(name, amount)| Some((name.to_owned(), Quantity::whole(amount?)))).collect()
}

/// A new random UID, by the kernel.
pub fn fresh_uid() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    Ok(std::fs::read_to_string(path).with_context(|| format!("no UID can be had from {path}"))?.trim().to_owned())
}

/// Five random letters for a generated name, of those that Kubernetes uses: no vowels, so no words.
pub fn random_letters() -> anyhow::Result<String> {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let uid = fresh_uid()?.replace('-', "");
    // Two hexadecimal digits for each letter, from the end, where all are random.
    let pairs = uid.as_bytes().rchunks(2).take(5).filter_map(|pair| std::str::from_utf8(pair).ok());
    let numbers = pairs.filter_map(|pair| usize::from_str_radix(pair, 16).ok());
    Ok(numbers.map(|number| char::from(LETTERS[number % LETTERS.len()])).collect())
}
