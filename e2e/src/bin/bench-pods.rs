//! `cargo xtask bench pods`: prints the figures of `outrigger run` beside a shell and Podman.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use outrigger_e2e::bench;
use outrigger_e2e::outrigger::Outrigger;

/// Measures `outrigger run`.
#[derive(Parser)]
struct Arguments {
    /// The executable, built with the release profile
    #[arg(long)]
    executable: PathBuf,
    /// Only this benchmark: start, many or logs
    name: Option<String>,
}

/// Measures one thing and answers its lines.
type Benchmark = fn(&Outrigger) -> Result<String>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let outrigger = Outrigger::new(&arguments.executable)?;
    let all: [(&str, Benchmark); 3] = [("start", bench::start), ("many", bench::many), ("logs", bench::logs)];
    for (name, measure) in all {
        if arguments.name.as_deref().is_none_or(|wanted| wanted == name) {
            let figures = measure(&outrigger)?;
            std::io::stdout().write_all(figures.as_bytes())?;
        }
    }
    Ok(())
}
