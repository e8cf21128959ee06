//! When a process is ready: when every condition that it named has been met.
//!
//! ```text
//! condition("kubelet"), condition("pools") ──► missing: kubelet, pools ──met──► missing: pools ──met──► ready
//! ```
//!
//! What it does not do: it says nothing about liveness. A process that cannot go on ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The conditions under which a process is ready. Clones see the same conditions; without any it is ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether each condition is met.
    conditions: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
}

/// One condition of a [`Readiness`], held by the task that can tell.
#[derive(Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// No conditions yet.
    pub fn new() -> Self {
        Self { conditions: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    /// Adds a condition that is not yet met. All conditions are named before the process starts its tasks, else it
    /// could seem ready before it is.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.set(name, false);
        Condition { name, readiness: self.clone() }
    }

    /// The conditions that are not met, by name; empty when ready.
    pub fn missing(&self) -> Vec<&'static str> {
        missing(&self.conditions.borrow())
    }

    /// Waits until all conditions are met.
    pub async fn ready(&self) {
        let mut seen = self.conditions.subscribe();
        let ready = seen.wait_for(|conditions| missing(conditions).is_empty()).await;
        ready.expect("self holds the sender");
    }

    fn set(&self, name: &'static str, met: bool) {
        self.conditions.send_if_modified(|conditions| conditions.insert(name, met) != Some(met));
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// The condition holds: the first data was seen, the peer has answered.
    pub fn met(&self) {
        self.readiness.set(self.name, true);
    }

    /// The condition no longer holds: the process is not ready until it is met again.
    pub fn lost(&self) {
        self.readiness.set(self.name, false);
    }
}

fn missing(conditions: &BTreeMap<&'static str, bool>) -> Vec<&'static str> {
    conditions.iter().filter(|(_, met)| !**met).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_every_condition_is_met() {
        let readiness = Readiness::new();
        let pools = readiness.condition("pools");
        let kubelet = readiness.condition("kubelet");
        assert_eq!(readiness.missing(), ["kubelet", "pools"]);
        pools.met();
        assert_eq!(readiness.missing(), ["kubelet"]);
        kubelet.met();
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn a_lost_condition_is_missing_again() {
        let readiness = Readiness::new();
        let kubelet = readiness.condition("kubelet");
        kubelet.met();
        kubelet.lost();
        assert_eq!(readiness.missing(), ["kubelet"]);
    }

    #[test]
    fn a_condition_whose_task_has_gone_stays_missing() {
        let readiness = Readiness::new();
        drop(readiness.condition("pools"));
        assert_eq!(readiness.missing(), ["pools"]);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_when_the_last_is_met() {
        let readiness = Readiness::new();
        let pools = readiness.condition("pools");
        let waiting = readiness.ready();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            () = &mut waiting => unreachable!("a condition is missing"),
            () = std::future::ready(()) => pools.met(),
        }
        waiting.await;
    }
}
