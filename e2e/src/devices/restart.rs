//! From the listening `kubelet.sock` of a restarted kubelet to the last list read.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::node::Node;
use super::plugins::{Plugin, Plugins, compared};
use crate::sample::Sample;

/// How often the kubelet is restarted.
const RESTARTS: usize = 200;
/// How often for a peer, since both take seconds.
const FEW: usize = 10;

/// 200 restarts with three resources of ten devices; the sample has its one resource of two.
pub async fn restart(plugins: &Plugins) -> Result<String> {
    let (plugin, served) = plugins.ours_with(3, 10);
    let (ours, registrations) = measure(&plugin, &served, RESTARTS).await?;
    let mut text = format!("restart: outrigger {ours} (aim: p99 at most 50)\n");
    let expected = RESTARTS * served.len();
    let _ = writeln!(text, "restart: outrigger registered {registrations} times (exactly {expected} are due)");
    for (peer, served) in plugins.sample().into_iter().chain(plugins.generic(3, 10)) {
        let theirs = measure(&peer, &served, FEW).await.map(|(theirs, _)| theirs);
        text.push_str(&compared("restart:", &ours, &peer, theirs));
    }
    Ok(text + &plugins.no_sample("restart:") + &plugins.no_generic("restart:", "5.4-5.9 s"))
}

async fn measure(plugin: &Plugin, served: &[(String, usize)], rounds: usize) -> Result<(Sample, usize)> {
    let mut node = Node::new().await?;
    node.start(plugin)?;
    let before = node.until_offered(served).await?.registrations.len();
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        node.kubelet.restart().await?;
        let listening = Instant::now();
        node.until_offered(served).await?;
        took.push(listening.elapsed());
    }
    let registrations = node.kubelet.view().registrations.len() - before;
    ensure!(registrations >= rounds * served.len(), "only {registrations} registrations in {rounds} restarts");
    Ok((Sample::new(took).context("nothing was measured")?, registrations))
}
