//! How long `Allocate` takes, while the list changes.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, ContainerAllocateRequest};
use outrigger_kubelet_api::{Channel, LOCALHOST};
use tokio::time::sleep;

use super::node::{Node, Plugin, Plugins, not_measured};
use crate::sample::Sample;

/// How many calls of each size.
const CALLS: usize = 1000;
/// How often the list changes meanwhile.
const CHANGES: Duration = Duration::from_millis(100);

/// One and 16 ids of 10,000 devices, each with its check, while a device comes and goes ten times a second.
pub async fn allocate(plugins: &Plugins) -> Result<String> {
    let mut node = Node::new().await?;
    let made = node.path().join("nodes");
    fs::create_dir(&made)?;
    let configuration = format!(
        "domain: example.com\ndevices:\n- name: dd\n  groups:\n  - {{count: 9999, paths: [{{path: /dev/null}}]}}\n  - {{paths: [{{path: \"{}/*\", type: Mount}}]}}\n",
        made.display()
    );
    node.start(&plugins.ours(&configuration))?;
    node.until("9999 devices", |view| view.allocatable("example.com/dd") == 9999).await?;
    let changing = made.join("d");
    let toggle = async {
        loop {
            let done = if changing.exists() { fs::remove_file(&changing) } else { fs::write(&changing, "") };
            // The other half of the benchmark notices where nothing changes.
            drop(done);
            sleep(CHANGES).await;
        }
    };
    let lists = || node.kubelet.view().resources.get("example.com/dd").map_or(0, |resource| resource.lists);
    let before = lists();
    let mut text = String::new();
    let measuring = async {
        for size in [1, 16] {
            let sample = calls(&node, "example.com/dd", size).await?;
            let aim = if size == 1 { " (aim: p99 at most 0.2)" } else { "" };
            let _ = writeln!(text, "allocate  {size} ids: outrigger {sample}{aim}");
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = measuring => done?,
        () = toggle => {}
    }
    let _ = writeln!(text, "allocate  {} lists were sent meanwhile", lists() - before);
    for (peer, served) in plugins.peers(1, 10_000) {
        let note = if matches!(peer, Plugin::Sample(_)) { " (of 2 devices, nothing changes)" } else { "" };
        match quiet_calls(&peer, &served).await {
            Ok(sample) => {
                let _ = writeln!(text, "allocate  1 id: {} {sample}{note}", peer.name());
            }
            Err(error) => text.push_str(&not_measured("allocate", &peer, &error)),
        }
    }
    Ok(text + &plugins.absent("allocate", "nothing"))
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
    let ids: Vec<String> = devices.filter(|id| resource != "example.com/dd" || id.contains('-')).cloned().collect();
    let mut client = DevicePluginClient::new(Channel::connect(&socket, LOCALHOST).await?);
    let mut took = Vec::with_capacity(CALLS);
    for call in 0..CALLS {
        let device_ids = (0..size).map(|at| ids[(call * size + at) % ids.len()].clone()).collect();
        let request = AllocateRequest { container_requests: vec![ContainerAllocateRequest { device_ids }] };
        let begin = Instant::now();
        client.allocate(request).await?;
        took.push(begin.elapsed());
    }
    Sample::new(took).context("nothing was measured")
}
