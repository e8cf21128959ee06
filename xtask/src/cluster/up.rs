//! `cargo xtask cluster up`: builds what is missing, starts a cluster, waits until its node is ready, and says how to reach it.
//!
//! A cluster that runs is left as it is. What remains of one that was killed is removed first: a cluster keeps nothing.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::group::Cgroups;
use super::place::Place;
use super::{NODE, Options, build, certificates, config, down, images, inside, machine, parts, simulated};
use crate::step::{CannotRunHere, Found};

/// How long a start may take. A busy machine needs many times what an idle one does.
const LIMIT: Duration = Duration::from_secs(600);
/// How often the start is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// How much of a log a failure shows.
const LINES: usize = 15;

/// Starts the cluster unless it runs.
pub fn run(place: &Place, options: &Options) -> Result<()> {
    let begin = Instant::now();
    machine::can_run(&place.cache)?;
    agrees(place, options)?;
    let mut modules = if options.api_only { parts::api } else { parts::cluster }(&options.kubernetes);
    modules.extend((0 < options.nodes).then(parts::kwok));
    build::build(&place.cache, &options.kubernetes, &modules)?;
    let lock = super::lock(&place.cache)?;
    agrees(place, options)?;
    if place.init().is_none() {
        start(place, options)?;
    }
    drop(lock);
    wait(place, options)?;
    if 0 < options.nodes {
        simulated::add(place, options.nodes)?;
    }
    println!("The cluster {} is ready after {:.1} s.", place.name, begin.elapsed().as_secs_f64());
    let kubeconfig = place.path("kubeconfig");
    println!("export KUBECONFIG={} PATH={}:$PATH", kubeconfig.display(), place.path("bin").display());
    Ok(())
}

/// Whether a cluster of this name, if it runs, was started with these options.
fn agrees(place: &Place, options: &Options) -> Result<()> {
    if place.init().is_some() && place.options().is_some_and(|runs_with| runs_with != *options) {
        bail!(Found(format!(
            "the cluster {} runs with other options; `cargo xtask cluster down --name {0}` ends it",
            place.name
        )));
    }
    Ok(())
}

/// Lays out all files, and starts the first process.
fn start(place: &Place, options: &Options) -> Result<()> {
    let listener = listen(options.port)?;
    let owner = options.owner.map(owner).transpose()?;
    let cgroups = Cgroups::here()?;
    down::remove(place)?;
    down::remove_orphans(&place.cache)?;
    for folder in ["", "log", "etc", "var-lib", "var-log"] {
        let folder = place.path(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::set_permissions(place.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    build::link(&place.cache, &options.kubernetes, &place.path("bin"))?;
    certificates::make(&place.path("certificates"))?;
    config::write(place, options)?;
    if !options.api_only {
        images::make(place)?;
    }
    let port = listener.local_addr()?.port();
    let kubeconfig = config::kubeconfig(&place.path("certificates"), "admin", "admin", port);
    place.write("kubeconfig", &format!("{kubeconfig:#}\n"))?;
    place.write("options.json", &serde_json::to_string_pretty(options)?)?;
    cgroups.make(&place.name)?;
    let mut child = inside::start(place, listener, owner)?;
    let begin = Instant::now();
    while place.init().is_none() {
        if let Some(status) = child.try_wait()? {
            bail!(Found(format!("the cluster did not start ({status}):\n{}", place.last_lines("cluster", LINES))));
        }
        if LIMIT < begin.elapsed() {
            bail!(Found("the cluster's first process did not start".into()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// A process that the cluster ends with.
fn owner(pid: i32) -> Result<OwnedFd> {
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    process.with_context(|| Found(format!("there is no process {pid} that the cluster could end with")))
}

fn listen(port: u16) -> Result<TcpListener> {
    inside::listen(port).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            CannotRunHere(format!("port {port} of 127.0.0.1 is taken: choose another with --port, or leave it out"))
                .into()
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen at port {port} of 127.0.0.1")),
    })
}

/// Waits until all answers, or fails with the last lines of what does not.
fn wait(place: &Place, options: &Options) -> Result<()> {
    let begin = Instant::now();
    loop {
        let record = place.record();
        if let Some((component, how)) = record.ended() {
            let (name, lines) = (&component.name, place.last_lines(&component.name, LINES));
            bail!(Found(format!("{name} ended ({how}); the last lines of {}:\n{lines}", place.log(name).display())));
        }
        if place.init().is_none() {
            bail!(Found(format!("the cluster ended while it started:\n{}", place.last_lines("cluster", LINES))));
        }
        if record.is_complete && (options.api_only || is_ready(place)) {
            return Ok(());
        }
        if LIMIT < begin.elapsed() {
            let late = if record.is_complete { "kubelet" } else { &record.waits_for };
            bail!(Found(format!(
                "{late} was not ready after {} s; its last lines:\n{}",
                LIMIT.as_secs(),
                place.last_lines(late, LINES)
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether the node says it is ready, since this kubelet runs, and pods can have their service account.
fn is_ready(place: &Place) -> bool {
    let since = place.record().components.into_iter().find(|started| started.name == "kubelet");
    let mut kubectl = Command::new(place.program("kubectl"));
    kubectl.arg("--kubeconfig").arg(place.path("kubeconfig")).env("KUBECACHEDIR", place.path("kubectl"));
    kubectl.args(["--namespace=default", "get", &format!("node/{NODE}"), "serviceaccount/default", "--output=json"]);
    let Ok(output) = kubectl.output() else { return false };
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    output.status.success() && since.is_some_and(|kubelet| has_ready_node(&told, &kubelet.since))
}

/// A cluster's memory outlives a kubelet: only what was said since this one started counts. Times of one form sort as texts do.
fn has_ready_node(list: &serde_json::Value, since: &str) -> bool {
    let conditions = list["items"][0]["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        let heartbeat = condition["lastHeartbeatTime"].as_str().unwrap_or_default();
        condition["type"] == "Ready" && condition["status"] == "True" && since <= heartbeat
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_counts_as_ready_by_what_this_kubelet_says() {
        let list = |status: &str| {
            let ready = json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-11-21T18:00:05Z"});
            json!({"items": [{"status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready]}}]})
        };
        assert!(has_ready_node(&list("True"), "2026-11-21T18:00:05Z"));
        assert!(!has_ready_node(&list("True"), "2026-11-21T18:00:06Z"));
        assert!(!has_ready_node(&list("False"), "2026-11-21T17:00:00Z"));
        assert!(!has_ready_node(&json!({}), ""));
    }

    #[test]
    fn a_taken_port_is_told_with_the_remedy() {
        let taken = inside::listen(0).unwrap();
        let failure = listen(taken.local_addr().unwrap().port()).unwrap_err();
        assert!(failure.is::<CannotRunHere>());
        assert!(failure.to_string().contains("choose another with --port"), "{failure}");
    }
}
