//! `cargo xtask bench cluster`: prints the figures of `outrigger devices agent` on a real kubelet, beside the programs that it is
//! picked over.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use outrigger_e2e::cluster::Cluster;
use outrigger_e2e::devices::Plugins;
use outrigger_e2e::node::{self, Node};

/// The benchmarks, in the order in which they run.
const NAMES: [&str; 3] = ["start", "restart", "pods"];

/// Measures `outrigger devices agent` on the node of a cluster.
#[derive(Parser)]
struct Arguments {
    /// The executable, built with the release profile
    #[arg(long)]
    executable: PathBuf,
    /// Only this benchmark
    #[arg(value_parser = NAMES)]
    name: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        std::env::var_os("OUTRIGGER_TEST_XTASK").is_some(),
        "the cluster is not built: run `cargo xtask cluster build`, and this by `cargo xtask bench cluster`"
    );
    let plugins = Plugins::find(arguments.executable.canonicalize().context("no such executable")?);
    let cluster = Cluster::up("bench", &[])?;
    let node = Node::of(&cluster)?;
    let mut failed = Vec::new();
    for name in NAMES {
        if arguments.name.as_deref().is_none_or(|wanted| wanted == name) {
            let figures = match name {
                "start" => node::start(&node, &plugins),
                "restart" => node::restart(&node, &plugins),
                _ => node::pods(&node, &plugins),
            };
            // One that fails keeps nobody from the figures of the others.
            let text = figures.unwrap_or_else(|error| {
                failed.push(name);
                format!("{name}: failed: {error:#}\n")
            });
            std::io::stdout().write_all(text.as_bytes())?;
        }
    }
    cluster.down()?;
    ensure!(failed.is_empty(), "without figures: {}", failed.join(", "));
    Ok(())
}
