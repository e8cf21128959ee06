//! Pods with a device beside pods without: from the moment that the scheduler has bound one to the moment that it runs, as
//! the API's watch tells them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Node;
use crate::cluster::Cluster;
use crate::devices::Plugins;
use crate::sample::Sample;

/// How many pods of each kind.
const PODS: usize = 15;
/// How long a pod may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What `kubectl` tells of each change: whose, where, and how far it is.
const LINE: &str = "--output=jsonpath={.metadata.name} {.spec.nodeName} {.status.phase}{\"\\n\"}";

/// A resource that pods have, and as many without, in turn.
pub fn pods(node: &Node, plugins: &Plugins) -> Result<String> {
    let (plugin, served) = plugins.ours_with(1, 10);
    let before = node.checkpoint.made();
    let _running = node.start(&plugin)?;
    node.until_has(&plugin, &served, before)?;
    let resource = &served[0].0;
    until_offered(node.cluster, resource)?;
    let watch = Watch::begin(node.cluster)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for number in 0..PODS {
        without.push(watch.one(node.cluster, &format!("without-{number}"), None)?);
        with.push(watch.one(node.cluster, &format!("with-{number}"), Some(resource))?);
    }
    let with = Sample::new(with).context("nothing was measured")?;
    let without = Sample::new(without).context("nothing was measured")?;
    let ratio = with.median().as_secs_f64() / without.median().as_secs_f64();
    Ok(format!(
        "pods: with a device {with}\npods: without {without}\npods: a device makes it {ratio:.2} times as long\n"
    ))
}

/// The scheduler goes by the node's status.
fn until_offered(cluster: &Cluster, resource: &str) -> Result<()> {
    let offered = format!("--output=jsonpath={{.status.allocatable.{}}}", resource.replace('.', "\\."));
    cluster.until("default", "10", &["get", "node", "node-1", &offered])
}

/// Follows all pods of the namespace `default`.
struct Watch {
    kubectl: Child,
    lines: Receiver<(Instant, String)>,
}

impl Watch {
    fn begin(cluster: &Cluster) -> Result<Self> {
        let mut kubectl = cluster.program("kubectl");
        kubectl.args(["get", "pods", "--watch", "--namespace=default", LINE]).stdout(Stdio::piped());
        let mut kubectl = kubectl.spawn().context("cannot start kubectl")?;
        let told = kubectl.stdout.take().context("kubectl has no output")?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                if tell.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { kubectl, lines })
    }

    /// Runs a pod, and tells how long it took from bound to running.
    fn one(&self, cluster: &Cluster, name: &str, resource: Option<&str>) -> Result<Duration> {
        cluster.apply(&pod(name, resource).to_string())?;
        let bound = self.until(cluster, &format!("{name} node-1 Pending"))?;
        let running = self.until(cluster, &format!("{name} node-1 Running"))?;
        cluster.kubectl(&["delete", &format!("pod/{name}"), "--grace-period=0", "--force"])?;
        Ok(running - bound)
    }

    /// When the first line came that begins so.
    fn until(&self, cluster: &Cluster, beginning: &str) -> Result<Instant> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if line.starts_with(beginning) => return Ok(at),
                Ok(_) => {}
                Err(_) => bail!("nobody tells: {beginning}\n{}", cluster.explain("default")),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn pod(name: &str, resource: Option<&str>) -> Value {
    let limits: Value = resource.into_iter().map(|resource| (resource.to_owned(), json!("1"))).collect();
    let container = json!({"name": "app", "image": "localhost/busybox:1", "command": ["sleep", "100000"],
        "resources": {"limits": limits}});
    let spec = json!({"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "containers": [container]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}
