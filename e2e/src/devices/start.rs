//! From the start of the program to the list that the kubelet has read.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};

use super::node::Node;
use super::plugins::{Plugin, Plugins, compared};
use crate::sample::Sample;

/// How often each size is measured.
const STARTS: usize = 21;

/// One resource of 10, 1,000 and 10,000 devices; and of two, which is what the sample has.
pub async fn start(plugins: &Plugins) -> Result<String> {
    let mut text = String::new();
    for (count, recorded) in [(10, "30 ms"), (1000, "52 ms"), (10_000, "224 ms")] {
        let name = format!("start: {count} devices:");
        let (plugin, served) = plugins.ours_with(1, count);
        let ours = measure(&plugin, &served, Node::start).await?;
        let aim = if count == 10 { " (aim: at most 30)" } else { "" };
        let _ = writeln!(text, "{name} outrigger {ours}{aim}");
        if let Some((peer, served)) = plugins.generic(1, count) {
            text.push_str(&compared(&name, &ours, &peer, measure(&peer, &served, Node::start).await));
        }
        text.push_str(&plugins.no_generic(&name, recorded));
    }
    Ok(text + &beside_the_sample(plugins).await?)
}

/// The sample needs a view of its own of `/var/lib`, which takes time to make: so ours gets one too.
async fn beside_the_sample(plugins: &Plugins) -> Result<String> {
    let name = "start: 2 devices, in a mount namespace made for it:";
    let Some((peer, theirs)) = plugins.sample() else { return Ok(plugins.no_sample("start:")) };
    let (plugin, served) = plugins.ours_with(1, 2);
    let ours = measure(&plugin, &served, Node::start_in_view).await?;
    let text = format!("{name} outrigger {ours}\n");
    Ok(text + &compared(name, &ours, &peer, measure(&peer, &theirs, Node::start_in_view).await))
}

async fn measure(
    plugin: &Plugin,
    served: &[(String, usize)],
    start: impl Fn(&mut Node, &Plugin) -> Result<()>,
) -> Result<Sample> {
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let mut node = Node::new().await?;
        let begin = Instant::now();
        start(&mut node, plugin)?;
        node.until_offered(served).await?;
        took.push(begin.elapsed());
    }
    Sample::new(took).context("nothing was measured")
}
