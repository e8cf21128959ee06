//! From a device that comes or goes to the list that says so. The events are the kernel's own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tokio::time::sleep;

use super::node::{Node, Plugins};
use crate::sample::Sample;

/// How often each comes and goes.
const ROUNDS: usize = 200;

/// Nodes under a glob, and zram devices.
pub async fn hotplug(plugins: &Plugins) -> Result<String> {
    let mut text = nodes(plugins).await?;
    match zram(plugins).await? {
        Some(lines) => text.push_str(&lines),
        None => text.push_str("hotplug  zram: this kernel has none\n"),
    }
    Ok(text + "hotplug  generic-device-plugin: looks every 5 s\n")
}

async fn nodes(plugins: &Plugins) -> Result<String> {
    let mut node = Node::new().await?;
    let made = node.path().join("nodes");
    fs::create_dir(&made)?;
    start(&mut node, plugins, &format!("{}/d*", made.display())).await?;
    let path = made.join("d0");
    let null = makedev(1, 3);
    measure(
        &node,
        "a node made and removed",
        async || {
            mknodat(CWD, &path, FileType::CharacterDevice, Mode::RWXU, null)?;
            Ok(())
        },
        async || Ok(fs::remove_file(&path)?),
    )
    .await
}

async fn zram(plugins: &Plugins) -> Result<Option<String>> {
    let control = Path::new("/sys/class/zram-control");
    if !control.is_dir() {
        return Ok(None);
    }
    // The first one tells which numbers are free.
    let number = fs::read_to_string(control.join("hot_add"))?.trim().to_owned();
    fs::write(control.join("hot_remove"), &number)?;
    let mut node = Node::new().await?;
    start(&mut node, plugins, &format!("/dev/zram{number}")).await?;
    let add = async || fs::read_to_string(control.join("hot_add")).map(drop).context("cannot add a zram device");
    let remove = async || {
        // Whoever looks at a new device keeps it busy for a moment.
        while fs::write(control.join("hot_remove"), &number).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    Ok(Some(measure(&node, "a zram device added and removed", add, remove).await?))
}

async fn start(node: &mut Node, plugins: &Plugins, glob: &str) -> Result<()> {
    // Without a grace what has vanished is dropped, so that every round is alike.
    let configuration = format!(
        "domain: example.com\ndevices:\n- name: dd\n  health: {{vanishGrace: 0s}}\n  groups: [{{paths: [{{path: \"{glob}\"}}]}}]\n"
    );
    node.start(&plugins.ours(&configuration))?;
    node.until("an empty list has come", |view| view.resources.get("example.com/dd").is_some_and(|it| it.lists > 0))
        .await?;
    Ok(())
}

async fn measure(
    node: &Node,
    what: &str,
    come: impl AsyncFn() -> Result<()>,
    go: impl AsyncFn() -> Result<()>,
) -> Result<String> {
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (wanted, act, took) in [(1, &come as &dyn Act, &mut came), (0, &go, &mut went)] {
            let begin = Instant::now();
            act.act().await?;
            node.until(&format!("{wanted} devices"), |view| view.allocatable("example.com/dd") == wanted).await?;
            took.push(begin.elapsed());
        }
    }
    let mut text = String::new();
    for (sample, way) in [(came, "came"), (went, "went")] {
        let sample = Sample::new(sample).context("nothing was measured")?;
        let _ = writeln!(text, "hotplug  {what}: {way} in {sample} (aim: p99 at most 100)");
    }
    Ok(text)
}

/// Something that is done to the machine.
trait Act {
    fn act(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + '_>>;
}

impl<F: AsyncFn() -> Result<()>> Act for F {
    fn act(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + '_>> {
        Box::pin(async move { self().await })
    }
}
