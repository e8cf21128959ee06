//! When a process is ready: when every condition that it named has been met.
//!
//! ```text
//! condition("kubelet"), condition("pools") ──► missing: kubelet, pools ──met──► missing: pools ──met──► ready
//! ```
//!
//! What it does not do: it says nothing about liveness. A process that cannot go on ends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The name of a condition: what is waited for, as people call it.
type Name = Cow<'static, str>;

/// The conditions under which a process is ready. Clones see the same conditions; without any it is ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    conditions: Arc<watch::Sender<BTreeMap<Name, State>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Met,
    /// Why not; may be empty.
    Missing(String),
}

/// One condition of a [`Readiness`], held by the task that can tell.
#[derive(Debug)]
pub struct Condition {
    name: Name,
    readiness: Readiness,
}

impl Readiness {
    /// No conditions yet.
    pub fn new() -> Self {
        Self { conditions: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    /// Adds a condition that is not yet met. All conditions are named before the process starts its tasks, else it
    /// could seem ready before it is.
    pub fn condition(&self, name: impl Into<Cow<'static, str>>) -> Condition {
        let condition = Condition { name: name.into(), readiness: self.clone() };
        condition.lost();
        condition
    }

    /// The conditions that are not met, by name, with the reason where one was given; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        missing(&self.conditions.borrow())
    }

    /// Waits until all conditions are met.
    pub async fn ready(&self) {
        let mut seen = self.conditions.subscribe();
        let ready = seen.wait_for(|conditions| missing(conditions).is_empty()).await;
        ready.expect("self holds the sender");
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
        self.set(State::Met);
    }

    /// The condition no longer holds: the process is not ready until it is met again.
    pub fn lost(&self) {
        self.set(State::Missing(String::new()));
    }

    /// As [`Condition::lost`], and says why.
    pub fn lost_because(&self, why: impl Into<String>) {
        self.set(State::Missing(why.into()));
    }

    /// The condition is none any more: what it was about is gone for good.
    pub fn retire(self) {
        self.readiness.conditions.send_if_modified(|conditions| conditions.remove(&self.name).is_some());
    }

    fn set(&self, state: State) {
        self.readiness.conditions.send_if_modified(|conditions| {
            let changed = conditions.get(&self.name) != Some(&state);
            conditions.insert(self.name.clone(), state);
            changed
        });
    }
}

fn missing(conditions: &BTreeMap<Name, State>) -> Vec<String> {
    let told = |(name, state): (&Name, &State)| match state {
        State::Met => None,
        State::Missing(why) if why.is_empty() => Some(name.to_string()),
        State::Missing(why) => Some(format!("{name} ({why})")),
    };
    conditions.iter().filter_map(told).collect()
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

    #[test]
    fn a_condition_says_why_it_is_not_met_and_may_be_retired() {
        let readiness = Readiness::new();
        let disk = readiness.condition(format!("example.com/{}", "disk"));
        disk.lost_because("no kubelet yet");
        assert_eq!(readiness.missing(), ["example.com/disk (no kubelet yet)"]);
        disk.retire();
        assert!(readiness.missing().is_empty());
    }
}
