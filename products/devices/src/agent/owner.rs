//! The one task that owns what is offered, claimed and locked: it looks at the machine, decides, and gives.
//!
//! ```text
//! changes of the machine ─┐                      ┌─► lists, each to its resource's streams
//! a grace that ends ──────┤                      │
//! claims that are told ───┼──► look ──► decide ──┼─► log lines, metrics
//! a new configuration ────┤                      │
//! Allocate, PreStart ─────┴──► the last look ────┴─► an answer or a refusal
//! ```
//!
//! A change is looked at at once; a flood of changes becomes few looks.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::{Decision, State};
use outrigger_device_core::picture::Picture;
use outrigger_device_core::rules::{Resource, Rules, Select};
use outrigger_device_core::unit::Unit;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::desk::{Ask, Decided, What};
use super::give;
use super::ledger::Ledger;
use super::metrics::Metrics;
use super::offers::Offers;
use super::report;
use crate::claims::Holders;
use crate::inventory::Inventory;
use crate::survey::Changes;

/// The least time between two looks that changes ask for.
const REST: Duration = Duration::from_millis(20);

/// How long after a device was given is decided again: nothing that is offered changes by that, and a kubelet that admits
/// one pod after the other must not wait for each decision.
const SETTLE: Duration = Duration::from_millis(250);

/// How long until a lock is tried for again that an older instance holds.
const LOCK_AGAIN: Duration = Duration::from_secs(1);

/// What the owner is told.
#[derive(Debug)]
pub struct Inbox {
    /// What the kubelet asks.
    pub asks: mpsc::Receiver<Ask>,
    /// Who holds what, whenever the kubelet was asked; nothing until then, and where it does not tell.
    pub holders: watch::Receiver<Option<Holders>>,
    /// New rules.
    pub inventories: watch::Receiver<Arc<Inventory>>,
    /// Changes of the machine.
    pub changes: Changes,
    /// That somebody has locked something, where there are locks.
    pub locked: Option<outrigger_host::Changes>,
}

