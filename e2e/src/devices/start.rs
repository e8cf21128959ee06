//! From the start of the program to the list that the kubelet has read.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};

use super::node::{Node, Plugin, Plugins, not_measured, shared};
use crate::sample::Sample;

/// How often each size is measured.
const STARTS: usize = 21;

/// One resource of 10, 1,000 and 10,000 devices.
pub async fn start(plugins: &Plugins) -> Result<String> {
    let mut text = String::new();
    for (count, recorded) in [(10, "30 ms"), (1000, "52 ms"), (10_000, "224 ms")] {
        let (configuration, served) = shared(1, count);
        let ours = measure(&plugins.ours(&configuration), &served).await?;
        let aim = if count == 10 { " (aim: at most 30)" } else { "" };
        let _ = writeln!(text, "start  {count} devices: outrigger {ours}{aim}");
        for (peer, served) in plugins.peers(1, count) {
            // The sample has two devices, always.
            if matches!(peer, Plugin::Sample(_)) && count != 10 {
                continue;
            }
            let offered: usize = served.iter().map(|(_, count)| count).sum();
            match measure(&peer, &served).await {
                Ok(theirs) => {
                    let ratio = theirs.median().as_secs_f64() / ours.median().as_secs_f64();
                    let _ = writeln!(text, "start  {offered} devices: {} {theirs}", peer.name());
                    let _ = writeln!(text, "start  outrigger is {ratio:.1} times as fast as the {}", peer.name());
                }
                Err(error) => text.push_str(&not_measured("start", &peer, &error)),
            }
        }
        text.push_str(&plugins.absent(&format!("start  {count} devices:"), recorded));
    }
    Ok(text)
}

async fn measure(plugin: &Plugin, served: &[(String, usize)]) -> Result<Sample> {
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let mut node = Node::new().await?;
        let begin = Instant::now();
        node.start(plugin)?;
        node.until_offered(served).await?;
        took.push(begin.elapsed());
    }
    Sample::new(took).context("nothing was measured")
}
