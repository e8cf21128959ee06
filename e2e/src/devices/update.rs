//! For how long a kubelet has no devices while one instance follows another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_stub_kubelet::View;

use super::node::Node;
use super::plugins::Plugins;
use crate::sample::Sample;

/// How often a newer instance follows.
const UPDATES: usize = 50;

const RESOURCE: &str = "example.com/r0";

/// Fifty rolling updates on a kubelet that drops the newer instance when the older ends, as those up to 1.36 do: the older is
/// killed while both run. No peer can do this: the sample has one socket, and the generic one is never asked again.
pub async fn update(plugins: &Plugins) -> Result<String> {
    let (plugin, served) = plugins.ours_with(1, 10);
    let mut node = Node::with(|options| options.overlap_bug = true).await?;
    node.start(&plugin)?;
    node.until_offered(&served).await?;
    for update in 0..UPDATES {
        let ended = node.kubelet.view().resources[RESOURCE].ended;
        let mut older = node.start_beside(&plugin)?.context("no older instance runs")?;
        node.until("both instances are read", |view| view.resources[RESOURCE].streams == 2).await?;
        older.kill()?;
        older.wait()?;
        let is_over = |view: &View| {
            let seen = &view.resources[RESOURCE];
            seen.ended > ended && (seen.streams, seen.allocatable) == (1, 10)
        };
        node.until(&format!("update {update} is over"), is_over).await?;
    }
    let view = node.kubelet.view();
    let gaps: Vec<Duration> = view.gaps_of(RESOURCE).filter_map(|gap| Some(gap.until? - gap.from)).collect();
    ensure!(gaps.len() == UPDATES, "{} gaps in {UPDATES} updates", gaps.len());
    let gaps = Sample::new(gaps).context("nothing was measured")?;
    Ok(format!("update: outrigger without devices for {gaps} (aim: at most 50)\n"))
}
