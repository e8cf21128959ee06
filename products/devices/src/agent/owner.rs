//! The one task that owns what is offered, claimed and locked: it answers the kubelet, and sends the clerk out to look and
//! decide.
//!
//! ```text
//! changes of the machine ─┐                                              ┌─► lists, each to its resource's streams
//! a grace that ends ──────┼─► look ──► decide ──► does it still hold? ───┤
//! a new configuration ────┘             ▲  ▲         │ no               └─► log lines, metrics
//! claims that are told ─────────────────┤  └─────────┘
//! locks of others ──────────────────────┘            ▲ what was given meanwhile
//! Allocate, PreStart ──────► the last look ──────────┴─► an answer or a refusal
//! ```
//!
//! A change is looked at at once; a flood of changes becomes few looks. Nothing here goes over all devices, only over what pods
//! have, so that an answer waits for no look; what was given while the clerk decided is checked against its verdict when that
//! comes.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::Listed;
use outrigger_device_core::rules::{Resource, Rules, Select};
use outrigger_runtime::Condition;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ask::Told;
use super::clerk::{Clerk, Done, Verdict};
use super::desk::{Ask, Decided, What};
use super::give;
use super::kept::Kept;
use super::ledger::{Elsewhere, Ledger};
use super::metrics::Metrics;
use super::offers::Offers;
use super::office::{LATE, Office};
use super::report;
use crate::inventory::Inventory;
use crate::survey::Changes;

/// The least time between two looks that changes ask for.
const REST: Duration = Duration::from_millis(20);

/// The least time between two looks at locks; and how long until one is looked at again that somebody else has, for nothing
/// tells that it is free.
const LOCKS_REST: Duration = Duration::from_secs(1);

/// How long after an audit all is over that comes of it.
const SETTLED: Duration = Duration::from_secs(1);

/// What the owner is told.
#[derive(Debug)]
pub struct Inbox {
    /// What the kubelet asks.
    pub asks: mpsc::Receiver<Ask>,
    /// Who holds what, whenever the kubelet was asked; nothing until then, and where it does not tell.
    pub holders: watch::Receiver<Option<Told>>,
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
    /// Whether somebody has something whom the kubelet has not named.
    pub unnamed: watch::Sender<bool>,
    /// What is counted.
    pub metrics: Metrics,
    /// That the machine can be looked at.
    pub looks: Condition,
}

/// The state that this task owns.
#[derive(Debug)]
pub struct Owner {
    office: Office,
    ledger: Ledger,
    kept: Kept,
    /// Who else has locks, as was seen last.
    elsewhere: Elsewhere,
    begun: Instant,
    /// Whether somebody has been told that the clerk is out for too long.
    is_late: bool,
    due: Due,
    out: Outbox,
}

/// What is to be done when the clerk is in.
#[derive(Debug)]
struct Due {
    /// New rules.
    inventory: Option<Arc<Inventory>>,
    /// When to look.
    look: Option<Instant>,
    /// When to look at the locks.
    locks: Option<Instant>,
    /// Whether claims have changed.
    decide: bool,
    /// Whether to see what agents before have left.
    sweep: bool,
    /// When to give back the memory that an audit has used.
    economize: Option<Instant>,
    /// The last look, and the last one at locks.
    looked: Instant,
    locks_looked: Instant,
}

