//! Restarts of the kubelet and of the agent, while pods have devices: they run on, and others can have devices at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::cluster::allocatable::{Watch, made};
use outrigger_e2e::cluster::namespace::{self, Namespace, life};
use outrigger_e2e::cluster::{PATIENCE, output};
use outrigger_e2e::sample::Sample;
use outrigger_e2e::suite::{is_soak, rounds};
use serde_json::Value;

use crate::site::{DISK, NODE, SLOT, Site, agent_processes, is_whole, roll, untouched};

/// What pods and people may have to do without the agent: a second. A machine of CI's may stand still for several, and has few
/// rounds; there it must only be less than the half minute after which an agent looks for itself at what nobody has told.
fn limit() -> Duration {
    Duration::from_secs(if is_soak() { 1 } else { 15 })
}

/// Pods that have a disk each, and one that has a node and a slot.
const PODS: [(&str, &[&str]); 3] = [("one", &[DISK]), ("two", &[DISK, SLOT]), ("three", &[NODE])];

/// Starts them, and answers how they live.
fn start(namespace: &Namespace) -> Result<Vec<Value>> {
    for (name, resources) in PODS {
        namespace.start(&namespace::pod(name, "exec sleep 100000", resources))?;
    }
    PODS.iter().map(|(name, _)| namespace.running(name).map(|pod| life(&pod))).collect()
}

fn lives(namespace: &Namespace) -> Result<Vec<Value>> {
    PODS.iter().map(|(name, _)| namespace.get(name).map(|pod| life(&pod))).collect()
}

/// Half of the rounds took no longer than this, whatever else the machine did meanwhile.
fn within_limit(what: &str, times: Vec<Duration>) -> Result<()> {
    let sample = Sample::new(times).context("no round was run")?;
    println!("  {what}: {sample}");
    ensure!(sample.median() <= limit(), "{what} takes too long: {sample}");
    Ok(())
}

pub fn a_kubelet_that_starts_again_has_its_devices_within_a_second(namespace: &Namespace, _: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    let before = start(namespace)?;
    let watch = Watch::begin(cluster)?;
    watch.until("all devices are offered", is_whole)?;
    let socket = cluster.root()?.join("var/lib/kubelet/device-plugins/kubelet.sock");
    let mut times = Vec::new();
    for _ in 0..rounds(20, 3) {
        let old = made(&socket);
        output(cluster.command("restart").arg("kubelet"))?;
        let listens = until_new(|| Ok(made(&socket).filter(|new| Some(*new) != old).map(drop)))
            .context("the kubelet makes no socket")?;
        let answer = watch.since(listens, "all devices are offered again", is_whole)?;
        times.push(answer.at - listens);
        untouched(&before, &lives(namespace)?)?;
    }
    within_limit("a kubelet listens → all devices are back", times)?;
    // What a kubelet does with pods that it finds, it has done when it has told of one that came later.
    namespace.start(&namespace::pod("later", "exec sleep 100000", &[DISK]))?;
    namespace.running("later")?;
    untouched(&before, &lives(namespace)?)
}

pub fn an_update_of_the_agent_is_not_seen(namespace: &Namespace, _: &Site) -> Result<()> {
    let before = start(namespace)?;
    let watch = Watch::begin(namespace.cluster)?;
    watch.until("all devices are offered", is_whole)?;
    for number in 0..rounds(20, 3) {
        let begin = Instant::now();
        roll(namespace.cluster)?;
        watch.until("all devices are offered", is_whole)?;
        for resource in [DISK, NODE, SLOT] {
            let gap = watch.longest_without(resource, begin);
            ensure!(gap <= limit(), "in round {number} there was no {resource} for {gap:?}");
        }
        let name = format!("new-{number}");
        namespace.start(&namespace::pod(&name, "ls /dev/loop*", &[DISK]))?;
        namespace.lines(&name, 1)?;
        namespace.delete(&name)?;
    }
    untouched(&before, &lives(namespace)?)
}

/// The container runtime and the kubelet take some seconds to start what was killed; from there on it is ours.
pub fn a_killed_agent_is_back_within_a_second_of_its_start(namespace: &Namespace, _: &Site) -> Result<()> {
    let cluster = namespace.cluster;
    let before = start(namespace)?;
    let watch = Watch::begin(cluster)?;
    let mut times = Vec::new();
    for _ in 0..rounds(20, 1) {
        let old = agent_processes(cluster)?;
        let [pid] = old[..] else { anyhow::bail!("not one agent but the processes {old:?}") };
        cluster.inside(&["kill", "-KILL", &pid.to_string()])?;
        let runs = until_new(|| {
            cluster.is_whole()?;
            Ok(agent_processes(cluster)?.iter().any(|new| *new != pid).then_some(()))
        })
        .context("the agent does not start again")?;
        let answer = watch.since(runs, "all devices are offered again", is_whole)?;
        times.push(answer.at - runs);
        untouched(&before, &lives(namespace)?)?;
        // A pod's second kill within minutes would meet the kubelet's back-off.
        roll(cluster)?;
    }
    within_limit("a killed agent runs again → all devices are back", times)
}

/// When it was so for the first time.
fn until_new(is_so: impl Fn() -> Result<Option<()>>) -> Result<Instant> {
    let begin = Instant::now();
    while is_so()?.is_none() {
        ensure!(begin.elapsed() < PATIENCE, "in vain was waited for {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(Instant::now())
}
