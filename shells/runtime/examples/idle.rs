//! A process that does nothing but what every server of ours does: it logs, stops on signals, becomes ready, and serves
//! its admin endpoint.
//!
//! ```text
//! cargo run -p outrigger-runtime --example idle -- 127.0.0.1:9410
//! ```
//!
//! It becomes ready when it reads a line from stdin. With `--deaf` it ignores the stop, so that only a second signal ends it.

use std::future::pending;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use outrigger_runtime::{Condition, LogFilter, Readiness, Tasks, admin, start_logging, stop_on_signals};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long the tasks have to end after a stop.
const GRACE: Duration = Duration::from_hours(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let log_level = start_logging(LogFilter::default())?;
    let stop = stop_on_signals().context("cannot handle signals")?;
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else { bail!("no ADDRESS to serve the admin endpoint at") };
    let deaf = arguments.any(|argument| argument == "--deaf");
    let address: SocketAddr = address.parse().with_context(|| format!("\"{address}\" is no address"))?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;

    let readiness = Readiness::new();
    let first_line = readiness.condition("first-line");
    let mut metrics = Registry::default();
    let lines = Counter::<u64>::default();
    metrics.register("outrigger_idle_lines", "Lines read from stdin", lines.clone());

    let token = stop.token().clone();
    let mut tasks = Tasks::new(token.clone());
    tasks.start("admin", admin::serve(listener, Arc::new(metrics), readiness, log_level, token.clone()));
    tasks.start("line", wait_for_line(first_line, lines, token));
    if deaf {
        tasks.start("deaf", pending::<anyhow::Result<()>>());
    }
    tasks.finish(GRACE).await?;
    Ok(stop.signal().map_or(ExitCode::SUCCESS, |signal| ExitCode::from(signal.exit_code())))
}

/// Meets the condition when a line arrives on stdin. A thread reads it, since nothing can interrupt such a read.
async fn wait_for_line(first_line: Condition, lines: Counter, stop: CancellationToken) -> anyhow::Result<()> {
    let (sender, line) = oneshot::channel();
    thread::spawn(move || {
        let read = io::stdin().lock().read_line(&mut String::new());
        let _receiver_may_be_gone = sender.send(read);
    });
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        line = line => line.context("the reader of stdin has ended")?.context("cannot read stdin")?,
    };
    lines.inc();
    first_line.met();
    stop.cancelled().await;
    Ok(())
}
