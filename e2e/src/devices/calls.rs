//! How long `Allocate` takes, while the list changes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest};
use outrigger_kubelet_api::{Channel, LOCALHOST};
use tokio::time::{interval, sleep};

use super::node::Node;
use super::plugins::{Plugin, Plugins, compared};
use super::process::metrics;
use crate::sample::Sample;

/// How many calls of each size, and how often one is made: over five seconds, so that they meet fifty changes.
const CALLS: usize = 1000;
const EVERY: Duration = Duration::from_millis(5);
/// The resource whose list changes.
const CHANGING: &str = "example.com/dd";
/// How often it changes meanwhile.
const CHANGES: Duration = Duration::from_millis(100);
/// The aim for one id, in seconds, as it stands in the plugin's histogram.
const AIM: &str = "0.0002";

/// One and 16 ids of 10,000 devices, each with its check, while a device comes and goes ten times a second.
pub async fn allocate(plugins: &Plugins) -> Result<String> {
    let mut node = Node::new().await?;
    let made = node.path().join("nodes");
    fs::create_dir(&made)?;
    let configuration = format!(
        "domain: example.com\ndevices:\n- name: dd\n  health: {{vanishGrace: 1ms}}\n  groups:\n  - {{count: 9999, paths: [{{path: /dev/null}}]}}\n  - {{paths: [{{path: \"{}/*\", type: Mount}}]}}\n",
        made.display()
    );
    node.start(&plugins.ours(&configuration))?;
    node.until("9999 devices", |view| view.allocatable(CHANGING) == 9999).await?;
    // Each is another one, for a device that comes and goes is soon not believed any more.
    let toggle = async {
        for number in 0.. {
            let done = fs::write(made.join(number.to_string()), "");
            sleep(CHANGES).await;
            // The other half of the benchmark notices where nothing changes.
            drop(done.and_then(|()| fs::remove_file(made.join(number.to_string()))));
            sleep(CHANGES).await;
        }
    };
    let lists = || node.kubelet.view().resources.get(CHANGING).map_or(0, |resource| resource.lists);
    let before = lists();
    let mut text = String::new();
    let measuring = async {
        for size in [1, 16] {
            let before = within(&metrics(node.pid()?)?)?;
            let sample = calls(&node, CHANGING, size).await?;
            let after = within(&metrics(node.pid()?)?)?;
            let aim = if size == 1 { " (aim: 99)" } else { "" };
            let share = (after.0 - before.0) / (after.1 - before.1) * 100.0;
            let _ = writeln!(text, "allocate: {size} ids: outrigger {sample}, by the caller's clock");
            let _ = writeln!(text, "allocate: {size} ids: {share:.2} % took at most 0.2 ms inside the plugin{aim}");
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = measuring => done?,
        () = toggle => {}
    }
    let _ = writeln!(text, "allocate: {} lists were sent meanwhile", lists() - before);
    drop(node);
    Ok(text + &beside_peers(plugins).await?)
}

/// What a peer can be asked: one id while nothing changes, of as many devices as it has.
async fn beside_peers(plugins: &Plugins) -> Result<String> {
    let mut text = String::new();
    let peers = [(2, plugins.sample()), (10_000, plugins.generic(1, 10_000))];
    for (count, (peer, theirs)) in peers.into_iter().filter_map(|(count, peer)| Some((count, peer?))) {
        let name = format!("allocate: 1 id of {count}, no changes:");
        let (plugin, served) = plugins.ours_with(1, count);
        let ours = quiet_calls(&plugin, &served).await?;
        let _ = writeln!(text, "{name} outrigger {ours}");
        text.push_str(&compared(&name, &ours, &peer, quiet_calls(&peer, &theirs).await));
    }
    if plugins.sample.is_some() {
        text.push_str(
            "allocate: sample plugin: 16 ids or a list that changes: not possible: it has two devices, always\n",
        );
    }
    Ok(text + &plugins.no_sample("allocate:") + &plugins.no_generic("allocate:", "nothing"))
}

/// Calls of a plugin whose list stays as it is.
async fn quiet_calls(plugin: &Plugin, served: &[(String, usize)]) -> Result<Sample> {
    let mut node = Node::new().await?;
    node.start(plugin)?;
    node.until_offered(served).await?;
    calls(&node, &served[0].0, 1).await
}

async fn calls(node: &Node, resource: &str, size: usize) -> Result<Sample> {
    let socket = node.kubelet.sockets(resource).into_iter().next().context("the resource has no socket")?;
    let view = node.kubelet.view();
    let devices = view.resources.get(resource).context("the resource is not known")?.devices.keys();
    // The device that comes and goes has an id of its own kind; the others have replicas.
    let ids: Vec<String> = devices.filter(|id| resource != CHANGING || id.contains('-')).cloned().collect();
    // From a thread of its own, as a kubelet calls: what the kubelet here does with lists does not count.
    let caller = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(timed(&socket, &ids, size))
    });
    caller.await?
}

/// One call after the other, each with its own time.
async fn timed(socket: &Path, ids: &[String], size: usize) -> Result<Sample> {
    let mut client = DevicePluginClient::new(Channel::connect(socket, LOCALHOST).await?);
    let mut took = Vec::with_capacity(CALLS);
    let mut clock = interval(EVERY);
    for call in 0..CALLS {
        clock.tick().await;
        let device_ids = (0..size).map(|at| ids[(call * size + at) % ids.len()].clone()).collect();
        let request = AllocateRequest { container_requests: vec![ContainerAllocateRequest { device_ids }] };
        let begin = Instant::now();
        client.allocate(request).await?;
        took.push(begin.elapsed());
    }
    Sample::new(took).context("nothing was measured")
}

/// How many calls the plugin answered within the aim, and how many in all.
fn within(metrics: &str) -> Result<(f64, f64)> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).with_context(|| format!("no {name} among the metrics"))
    };
    let of = "outrigger_devices_allocate_seconds";
    Ok((value(&format!("{of}_bucket{{le=\"{AIM}\"}}"))?, value(&format!("{of}_count"))?))
}
