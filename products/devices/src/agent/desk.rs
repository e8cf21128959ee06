//! Answers what the kubelet asks about one resource: what needs the claims, the owner decides; the rest comes from the last
//! decision.
//!
//! What it does not do: it never waits for discovery. A device that is just coming back gets a second, no longer: the
//! kubelet admits one pod after the other, and a refusal ends a pod for good.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::Decision;
use outrigger_device_core::prefer;
use outrigger_device_core::rules::Prefer;
use outrigger_device_plugin::{Allocation, Answers, BoxFuture, Choice, Refusal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::metrics::Metrics;
use crate::inventory::Inventory;

/// How long a device may take to come back.
const RETURN: Duration = Duration::from_secs(1);

/// What a desk asks the owner.
#[derive(Debug)]
pub struct Ask {
    /// The resource.
    pub resource: Arc<str>,
    /// The ids, none empty and none twice.
    pub ids: Vec<String>,
    /// Whether it is asked again, because a device was gone a moment ago.
    pub again: bool,
    /// What it is about.
    pub what: What,
}

/// What is asked.
#[derive(Debug)]
pub enum What {
    /// To give the devices to a pod.
    Allocate(oneshot::Sender<Result<Allocation, Denied>>),
    /// Whether they are still what was given.
    PreStart(oneshot::Sender<Result<(), Denied>>),
}

/// A refusal, and whether it may soon be none.
#[derive(Debug)]
pub struct Denied {
    /// What the kubelet is told.
    pub refusal: Refusal,
    /// Whether the device may be just coming back.
    pub may_pass: bool,
}

/// The last decision, with what it is by.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The rules and the machine.
    pub inventory: Arc<Inventory>,
    /// What came of them.
    pub decision: Arc<Decision>,
}

/// Answers for one resource.
#[derive(Debug)]
pub struct Desk {
    /// The resource.
    pub resource: Arc<str>,
    /// To the owner.
    pub asks: mpsc::Sender<Ask>,
    /// What was decided last.
    pub decided: watch::Receiver<Decided>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Desk {
    /// Asks the owner until it gives, refuses for good, or the time is over.
    async fn ask<T>(
        &self,
        ids: &[String],
        what: impl Fn(oneshot::Sender<Result<T, Denied>>) -> What,
    ) -> Result<T, Refusal> {
        let deadline = Instant::now() + RETURN;
        let mut decided = self.decided.clone();
        let mut again = false;
        loop {
            decided.mark_unchanged();
            let (reply, answer) = oneshot::channel();
            let ask = Ask { resource: Arc::clone(&self.resource), ids: ids.to_vec(), again, what: what(reply) };
            let sent = self.asks.send(ask).await;
            let answer = answer.await.ok().filter(|_| sent.is_ok());
            match answer {
                None => return Err(Refusal::unavailable("the node agent is stopping")),
                Some(Ok(given)) => return Ok(given),
                Some(Err(denied)) if !denied.may_pass => return Err(denied.refusal),
                Some(Err(denied)) => match timeout_at(deadline, decided.changed()).await {
                    Ok(Ok(())) => again = true,
                    _ => return Err(denied.refusal),
                },
            }
        }
    }

    fn preferred(&self, choice: &Choice) -> Vec<String> {
        let Decided { inventory, decision } = self.decided.borrow().clone();
        let Some(list) = decision.lists.iter().find(|list| list.resource == self.resource) else { return Vec::new() };
        let how = inventory.rules.resources.get(list.rule).map_or(Prefer::None, |resource| resource.prefer);
        let wanted: BTreeSet<&str> = choice.available.iter().chain(&choice.must).map(String::as_str).collect();
        let available = list.listed.iter().filter(|listed| wanted.contains(&*listed.unit.id));
        let available: Vec<prefer::Choice> = available.map(|listed| prefer::Choice::of(&listed.unit)).collect();
        let must: Vec<&str> = choice.must.iter().map(String::as_str).collect();
        prefer::prefer(how, &available, &must, choice.size).iter().map(ToString::to_string).collect()
    }
}

impl Answers for Desk {
    fn allocate(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Allocation, Refusal>> {
        Box::pin(async move {
            let begun = Instant::now();
            let given = self.ask(&ids, What::Allocate).await;
            let result = given.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
            self.metrics.allocated(&self.resource, result, begun.elapsed());
            given
        })
    }

    fn prefer(&self, choice: Choice) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
        Box::pin(async move { Ok(self.preferred(&choice)) })
    }

    fn pre_start(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.ask(&ids, What::PreStart).await })
    }
}
