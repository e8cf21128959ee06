//! `cargo xtask bench devices`: prints the figures of `outrigger devices agent` beside the programs that it is picked over.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use outrigger_e2e::devices::{self, Plugins};

/// The benchmarks, in the order in which they run.
const NAMES: [&str; 7] = ["restart", "update", "start", "hotplug", "allocate", "memory", "idle"];

/// Measures `outrigger devices agent`.
#[derive(Parser)]
struct Arguments {
    /// The executable, built with the release profile
    #[arg(long)]
    executable: PathBuf,
    /// Only this benchmark
    #[arg(value_parser = NAMES)]
    name: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plugins = Plugins::find(arguments.executable.canonicalize()?);
    let mut failed = Vec::new();
    for name in NAMES {
        if arguments.name.as_deref().is_none_or(|wanted| wanted == name) {
            let figures = match name {
                "restart" => devices::restart(&plugins).await,
                "update" => devices::update(&plugins).await,
                "start" => devices::start(&plugins).await,
                "hotplug" => devices::hotplug(&plugins).await,
                "allocate" => devices::allocate(&plugins).await,
                "memory" => devices::memory(&plugins).await,
                _ => devices::idle(&plugins).await,
            };
            // One that fails keeps nobody from the figures of the others.
            let text = figures.unwrap_or_else(|error| {
                failed.push(name);
                format!("{name}: failed: {}\n", error.to_string().trim_end())
            });
            std::io::stdout().write_all(text.as_bytes())?;
        }
    }
    ensure!(failed.is_empty(), "without figures: {}", failed.join(", "));
    Ok(())
}