impl Owner {
    /// Offers what the first look has shown.
    ///
    /// # Errors
    /// Where the clerk cannot have a thread.
    pub fn begin(clerk: Clerk, first: Verdict, (ledger, kept): (Ledger, Kept), out: Outbox) -> io::Result<Self> {
        let (now, elsewhere) = (Instant::now(), clerk.elsewhere());
        let (looked, locks_looked) = (now, now);
        let (inventory, look, locks, economize) = Default::default();
        let due = Due { inventory, look, locks, decide: false, sweep: false, economize, looked, locks_looked };
        let office = Office::open(clerk)?;
        let mut owner = Self { office, ledger, kept, elsewhere, begun: now, is_late: false, due, out };
        owner.out.looks.met();
        owner.tell(first);
        Ok(owner)
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut inbox: Inbox, audit: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let mut next_audit = Instant::now() + audit;
        loop {
            let due = self.next_errand().map_or(next_audit, |due| due.min(next_audit));
            let late = self.office.late_at().filter(|_| !self.is_late);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ask) = inbox.asks.recv() => self.answer(ask),
                done = self.office.back() => self.take(done?, &mut inbox.changes),
                () = sleep_until(late.unwrap_or(next_audit)), if late.is_some() => self.tell_late(),
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if now >= next_audit {
                        next_audit = now + audit;
                        // A claim that the kubelet never names ends with time, also where it tells nothing new.
                        let told = inbox.holders.borrow().clone();
                        self.hear(told.as_ref());
                        (self.due.look, self.due.sweep, self.due.economize) = (Some(now), true, Some(now + SETTLED));
                    }
                    self.send(now);
                }
                source = inbox.changes.next() => {
                    self.out.metrics.event(source);
                    if source == "mountinfo" && self.ledger.has_claims() {
                        // A pod that ends takes its mounts with it.
                        let _ = self.out.ask_claims.try_send(());
                    }
                    self.look_at(self.due.looked + REST);
                }
                () = locked(inbox.locked.as_mut()) => {
                    self.look_at_locks((Instant::now() + REST).max(self.due.locks_looked + LOCKS_REST));
                }
                changed = inbox.holders.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("nobody tells of claims any more"))?;
                    let told = inbox.holders.borrow_and_update().clone();
                    self.hear(told.as_ref());
                }
                changed = inbox.inventories.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("nobody reads the configuration any more"))?;
                    self.due.inventory = Some(Arc::clone(&inbox.inventories.borrow_and_update()));
                    self.look_at(Instant::now());
                }
            }
        }
    }

    /// When to send the clerk out next, as far as is known; never while it is out.
    fn next_errand(&self) -> Option<Instant> {
        if !self.office.is_in() {
            return None;
        }
        if self.due.decide {
            return Some(self.due.looked);
        }
        let decided = self.out.decided.borrow();
        let again = decided.decision.again.map(|again| self.begun + again);
        let probe = probe(&decided.inventory.rules).map(|every| self.due.looked + every);
        [self.due.look, self.due.locks, self.due.economize, again, probe].into_iter().flatten().min()
    }

    /// Sends the clerk out for what is due.
    fn send(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.next_errand().is_none_or(|due| due > now) {
            return;
        }
        if self.due.decide {
            self.send_to_decide();
        } else if is_due(self.due.economize) {
            self.due.economize = None;
            self.office.send(|_| {
                super::economize();
                Done::Nothing
            });
        } else if is_due(self.due.locks) && !is_due(self.due.look) {
            (self.due.locks, self.due.locks_looked) = (None, now);
            let news = self.ledger.take_news();
            self.office.send(|clerk| {
                clerk.learn(news);
                clerk.look_at_locks()
            });
        } else {
            (self.due.look, self.due.looked) = (None, now);
            let (news, inventory) = (self.ledger.take_news(), self.due.inventory.take());
            let is_audit = std::mem::take(&mut self.due.sweep);
            // The kernel lets nobody lock anything while it lists the locks, so that its list is not read with every change.
            let with_locks = is_audit || inventory.is_some() || now >= self.due.locks_looked + LOCKS_REST;
            if with_locks {
                (self.due.locks, self.due.locks_looked) = (None, now);
            } else {
                self.look_at_locks(self.due.locks_looked + LOCKS_REST);
            }
            self.office.send(move |clerk| {
                clerk.learn(news);
                if let Some(inventory) = inventory {
                    clerk.go_by(inventory);
                }
                if is_audit {
                    clerk.sweep();
                }
                clerk.look(with_locks)
            });
        }
    }

    fn send_to_decide(&mut self) {
        self.due.decide = false;
        let (news, now) = (self.ledger.take_news(), self.begun.elapsed());
        self.office.send(move |clerk| {
            clerk.learn(news);
            Done::Decided(clerk.decide(now))
        });
    }

    /// The clerk is out for too long, and nobody can bring it back.
    fn tell_late(&mut self) {
        let told = format!("it has not ended for {} s: a device may be dead", LATE.as_secs());
        warn!("Looking at the machine or deciding: {told}. What is listed stays as it is until it ends");
        self.out.looks.lost_because(told);
        self.is_late = true;
    }

    /// Takes what the clerk comes back with.
    fn take(&mut self, done: Done, changes: &mut Changes) {
        if std::mem::take(&mut self.is_late) {
            info!("Looking at the machine has ended");
            self.out.looks.met();
        }
        match done {
            Done::Looked { followed, elsewhere } => {
                if let Some(elsewhere) = elsewhere {
                    self.see_locks(elsewhere);
                }
                self.send_to_decide();
                if changes.follow(&followed) {
                    self.look_at(self.due.looked + REST);
                }
                self.out.metrics.sources(changes.is_polling(), changes.counts());
            }
            Done::LocksSeen { changed, elsewhere } => {
                self.see_locks(elsewhere);
                self.due.decide |= changed;
            }
            Done::Decided(verdict) if self.still_holds(&verdict) => self.tell(verdict),
            Done::Decided(_) => self.send_to_decide(),
            Done::Nothing => (),
        }
    }

    /// Takes over who else has locks. Where that is another instance of this process, a pod has got something from it.
    fn see_locks(&mut self, elsewhere: Elsewhere) {
        if !elsewhere.keys().eq(self.elsewhere.keys()) {
            let _ = self.out.ask_claims.try_send(());
        }
        self.elsewhere = elsewhere;
        self.ledger.retry(&self.elsewhere);
        self.wait_for_locks();
    }

    /// Whether a verdict is the same with what was given while the clerk decided. A unit that it offers to everybody is
    /// nobody else's and not in use, so that it stays so with a claim; anything else may depend on the claim.
    fn still_holds(&self, verdict: &Verdict) -> bool {
        let given = self.ledger.news().claims.iter().filter(|(_, who)| who.is_some());
        let decision = &verdict.decided.decision;
        given.map(|((resource, id), _)| decision.listed(resource, id)).all(|it| it.is_some_and(Listed::is_healthy))
    }

    /// Goes by a verdict, and tells everybody.
    fn tell(&mut self, verdict: Verdict) {
        let Verdict { decided, lists, changes } = verdict;
        let decision = Arc::clone(&decided.decision);
        self.out.offers.publish(&decided.inventory.rules, &decision, &lists);
        self.out.decided.send_replace(decided);
        self.claim_named();
        let metrics = self.out.metrics.clone();
        self.office.send(move |clerk| clerk.accept(decision, (lists, changes), &metrics));
    }

    /// Claims what the kubelet names and is listed only now, and lets it be decided by that.
    fn claim_named(&mut self) {
        let decision = Arc::clone(&self.out.decided.borrow().decision);
        self.due.decide |= self.ledger.follow(&decision, &self.elsewhere, self.begun.elapsed());
        self.wait_for_locks();
        for list in &decision.lists {
            self.out.metrics.claims(&list.resource, self.ledger.count(&list.resource));
        }
        report::stale(&decision, self.ledger.named(), &self.out.metrics);
    }

    /// Takes over what the kubelet tells of claims.
    fn hear(&mut self, told: Option<&Told>) {
        let Some(Told { pods, asked }) = told else { return };
        self.due.decide |= self.ledger.told(pods, asked.saturating_duration_since(self.begun));
        self.out.unnamed.send_replace(self.ledger.has_unnamed());
        self.claim_named();
    }

    /// Has the machine looked at, no later than then.
    fn look_at(&mut self, at: Instant) {
        self.due.look = Some(self.due.look.map_or(at, |look| look.min(at)));
    }

    /// Has the locks looked at, no later than then.
    fn look_at_locks(&mut self, at: Instant) {
        self.due.locks = Some(self.due.locks.map_or(at, |look| look.min(at)));
    }

    /// Nothing tells that a lock is free that somebody else has.
    fn wait_for_locks(&mut self) {
        if !self.elsewhere.is_empty() || self.ledger.awaits() {
            self.look_at_locks(self.due.locks_looked + LOCKS_REST);
        }
    }

    fn answer(&mut self, ask: Ask) {
        let Ask { resource, ids, again, what } = ask;
        let decided = self.out.decided.borrow().clone();
        let counter = give::Counter { decided: &decided, resource: &resource, again };
        match what {
            What::Allocate(reply) => {
                let given = counter.allocate(&ids, &mut self.ledger, self.begun.elapsed());
                if given.as_ref().is_err_and(|denied| denied.may_pass) {
                    // It is asked again when there is a decision by what is there now.
                    self.look_at(self.due.looked + REST);
                }
                if given.is_ok() {
                    let _ = self.out.ask_claims.try_send(());
                    self.out.unnamed.send_replace(true);
                    self.out.metrics.claims(&resource, self.ledger.count(&resource));
                }
                // Whoever asked may have gone away; the kubelet will then not name the pod, and the claim ends.
                let _ = reply.send(given);
            }
            What::PreStart(reply) => {
                let kept = self.kept.answers(&resource, &ids);
                let _ = reply.send(counter.pre_start(&ids, &self.ledger, &kept));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use outrigger_device_core::decide::Decision;
    use outrigger_host::{Locks, Watches};
    use outrigger_runtime::Readiness;
    use prometheus_client::registry::Registry;
    use tempfile::TempDir;
    use tokio::sync::oneshot;

    use super::*;
    use crate::args::SettingsArgs;
    use crate::claims::Pods;
    use crate::locks::KIND;
    use crate::settings::{self, Surroundings};

    /// An owner on a machine of files, without the tasks around it: the test is the clerk's thread's clock.
    struct Bench {
        place: TempDir,
        owner: Owner,
        changes: Changes,
        readiness: Readiness,
    }

    fn inventory(place: &TempDir, configuration: &str) -> Arc<Inventory> {
        let file = place.path().join("devices.yaml");
        fs::write(&file, configuration).unwrap();
        let host_root = Some(place.path().join("host").display().to_string());
        let args = SettingsArgs { config: Some(file), host_root, ..SettingsArgs::default() };
        Arc::new(Inventory::of(&settings::load(&args, &Surroundings::default()).unwrap()).unwrap().0)
    }

    /// Two resources of one directory, of which the first has it.
    fn rivals(first: &str, second: &str) -> String {
        let resource =
            |name: &str| format!("{{resource: example.com/{name}, groups: [{{paths: [{{path: /dev/bus}}]}}]}}");
        format!("devices: [{}, {}]", resource(first), resource(second))
    }

    impl Bench {
        async fn new(configuration: &str) -> Self {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir_all(place.path().join("host/dev/bus")).unwrap();
            let inventory = inventory(&place, configuration);
            let locks = Locks::at(place.path().join("lock"));
            let mut clerk = Clerk::new(Arc::clone(&inventory), Some(locks.clone()));
            clerk.look(true);
            let first = clerk.decide(Duration::ZERO);
            let metrics = Metrics::new(&mut Registry::default(), false);
            let (decided, seen) = watch::channel(first.decided.clone());
            let (offers, _) = Offers::new(mpsc::channel(1).0, seen, metrics.clone());
            let (ask_claims, unnamed) = (mpsc::channel(1).0, watch::Sender::new(false));
            let readiness = Readiness::new();
            let looks = readiness.condition("looks");
            let out = Outbox { offers, decided, ask_claims, unnamed, metrics, looks };
            let ledger = Ledger::new(Some(locks), inventory.survey.roots.clone());
            let owner = Owner::begin(clerk, first, (ledger, Kept::at(place.path())), out).unwrap();
            let changes = Changes::of(&inventory, Watches::new());
            let mut bench = Self { place, owner, changes, readiness };
            bench.back().await;
            bench
        }

        async fn back(&mut self) {
            let done = self.owner.office.back().await.unwrap();
            self.owner.take(done, &mut self.changes);
        }

        /// Until the clerk has nothing to do.
        async fn settle(&mut self) {
            while !self.owner.office.is_in() || self.owner.due.decide {
                if self.owner.office.is_in() {
                    self.owner.send(Instant::now());
                }
                self.back().await;
            }
        }

        /// Until there is nothing to look at.
        async fn rest(&mut self) {
            self.settle().await;
            while let Some(at) = self.owner.due.look {
                self.owner.send(at);
                self.settle().await;
            }
        }

        fn decision(&self) -> Arc<Decision> {
            Arc::clone(&self.owner.out.decided.borrow().decision)
        }

        fn id(&self, resource: &str) -> String {
            let decision = self.decision();
            let list = decision.lists.iter().find(|list| &*list.resource == resource).unwrap();
            list.listed[0].unit.id.to_string()
        }

        fn allocate(&mut self, resource: &str, id: &str) -> bool {
            let (reply, mut answer) = oneshot::channel();
            let ids = vec![id.to_owned()];
            self.owner.answer(Ask { resource: resource.into(), ids, again: false, what: What::Allocate(reply) });
            answer.try_recv().unwrap().is_ok()
        }

        fn told(&mut self, holders: &[(&str, &str)], asked: Instant) {
            self.told_of(&["default/a"], holders, asked);
        }

        /// The kubelet lists these pods, of which the last has these.
        fn told_of(&mut self, names: &[&str], holders: &[(&str, &str)], asked: Instant) {
            let who = format!("{}/c", names.last().unwrap_or(&""));
            let holder = |(resource, id): &(&str, &str)| ((resource.to_string(), id.to_string()), who.clone());
            let holders = holders.iter().map(holder).collect();
            let pods = Pods { holders, names: names.iter().map(|&name| name.to_owned()).collect() };
            self.owner.hear(Some(&Told { pods, asked }));
        }
    }

    const A: &str = "example.com/a";
    const B: &str = "example.com/b";

    /// Tried with a `still_holds` that is always true: the verdict offers to `b` what a pod has from `a`.
    #[tokio::test]
    async fn what_is_given_while_the_clerk_decides_is_not_offered_to_others() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        let id = bench.id(A);
        bench.owner.due.inventory = Some(inventory(&bench.place, &rivals("b", "a")));
        bench.owner.look_at(Instant::now());
        bench.owner.send(Instant::now());
        bench.back().await; // It has looked, and decides now, for `b`.
        assert!(bench.allocate(A, &id));
        bench.settle().await;
        assert!(bench.decision().listed(A, &id).is_some_and(Listed::is_healthy));
        assert!(bench.decision().listed(B, &id).is_none());
        assert!(!bench.allocate(B, &id), "given twice");
    }

    /// Of a machine that tells of no change: the pod gets the node that the stick has now, and need not wait for an audit.
    #[tokio::test]
    async fn a_stick_that_was_plugged_again_is_looked_at_as_soon_as_it_is_asked_for() {
        let mut bench =
            Bench::new("devices: [{resource: example.com/a, groups: [{usb: [{vendor: 10c4, product: ea60}]}]}]").await;
        let host = bench.place.path().join("host");
        let (sys, dev) = (host.join("sys/bus/usb/devices/1-1"), host.join("dev/bus/usb/001"));
        let plug = |number: u8| {
            fs::create_dir_all(&sys).unwrap();
            let _ = fs::remove_dir_all(&dev);
            fs::create_dir_all(&dev).unwrap();
            fs::write(dev.join(format!("{number:03}")), "").unwrap();
            let (device, number) = (format!("189:{}", number - 1), number.to_string());
            let told = [("idVendor", "10c4"), ("idProduct", "ea60"), ("serial", "0001"), ("busnum", "1")];
            for (name, text) in told.into_iter().chain([("devnum", &*number), ("dev", &*device), ("authorized", "1")]) {
                fs::write(sys.join(name), text).unwrap();
            }
        };
        plug(4);
        bench.owner.look_at(Instant::now());
        bench.rest().await;
        let id = bench.id(A);
        plug(5);
        assert!(!bench.allocate(A, &id), "given by the node that it had");
        assert!(bench.owner.due.look.is_some());
        bench.rest().await;
        assert!(bench.allocate(A, &id));
    }

    /// As it is with a flood of pods: the clerk must come to an end all the same.
    #[tokio::test]
    async fn what_is_given_while_the_clerk_decides_changes_no_verdict_that_offers_it() {
        let text = "devices: [{resource: example.com/a, groups: [{count: 3, paths: [{path: /dev/bus}]}]}]";
        let mut bench = Bench::new(text).await;
        let ids: Vec<String> =
            bench.decision().lists[0].listed.iter().map(|listed| listed.unit.id.to_string()).collect();
        bench.owner.look_at(Instant::now());
        bench.owner.send(Instant::now());
        assert!(bench.allocate(A, &ids[0]), "while it looks");
        bench.back().await;
        assert!(bench.allocate(A, &ids[1]), "while it decides");
        bench.back().await; // With the decision, which holds.
        assert!(bench.allocate(A, &ids[2]), "while it tells people");
        bench.back().await;
        assert!(bench.owner.office.is_in() && !bench.owner.due.decide);
        assert_eq!(bench.owner.ledger.count(A), 3);
    }

    /// The look sees the lock of what was given meanwhile, and not yet whose it is. Tried with a clerk that learns nothing
    /// before it decides: the device then leaves the list while its pod has it.
    #[tokio::test]
    async fn a_lock_of_ours_that_a_look_sees_is_not_somebody_elses() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        let id = bench.id(A);
        assert!(bench.allocate(A, &id));
        // Sent out before, as if: the news of it are not told.
        bench.owner.office.send(|clerk| clerk.look(true));
        bench.back().await;
        assert_eq!(bench.owner.elsewhere.len(), 1);
        bench.settle().await;
        assert!(bench.decision().listed(A, &id).is_some_and(Listed::is_healthy));
        // Nor does it let the locks be looked at every second for as long as the pod lives.
        bench.owner.office.send(Clerk::look_at_locks);
        bench.back().await;
        assert!(bench.owner.elsewhere.is_empty());
    }

    /// Somebody has a part of what several may have as a whole, and nobody has looked since: both locks let both in. Tried
    /// with a ledger that does not look once more.
    #[tokio::test]
    async fn what_somebody_has_a_part_of_is_given_to_none_of_several() {
        let text = "devices: [{resource: example.com/a, groups: [{count: 2, paths: [{path: /dev/bus}]}]}]";
        let mut bench = Bench::new(text).await;
        let unit = bench.decision().lists[0].listed[0].unit.clone();
        let whole = unit.locks().find(|name| unit.shares(name)).unwrap();
        let locks = Locks::at(bench.place.path().join("lock"));
        let part = [
            locks.try_share(KIND, &whole, "pod default/other").unwrap(),
            locks.try_lock(KIND, &format!("{whole}+char-1:3"), "pod default/other").unwrap(),
        ];
        assert!(!bench.allocate(A, &unit.id));
        assert_eq!(locks.holders(KIND, |_| false).len(), 1, "nothing of it is kept");
        drop(part);
        assert!(bench.allocate(A, &unit.id));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_end_is_told_and_the_agent_is_not_ready_until_it_does() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        let (end, ends) = std::sync::mpsc::channel::<()>();
        bench.owner.office.send(move |clerk| {
            let _ = ends.recv();
            clerk.look(true)
        });
        sleep_until(bench.owner.office.late_at().unwrap()).await;
        bench.owner.tell_late();
        assert_eq!(bench.readiness.missing(), ["looks (it has not ended for 10 s: a device may be dead)"]);
        end.send(()).unwrap();
        bench.settle().await;
        assert!(bench.readiness.missing().is_empty());
    }

    /// The look has seen a directory in which nobody has listened yet. Tried with an owner that does not look again.
    #[tokio::test]
    async fn what_comes_between_a_look_and_listening_where_it_shows_is_seen() {
        let mut bench =
            Bench::new("devices: [{resource: example.com/a, groups: [{paths: [{path: /dev/*/*/*}]}]}]").await;
        fs::create_dir(bench.place.path().join("host/dev/bus/a")).unwrap();
        bench.owner.look_at(Instant::now());
        bench.owner.send(Instant::now());
        let done = bench.owner.office.back().await.unwrap();
        fs::create_dir(bench.place.path().join("host/dev/bus/a/late")).unwrap();
        bench.owner.take(done, &mut bench.changes);
        bench.rest().await;
        assert_eq!(bench.decision().lists[0].listed.len(), 1);
    }

    /// The kubelet's answer may be older than the grant, and still name the pod that had the device before.
    #[tokio::test]
    async fn a_claim_is_not_lost_to_an_answer_of_the_kubelet_that_is_older() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        let (id, asked) = (bench.id(A), Instant::now());
        assert!(bench.allocate(A, &id));
        bench.told(&[(A, &id)], asked);
        bench.told(&[], Instant::now());
        bench.settle().await;
        assert_eq!(bench.owner.ledger.count(A), 1, "the kubelet has a while to name it");
        bench.told(&[(A, &id)], Instant::now());
        bench.told(&[], Instant::now());
        assert_eq!(bench.owner.ledger.count(A), 0);
    }

    #[tokio::test]
    async fn a_claim_that_the_kubelet_never_names_ends_when_it_was_asked_seconds_after() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        bench.told_of(&["default/old"], &[], Instant::now());
        let id = bench.id(A);
        assert!(bench.allocate(A, &id));
        bench.told_of(&["default/old"], &[], Instant::now() + Duration::from_secs(2));
        assert_eq!(bench.owner.ledger.count(A), 1);
        bench.told_of(&["default/old"], &[], Instant::now() + Duration::from_secs(4));
        assert_eq!(bench.owner.ledger.count(A), 0);
        let locks = Locks::at(bench.place.path().join("lock"));
        assert!(locks.holders(crate::locks::KIND, |_| false).is_empty());
    }

    /// A kubelet never names what an init container has. Tried with a claim that time alone ends.
    #[tokio::test]
    async fn a_claim_that_the_kubelet_never_names_stays_while_a_pod_may_have_it_in_an_init_container() {
        let mut bench = Bench::new(&rivals("a", "b")).await;
        let (old, new, later) = ("default/old", "default/new", "default/later");
        bench.told_of(&[old], &[], Instant::now());
        let (id, after) = (bench.id(A), |seconds| Instant::now() + Duration::from_secs(seconds));
        assert!(bench.allocate(A, &id));
        bench.told_of(&[new, old], &[], after(1));
        bench.told_of(&[new, later, old], &[], after(3600));
        assert_eq!(bench.owner.ledger.count(A), 1);
        bench.told_of(&[later, old], &[], after(3601));
        assert_eq!(bench.owner.ledger.count(A), 0, "what came later was not given it");
        assert!(bench.allocate(A, &id));
        bench.told_of(&[old, "default/other"], &[(A, "another")], after(3602));
        assert_eq!(bench.owner.ledger.count(A), 0, "what an init container has, the others of its pod have first");
    }
}
