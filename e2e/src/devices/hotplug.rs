//! From a device that comes or goes to the list that says so. The events are the kernel's own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outrigger_stub_kubelet::View;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tokio::time::sleep;

use super::node::Node;
use super::plugins::{Plugin, Plugins, compared, not_measured};
use crate::sample::Sample;

/// How often each comes and goes.
const ROUNDS: usize = 200;
/// How often for a peer that takes seconds.
const FEW: usize = 10;

/// Of the file behind a loop device, in bytes.
const LOOP_SIZE: u64 = 4096 * 1021;

/// What ours and the generic one call the device that comes and goes.
const OURS: &str = "example.com/dd";
const GENERIC: &str = "squat.ai/dd";

/// How long it took to be listed, and how long to be listed no more.
type Times = (Sample, Sample);

/// Nodes under a glob, zram devices, and disks that are loop devices.
pub async fn hotplug(plugins: &Plugins) -> Result<String> {
    let named = ["hotplug: a node made:", "hotplug: a node removed:"];
    let ours = nodes(|glob| watching(plugins, glob), OURS, ROUNDS).await?;
    let mut text = told(named, &ours);
    if let Some(generic) = &plugins.gdp {
        let device = |glob: &str| format!("{{name: dd, groups: [{{paths: [{{path: \"{glob}\"}}]}}]}}");
        let plugin = |glob: &str| Plugin::Gdp(generic.clone(), vec![device(glob)]);
        match nodes(plugin, GENERIC, FEW).await {
            Ok((came, went)) => {
                text.push_str(&compared(named[0], &ours.0, &plugin(""), Ok(came)));
                text.push_str(&compared(named[1], &ours.1, &plugin(""), Ok(went)));
            }
            Err(error) => text.push_str(&not_measured("hotplug:", &plugin(""), &error)),
        }
    }
    match zram(plugins).await? {
        Some(times) => {
            text.push_str(&told(["hotplug: a zram device added:", "hotplug: a zram device removed:"], &times));
        }
        None => text.push_str("hotplug: zram: this kernel has none\n"),
    }
    match loops(plugins).await? {
        Some(times) => {
            text.push_str(&told(["hotplug: a loop device attached:", "hotplug: a loop device detached:"], &times));
        }
        None => text.push_str("hotplug: loop: nothing can be attached here\n"),
    }
    text.push_str("hotplug: sample plugin: not possible: its two devices never come or go\n");
    Ok(text + &plugins.no_generic("hotplug:", "up to 5 s, since it looks every 5 s"))
}

fn told([came, went]: [&str; 2], times: &Times) -> String {
    let mut text = String::new();
    for (name, sample) in [(came, &times.0), (went, &times.1)] {
        let _ = writeln!(text, "{name} outrigger {sample} (aim: p99 at most 100)");
    }
    text
}

/// Ours, with what the glob finds; without a grace what has vanished is dropped, so that every round is alike.
fn watching(plugins: &Plugins, glob: &str) -> Plugin {
    plugins.ours(&format!(
        "domain: example.com\ndevices:\n- name: dd\n  health: {{vanishGrace: 0s}}\n  groups: [{{paths: [{{path: \"{glob}\"}}]}}]\n"
    ))
}

async fn nodes(plugin: impl Fn(&str) -> Plugin, resource: &str, rounds: usize) -> Result<Times> {
    let mut node = Node::new().await?;
    let made = node.path().join("nodes");
    fs::create_dir(&made)?;
    node.start(&plugin(&format!("{}/d*", made.display())))?;
    let path = made.join("d0");
    let null = makedev(1, 3);
    let make = async || {
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::RWXU, null)?;
        Ok(())
    };
    Watched { node, resource, rounds }.measure(make, async || Ok(fs::remove_file(&path)?)).await
}

async fn zram(plugins: &Plugins) -> Result<Option<Times>> {
    let control = Path::new("/sys/class/zram-control");
    if !control.is_dir() {
        return Ok(None);
    }
    // The first one tells which numbers are free.
    let number = fs::read_to_string(control.join("hot_add"))?.trim().to_owned();
    fs::write(control.join("hot_remove"), &number)?;
    let mut node = Node::new().await?;
    node.start(&watching(plugins, &format!("/dev/zram{number}")))?;
    let add = async || fs::read_to_string(control.join("hot_add")).map(drop).context("cannot add a zram device");
    let remove = async || {
        // Whoever looks at a new device keeps it busy for a moment.
        while fs::write(control.join("hot_remove"), &number).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    Watched { node, resource: OURS, rounds: ROUNDS }.measure(add, remove).await.map(Some)
}

/// A file of its own behind a loop device, which the rule for disks finds; what `losetup` takes is part of the time.
async fn loops(plugins: &Plugins) -> Result<Option<Times>> {
    let file = tempfile::NamedTempFile::new()?;
    // A size that no other has.
    file.as_file().set_len(LOOP_SIZE)?;
    let losetup = |arguments: &[&str]| Command::new("losetup").args(arguments).output();
    let path = file.path().to_str().context("a path that is no text")?;
    let Some(found) = losetup(&["--find", "--show", path]).ok().filter(|said| said.status.success()) else {
        return Ok(None);
    };
    let device = String::from_utf8(found.stdout)?.trim().to_owned();
    let detach = async || {
        losetup(&["--detach", &device])?;
        Ok(())
    };
    detach().await?;
    let mut node = Node::new().await?;
    node.start(&plugins.ours(&format!(
        "domain: example.com\ndevices:\n- name: dd\n  health: {{vanishGrace: 0s, healthyAfter: 1ms}}\n  groups: [{{block: {{transport: [loop], minSize: {LOOP_SIZE}, maxSize: {LOOP_SIZE}}}}}]\n"
    )))?;
    let attach = async || {
        losetup(&[&device, path])?;
        Ok(())
    };
    let times = Watched { node, resource: OURS, rounds: ROUNDS }.measure(attach, detach).await;
    // Where it has failed, the device may be attached still.
    drop(losetup(&["--detach", &device]));
    times.map(Some)
}

/// A resource of one device that comes and goes.
struct Watched<'r> {
    node: Node,
    resource: &'r str,
    rounds: usize,
}

impl Watched<'_> {
    async fn measure(&self, come: impl AsyncFn() -> Result<()>, go: impl AsyncFn() -> Result<()>) -> Result<Times> {
        let listed = |view: &View| view.resources.get(self.resource).is_some_and(|it| it.lists > 0);
        self.node.until("an empty list has come", listed).await?;
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let begin = Instant::now();
            come().await?;
            self.until(1).await?;
            came.push(begin.elapsed());
            let begin = Instant::now();
            go().await?;
            self.until(0).await?;
            went.push(begin.elapsed());
        }
        Ok((Sample::new(came).context("nothing was measured")?, Sample::new(went).context("nothing was measured")?))
    }

    async fn until(&self, count: usize) -> Result<()> {
        let is_so = |view: &View| view.allocatable(self.resource) == count;
        self.node.until(&format!("{count} devices"), is_so).await.map(drop)
    }
}