/// What the owner tells.
#[derive(Debug)]
pub struct Outbox {
    /// The lists.
    pub offers: Offers,
    /// The last decision, for desks.
    pub decided: watch::Sender<Decided>,
    /// That the claims should be asked for anew.
    pub ask_claims: mpsc::Sender<()>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The state that this task owns.
#[derive(Debug)]
pub struct Owner {
    inventory: Arc<Inventory>,
    picture: Picture,
    state: State,
    ledger: Ledger,
    begun: Instant,
    /// When to decide because of what was given.
    settle: Option<Instant>,
    out: Outbox,
}

impl Owner {
    /// Offers what the first look has shown.
    pub fn begin(picture: Picture, first: Decided, ledger: Ledger, out: Outbox) -> Self {
        let Decided { inventory, decision } = first;
        let state = decision.next.clone();
        let mut owner = Self { inventory, picture, state, ledger, begun: Instant::now(), settle: None, out };
        owner.tell(decision);
        owner
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut inbox: Inbox, audit: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let mut looked = Instant::now();
        let mut next_audit = looked + audit;
        let mut wants_look = false;
        loop {
            let look =
                if wants_look { Some(looked + REST) } else { probe(&self.inventory.rules).map(|every| looked + every) };
            let lock_again = self.ledger.awaits().then(|| looked + LOCK_AGAIN);
            let due = [look, self.decided_again(), lock_again, self.settle]
                .into_iter()
                .flatten()
                .fold(next_audit, Instant::min);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ask) = inbox.asks.recv() => self.answer(ask),
                () = sleep_until(due) => {
                    (looked, wants_look, self.settle) = (Instant::now(), false, None);
                    if looked >= next_audit {
                        next_audit = looked + audit;
                        // A claim that the kubelet never names ends with time, also where it tells nothing new.
                        let holders = inbox.holders.borrow().clone();
                        self.hear(holders.as_ref());
                    }
                    self.ledger.retry(units(&self.out.decided.borrow().decision));
                    self.look();
                    inbox.changes.follow(&self.inventory);
                    self.out.metrics.sources(inbox.changes.is_polling(), inbox.changes.counts());
                }
                source = inbox.changes.next() => {
                    self.out.metrics.event(source);
                    wants_look = true;
                }
                () = locked(inbox.locked.as_mut()) => wants_look = true,
                changed = inbox.holders.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("nobody tells of claims any more"))?;
                    let holders = inbox.holders.borrow_and_update().clone();
                    self.hear(holders.as_ref());
                }
                changed = inbox.inventories.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("nobody reads the configuration any more"))?;
                    self.inventory = Arc::clone(&inbox.inventories.borrow_and_update());
                    inbox.changes.follow(&self.inventory);
                    self.look();
                }
            }
        }
    }

    /// When to decide again though nothing changes.
    fn decided_again(&self) -> Option<Instant> {
        let again = self.out.decided.borrow().decision.again;
        again.map(|again| self.begun + again)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn look(&mut self) {
        self.picture = self.inventory.picture();
        self.decide();
    }

    /// Decides by the last look, and tells everybody.
    fn decide(&mut self) {
        let claims = self.ledger.claims();
        let decision = self.inventory.decide(&self.picture, &claims, &self.state, self.now());
        self.state = decision.next.clone();
        self.tell(Arc::new(decision));
    }

    fn tell(&mut self, decision: Arc<Decision>) {
        report::changes(&decision, &self.out.metrics);
        report::known(&decision, &self.out.metrics);
        self.out.offers.publish(&self.inventory.rules, &decision);
        for list in &decision.lists {
            self.out.metrics.claims(&list.resource, self.ledger.count(&list.resource));
        }
        self.out.decided.send_replace(Decided { inventory: Arc::clone(&self.inventory), decision });
    }

    /// Takes over what the kubelet tells of claims.
    fn hear(&mut self, holders: Option<&Holders>) {
        let Some(holders) = holders else { return };
        // What is claimed may be listed only now, and is locked then.
        for _ in 0..2 {
            let decision = Arc::clone(&self.out.decided.borrow().decision);
            self.ledger.told(holders, units(&decision), self.now());
            self.decide();
        }
        report::stale(&self.out.decided.borrow().decision, holders, &self.out.metrics);
    }

    fn answer(&mut self, ask: Ask) {
        let Ask { resource, ids, again, what } = ask;
        let decided = self.out.decided.borrow().clone();
        let counter = give::Counter { decided: &decided, resource: &resource, again };
        match what {
            What::Allocate(reply) => {
                let begun = Instant::now();
                let given = counter.allocate(&ids, &mut self.ledger, self.begun.elapsed());
                let result = given.as_ref().map_or_else(|denied| denied.refusal.code.as_str(), |_| "ok");
                if !given.as_ref().is_err_and(|denied| denied.may_pass) {
                    self.out.metrics.allocated(&resource, result, begun.elapsed());
                }
                let is_given = given.is_ok();
                // Whoever asked may have gone away; the kubelet will then not name the pod, and the claim ends.
                let _ = reply.send(given);
                if is_given {
                    let _ = self.out.ask_claims.try_send(());
                    self.settle.get_or_insert(Instant::now() + SETTLE);
                }
            }
            What::PreStart(reply) => {
                let _ = reply.send(counter.pre_start(&ids));
            }
        }
    }
}

async fn locked(locks: Option<&mut outrigger_host::Changes>) {
    match locks {
        Some(locks) => locks.changed().await,
        None => pending().await,
    }
}

/// How often to look for what nothing announces: what the drivers of disks say.
fn probe(rules: &Rules) -> Option<Duration> {
    let has_disks = |resource: &&Resource| resource.groups.iter().any(|group| matches!(group.select, Select::Block(_)));
    rules.resources.iter().filter(has_disks).map(|resource| resource.health.every).min()
}

/// All units that are listed.
pub(super) fn units(decision: &Decision) -> impl Iterator<Item = &Unit> {
    decision.lists.iter().flat_map(|list| &list.listed).map(|listed| &listed.unit)
}
