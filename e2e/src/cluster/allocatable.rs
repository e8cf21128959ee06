//! What the kubelet could give at every moment: its own answer, 50 times a second.
//!
//! The node's status in the API is some seconds behind; this is what a pod meets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outrigger_kubelet_api::pod_resources::AllocatableResourcesRequest;
use outrigger_kubelet_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
use outrigger_kubelet_api::{Channel, LOCALHOST};
use tokio::time::timeout;

use super::{Cluster, PATIENCE};

/// How often it is asked. A kubelet answers 100 calls in a second.
const PACE: Duration = Duration::from_millis(20);

/// How many devices of each resource are healthy.
pub type Counts = BTreeMap<String, usize>;

/// An answer and when it came; none while there is no kubelet.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// What it said.
    pub counts: Option<Counts>,
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Watch<'c> {
    cluster: &'c Cluster,
    answers: Arc<Mutex<Vec<Answer>>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<()>,
}

impl<'c> Watch<'c> {
    /// Begins to ask, and waits for the first answer.
    pub fn begin(cluster: &'c Cluster) -> Result<Self> {
        let socket = cluster.root()?.join("var/lib/kubelet/pod-resources/kubelet.sock");
        let (answers, stop) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::new(()));
        let (told, stopped) = (Arc::clone(&answers), Arc::downgrade(&stop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut client = None;
                while stopped.strong_count() > 0 {
                    let counts = ask(&mut client, &socket).await.ok();
                    let answer = Answer { at: Instant::now(), counts };
                    told.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    tokio::time::sleep(PACE).await;
                }
            });
        });
        let watch = Self { cluster, answers, thread: Some(thread), stop };
        watch.until("the kubelet tells what it has", |_| true)?;
        Ok(watch)
    }

    /// All answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an answer from now on that is such.
    pub fn until(&self, what: &str, is_so: impl Fn(&Counts) -> bool) -> Result<Answer> {
        self.since(Instant::now(), what, is_so)
    }

    /// Waits for an answer from then on that is such.
    pub fn since(&self, begin: Instant, what: &str, is_so: impl Fn(&Counts) -> bool) -> Result<Answer> {
        loop {
            let answers = self.answers();
            let fresh = answers.iter().filter(|answer| begin <= answer.at);
            if let Some(found) = fresh.clone().find(|answer| answer.counts.as_ref().is_some_and(&is_so)) {
                return Ok(found.clone());
            }
            self.cluster.is_whole()?;
            if PATIENCE < begin.elapsed() {
                bail!("in vain was waited until {what}; the last answer: {:?}", answers.last());
            }
            thread::sleep(PACE);
        }
    }

    /// The longest time within which every answer of the kubelet said that there is none of a resource, from then on.
    pub fn longest_without(&self, resource: &str, since: Instant) -> Duration {
        let answers = self.answers();
        longest(answers.iter().filter(|answer| since <= answer.at), |counts| {
            counts.get(resource).copied().unwrap_or_default() == 0
        })
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.stop = Arc::new(());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The longest time from an answer that is such to the next that is not.
fn longest<'a>(answers: impl Iterator<Item = &'a Answer>, is_such: impl Fn(&Counts) -> bool) -> Duration {
    let (mut longest, mut begin) = (Duration::ZERO, None);
    for Answer { at, counts } in answers {
        let Some(counts) = counts else { continue };
        let is_such = is_such(counts);
        if let Some(begin) = begin {
            longest = longest.max(*at - begin);
        }
        begin = is_such.then(|| begin.unwrap_or(*at));
    }
    longest
}

async fn ask(client: &mut Option<PodResourcesListerClient<Channel>>, socket: &Path) -> Result<Counts> {
    let answer = timeout(Duration::from_secs(5), async {
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => PodResourcesListerClient::new(Channel::connect(socket, LOCALHOST).await?)
                .max_decoding_message_size(64 << 20),
        };
        let answer = connected.get_allocatable_resources(AllocatableResourcesRequest {}).await?;
        *client = Some(connected);
        anyhow::Ok(answer.into_inner())
    });
    let answer = answer.await.context("the kubelet does not answer")??;
    let mut counts = Counts::new();
    for devices in answer.devices {
        *counts.entry(devices.resource_name).or_default() += devices.device_ids.len();
    }
    Ok(counts)
}

/// The inode of a socket and when it was made, so that a new one is known.
pub fn made(socket: &Path) -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(socket).ok().map(|socket| (socket.ino(), socket.ctime(), socket.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_lasts_until_the_answer_that_ends_it() {
        let begin = Instant::now();
        let answer = |(at, count): (u64, Option<usize>)| Answer {
            at: begin + Duration::from_millis(at),
            counts: count.map(|count| [("a".to_owned(), count)].into()),
        };
        let answers: Vec<Answer> =
            [(0, Some(1)), (10, Some(0)), (20, None), (30, Some(0)), (50, Some(2)), (60, Some(0)), (70, Some(1))]
                .map(answer)
                .into();
        assert_eq!(longest(answers.iter(), |counts| counts["a"] == 0), Duration::from_millis(40));
        assert_eq!(longest(answers.iter(), |counts| counts["a"] == 9), Duration::ZERO);
    }
}
