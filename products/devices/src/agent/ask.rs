//! Asks the kubelet who holds what: at the start, after each allocation, when it comes, and at every audit. It has no way to
//! tell by itself.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_host::Changes;
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

/// How often a kubelet that has just come is asked again until it answers, and after how long.
const COMING: (u32, Duration) = (10, Duration::from_millis(100));

/// When to ask.
#[derive(Debug)]
pub struct Occasions {
    /// However little happens.
    pub audit: Duration,
    /// Shortly after each of these.
    pub requests: mpsc::Receiver<()>,
    /// At once when the kubelet's socket comes: it has been started, and will soon be shown lists.
    pub comes: Changes,
}

/// Asks until `stop`; tells what it hears.
pub async fn ask(
    socket: PathBuf,
    mut when: Occasions,
    told: watch::Sender<Option<Told>>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut was_deaf = false;
    let mut is_coming = 0;
    loop {
        let (asked, mut next) = (Instant::now(), when.audit);
        match claims::holders(&socket).await {
            Ok(holders) => {
                is_coming = 0;
                if std::mem::take(&mut was_deaf) {
                    info!("The kubelet tells who holds devices again");
                }
                told.send_if_modified(|before| {
                    let is_new = before.as_ref().is_none_or(|before| before.holders != holders);
                    *before = Some(Told { holders, asked });
                    is_new
                });
            }
            Err(_) if is_coming > 0 => {
                is_coming -= 1;
                next = COMING.1;
            }
            Err(error) if was_deaf => debug!("Still nobody tells who holds devices: {}", told_whole(error)),
            Err(error) => {
                was_deaf = true;
                warn!("Who holds devices is not known: {}", told_whole(error));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(next) => (),
            () = when.comes.changed() => is_coming = COMING.0,
            Some(()) = when.requests.recv() => {
                sleep(SETTLE).await;
                while when.requests.try_recv().is_ok() {}
            }
        }
    }
}

fn told_whole(error: ClaimsError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
