//! Asks the kubelet who holds what: at the start, after each allocation, and at every audit. It has no way to tell by itself.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::claims::{self, ClaimsError, Holders};

/// How long after our answer the kubelet names the pod: it does so when the call has returned.
const SETTLE: Duration = Duration::from_secs(1);

/// Who holds what, and when the kubelet was asked.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it said.
    pub holders: Holders,
    /// What happened after this is not in it, or may not be.
    pub asked: Instant,
}

/// Asks until `stop`, every `audit` and shortly after each request; tells what it hears.
pub async fn ask(
    socket: PathBuf,
    audit: Duration,
    mut requests: mpsc::Receiver<()>,
    told: watch::Sender<Option<Told>>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut was_deaf = false;
    loop {
        let asked = Instant::now();
        match claims::holders(&socket).await {
            Ok(holders) => {
                if std::mem::take(&mut was_deaf) {
                    info!("The kubelet tells who holds devices again");
                }
                told.send_if_modified(|before| {
                    let is_new = before.as_ref().is_none_or(|before| before.holders != holders);
                    *before = Some(Told { holders, asked });
                    is_new
                });
            }
            Err(error) if was_deaf => debug!("Still nobody tells who holds devices: {}", told_whole(error)),
            Err(error) => {
                was_deaf = true;
                warn!("Who holds devices is not known: {}", told_whole(error));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(audit) => (),
            Some(()) = requests.recv() => {
                sleep(SETTLE).await;
                while requests.try_recv().is_ok() {}
            }
        }
    }
}

fn told_whole(error: ClaimsError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
