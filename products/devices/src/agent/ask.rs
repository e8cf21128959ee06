//! Asks the kubelet who holds what: at the start, after each allocation, when it comes, and at every audit. It has no way to
//! tell by itself.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_host::Changes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::claims::{self, ClaimsError, Pods};

/// How long after our answer the kubelet names the pod: it does so when the call has returned.
const SETTLE: Duration = Duration::from_secs(1);

/// How long after each question the next one comes while a claim is nobody's yet: its pod may have ended in its admission.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// For how long a kubelet that has just come may not know all of its pods: it learns of them one source after the other.
const LEARNS: Duration = Duration::from_secs(10);

/// Who holds what, and when the kubelet was asked.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it said.
    pub pods: Pods,
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
    /// Whether somebody has something whom the kubelet has not named.
    pub unnamed: watch::Receiver<bool>,
}

/// Asks until `stop`, which waits for no answer; tells what it hears.
pub async fn ask(
    socket: PathBuf,
    when: Occasions,
    told: watch::Sender<Option<Told>>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        never = ask_forever(socket, when, told) => match never {},
    }
}

async fn ask_forever(socket: PathBuf, mut when: Occasions, told: watch::Sender<Option<Told>>) -> Infallible {
    let mut was_deaf = false;
    let mut is_coming = 0;
    let mut came: Option<Instant> = None;
    let mut again = &AGAIN[..0];
    loop {
        let (asked, mut next) = (Instant::now(), when.audit);
        match claims::pods(&socket).await {
            Ok(mut pods) => {
                is_coming = 0;
                if std::mem::take(&mut was_deaf) {
                    info!("The kubelet tells who holds devices again");
                }
                if let Some(learnt) = came.map(|came| came + LEARNS).filter(|learnt| asked < *learnt) {
                    next = next.min(learnt - asked);
                    if let Some(before) = &*told.borrow() {
                        pods.add(&before.pods);
                    }
                }
                let is_awaited = *when.unnamed.borrow();
                told.send_if_modified(|before| {
                    let is_new = before.as_ref().is_none_or(|before| before.pods.holders != pods.holders);
                    *before = Some(Told { pods, asked });
                    is_new || is_awaited
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
        if when.wait(next, &mut again).await {
            (is_coming, came) = (COMING.0, Some(Instant::now()));
        }
    }
}

impl Occasions {
    /// Waits until it is time to ask, which is so after `next` at the latest; answers whether the kubelet has come. `again`
    /// are the questions that follow the last one while a claim is nobody's.
    async fn wait(&mut self, next: Duration, again: &mut &[Duration]) -> bool {
        let (asked, mut soon) = (Instant::now(), again.split_off_first());
        loop {
            let after = soon.copied().unwrap_or(next).min(next);
            tokio::select! {
                () = self.comes.changed() => return true,
                () = sleep_until(asked + after) => {
                    // The last answer may have named it, or ended it.
                    let is_in_vain = soon.take().is_some() && !*self.unnamed.borrow() && after < next;
                    if !is_in_vain {
                        return false;
                    }
                    *again = &[];
                }
                Some(()) = self.requests.recv() => {
                    sleep(SETTLE).await;
                    while self.requests.try_recv().is_ok() {}
                    *again = &AGAIN;
                    return false;
                }
            }
        }
    }
}

fn told_whole(error: ClaimsError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[cfg(test)]
mod tests {
    use outrigger_host::Watches;
    use tokio::net::UnixListener;

    use super::*;

    /// Tried with a stop that is waited for between questions alone: it then comes 5 s later, after the process's grace.
    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_kubelet_that_does_not_answer() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("kubelet.sock");
        let hangs = UnixListener::bind(&socket).unwrap();
        let (_asks, requests) = mpsc::channel(1);
        let (_names, unnamed) = watch::channel(false);
        let comes = Watches::new().directory(place.path());
        let when = Occasions { audit: Duration::from_secs(3600), requests, comes, unnamed };
        let stop = CancellationToken::new();
        let (told, _heard) = watch::channel(None);
        let stopped = async {
            let question = hangs.accept().await.unwrap();
            stop.cancel();
            (question, Instant::now())
        };
        let (_, (_question, stopped)) = tokio::join!(ask(socket, when, told, stop.clone()), stopped);
        assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    }
}
