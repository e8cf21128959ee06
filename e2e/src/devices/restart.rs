//! From the listening `kubelet.sock` of a restarted kubelet to the last list read.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::node::{Node, Plugin, Plugins, not_measured, shared};
use crate::sample::Sample;

/// How often the kubelet is restarted.
const RESTARTS: usize = 200;
/// How often for a peer that takes seconds.
const FEW: usize = 10;

/// 200 restarts with three resources of ten devices.
pub async fn restart(plugins: &Plugins) -> Result<String> {
    let (configuration, served) = shared(3, 10);
    let (ours, registrations) = measure(&plugins.ours(&configuration), &served, RESTARTS).await?;
    let mut text = format!("restart  outrigger {ours} (aim: p99 at most 50)\n");
    let expected = RESTARTS * served.len();
    let _ = writeln!(text, "restart  outrigger registered {registrations} times (exactly {expected} are due)");
    for (peer, served) in plugins.peers(3, 10) {
        let rounds = if matches!(peer, Plugin::Gdp(..)) { FEW } else { RESTARTS };
        match measure(&peer, &served, rounds).await {
            Ok((theirs, registrations)) => {
                let ratio = theirs.median().as_secs_f64() / ours.median().as_secs_f64();
                let _ = writeln!(text, "restart  {} {theirs}, registered {registrations} times", peer.name());
                let _ = writeln!(text, "restart  outrigger is {ratio:.1} times as fast as the {}", peer.name());
            }
            Err(error) => text.push_str(&not_measured("restart", &peer, &error)),
        }
    }
    Ok(text + &plugins.absent("restart", "5.4-5.9 s"))
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
