//! Who has which unit, and the machine-wide locks that this process holds for them.
//!
//! ```text
//!            Allocate                    the kubelet names a pod
//!   free ───────────────► given ─────────────────────────────────► held
//!     ▲                     │ no pod is left that may have it        │ no longer named
//!     └─────────────────────┴────────────────────────────────────────┘
//! ```
//!
//! The kubelet lists a pod before it asks us for its devices, and names what it has when it has our answer; but what an init
//! container has is never named. Therefore a claim stays while a pod is listed that came when it was given and that the kubelet
//! names with nothing of the resource: an init container of it may have the device.
//!
//! A device that is plugged again while a pod has it comes with another number. What it is now is locked then, and what it was
//! stays so: another device may come to have the old number, which the pod's containers may open.
//!
//! Where the kubelet does not tell who holds what, a claim stays until its id is given again: that the kubelet asks for it is
//! the proof that it was free. A lock that an older instance of this process holds is waited for, without refusing anything
//! to the pods that have the device.
//!
//! What it does not do: it has no clock and asks nobody; it locks, and that is all it touches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::{Decision, may_overlap};
use outrigger_device_core::hold::Mode;
use outrigger_device_core::rules::Rules;
use outrigger_device_core::unit::Unit;
use outrigger_host::devices::Roots;
use outrigger_host::{Attempt, LockError, LockHolder, Locks, MachineLock};

use crate::claims::{Holders, Pods};
use crate::locks::{Door, KIND, opponent, pods_claim, try_lock};

/// How long the kubelet may take from our answer until it names the pod that got it: it does so without waiting for anything
/// (`pkg/kubelet/cm/devicemanager/manager.go`, `allocateContainerResources`).
const UNNAMED: Duration = Duration::from_secs(3);

/// How long a pod may be listed until all of its devices are asked for; another resource's plugin may take its time.
const ADMISSION: Duration = Duration::from_secs(10);

/// A resource and an id in it.
pub type Key = (String, String);

/// Locks that others hold, by name.
pub type Elsewhere = Arc<BTreeMap<String, LockHolder>>;

/// The claims of this node's pods.
#[derive(Debug)]
pub struct Ledger {
    /// Where nodes are, to see whose locks count.
    roots: Roots,
    locks: Option<Locks>,
    claims: BTreeMap<Key, Claim>,
    /// How many claims each resource has.
    counts: BTreeMap<Arc<str>, usize>,
    /// The locks of all claims.
    held: BTreeMap<String, Held>,
    /// The names of those that somebody else still has.
    awaited: BTreeSet<String>,
    /// What is still locked of numbers that devices had when they were given, and who has these.
    former: BTreeMap<String, String>,
    /// All that the kubelet named last, also what a pod's own use of a disk keeps from being listed until its claim is known.
    named: Holders,
    /// The pods that it listed, and when it was asked: of the last time that all admissions from before are over, and later ones.
    listed: VecDeque<(Duration, Arc<BTreeSet<String>>)>,
    news: News,
}

#[derive(Debug)]
struct Claim {
    /// Who, as far as the kubelet told.
    who: Option<String>,
    since: Duration,
    /// As it was given.
    unit: Unit,
    /// As it was seen last: one that was plugged again has another number.
    seen: Unit,
    /// The names of its locks.
    locks: Vec<String>,
    /// Whose it may be until somebody is named.
    whose: Whose,
}

/// The pods of which one may have what was given.
#[derive(Debug)]
enum Whose {
    /// None of these: they had been there for long.
    NoneOf(Arc<BTreeSet<String>>),
    /// One of these: they came when it was given.
    OneOf(BTreeSet<String>),
}

impl Claim {
    fn of(unit: &Unit, who: Option<String>, since: Duration, locks: Vec<String>) -> Self {
        let whose = Whose::NoneOf(Arc::default());
        Self { who, since, unit: unit.clone(), seen: unit.clone(), locks, whose }
    }

    /// Whether no pod is left that may have what the kubelet does not name.
    fn is_left(&mut self, pods: &Pods, asked: Duration) -> bool {
        if self.who.is_some() {
            return true;
        }
        if asked < self.since {
            return false;
        }
        let came: BTreeSet<String> = match &self.whose {
            Whose::NoneOf(before) => pods.names.difference(before).cloned().collect(),
            Whose::OneOf(came) => pods.names.intersection(came).cloned().collect(),
        };
        let resource = &*self.unit.body.resource;
        let named = pods.holders.iter().filter(|((of, _), _)| of == resource);
        let named: BTreeSet<&str> = named.filter_map(|(_, who)| Some(who.rsplit_once('/')?.0)).collect();
        let is_left = came.iter().all(|pod| named.contains(pod.as_str()));
        self.whose = Whose::OneOf(came);
        is_left && asked >= self.since + UNNAMED
    }
}

/// A lock of one claim, or of several that share a device.
#[derive(Debug)]
struct Held {
    /// None where somebody else still has it.
    lock: Option<MachineLock>,
    claims: usize,
    /// As the first of them has it.
    mode: Mode,
}

/// What has changed since it was asked for last.
#[derive(Debug, Default)]
pub struct News {
    /// Who has a unit now; none where nobody has.
    pub claims: BTreeMap<Key, Option<String>>,
    /// The locks that have become ours, and whether they are had or waited for; none for what is not ours any more.
    pub locks: BTreeMap<String, Option<bool>>,
    /// Whether the kubelet has told who has what.
    pub is_told: bool,
    /// If that has changed: what is still locked of numbers that devices had when they were given, and who has these.
    pub former: Option<BTreeMap<String, String>>,
}

/// Why a unit cannot be had.
#[derive(Debug)]
pub enum Taken {
    /// Somebody else has a device of it.
    Elsewhere(LockHolder),
    /// Nobody can tell.
    Unknown(LockError),
}

impl Ledger {
    /// No claims yet. Without locks nobody else on this machine is told of them.
    pub fn new(locks: Option<Locks>, roots: Roots) -> Self {
        let (claims, counts, held, awaited, former, named, listed, news) = Default::default();
        Self { roots, locks, claims, counts, held, awaited, former, named, listed, news }
    }

    /// Where the locks of devices are.
    pub fn directory(&self) -> Option<PathBuf> {
        self.locks.as_ref().map(|locks| locks.directory().join(KIND))
    }

    /// Takes a unit for a pod that the kubelet has not named yet: all of its locks or none.
    pub fn take(&mut self, unit: &Unit, rules: &Rules, now: Duration) -> Result<(), Taken> {
        // That it is asked for is the proof that whoever had it has it no longer.
        let key = key(unit);
        let former = self.claims.remove(&key);
        let locks = self.lock_all(unit, rules);
        if let Some(former) = former {
            self.ended(&key, &former);
        }
        let locks = locks?;
        let before = self.listed.iter().rfind(|(asked, _)| *asked + ADMISSION <= now).or(self.listed.front());
        let whose = Whose::NoneOf(before.map(|(_, pods)| Arc::clone(pods)).unwrap_or_default());
        self.add(unit, Claim { whose, ..Claim::of(unit, None, now, locks) });
        Ok(())
    }

    /// A unit as a pod was given it, where one has it.
    pub fn given(&self, unit: &Unit) -> Option<&Unit> {
        self.claims.get(&key(unit)).map(|claim| &claim.unit)
    }

    /// Ends a claim.
    pub fn give_back(&mut self, unit: &Unit) {
        let key = key(unit);
        if let Some(claim) = self.claims.remove(&key) {
            self.ended(&key, &claim);
        }
    }

    /// Takes over what the kubelet told when it was asked at a moment: what it names no longer is given back. A claim that
    /// is younger than the question is not what it told of. Answers whether that can change what is offered.
    pub fn told(&mut self, pods: &Pods, asked: Duration) -> bool {
        let (holders, named) = (&pods.holders, std::mem::replace(&mut self.named, pods.holders.clone()));
        self.news.is_told = true;
        self.listed.retain(|(before, _)| *before != asked); // It may be heard again and again.
        self.listed.push_back((asked, Arc::new(pods.names.clone())));
        while self.listed.get(1).is_some_and(|(before, _)| *before + ADMISSION <= asked) {
            self.listed.pop_front();
        }
        let (has_changed, mut over) = (named != *holders, Vec::new());
        for key in named.keys().chain(holders.keys()) {
            if named.get(key) != holders.get(key) {
                self.news.claims.insert(key.clone(), self.who(key));
            }
        }
        for (key, claim) in &mut self.claims {
            if let Some(who) = holders.get(key).filter(|_| claim.since <= asked) {
                if claim.who.as_ref() != Some(who) {
                    claim.who = Some(who.clone());
                    self.news.claims.insert(key.clone(), Some(who.clone()));
                }
            } else if !holders.contains_key(key) && claim.is_left(pods, asked) {
                over.push(key.clone());
            }
        }
        for key in &over {
            if let Some(claim) = self.claims.remove(key) {
                self.ended(key, &claim);
            }
        }
        has_changed || !over.is_empty()
    }

    /// Claims what the kubelet names and a decision lists; answers whether there was such. Locks that others have are waited
    /// for. Devices that have another number now are locked by that.
    pub fn follow(&mut self, decision: &Decision, elsewhere: &Elsewhere, now: Duration) -> bool {
        let has_moved = self.follow_moved(decision, elsewhere);
        let unclaimed = self.named.iter().filter(|(key, _)| !self.claims.contains_key(*key));
        let listed = unclaimed.filter_map(|((resource, id), who)| Some((decision.listed(resource, id)?, who.clone())));
        let listed: Vec<_> = listed.map(|(listed, who)| (listed.unit.clone(), who)).collect();
        let is_any = !listed.is_empty();
        for (unit, who) in listed {
            let modes = if self.locks.is_some() { unit.modes() } else { BTreeMap::new() };
            for lock in &modes {
                self.hold_or_await(lock, &unit, &who, elsewhere);
            }
            self.add(&unit, Claim::of(&unit, Some(who), now, modes.into_keys().collect()));
        }
        is_any || has_moved
    }

    /// Locks what claimed devices are now, beside what they were when they were given. Answers whether one has moved.
    fn follow_moved(&mut self, decision: &Decision, elsewhere: &Elsewhere) -> bool {
        if self.locks.is_none() {
            return false;
        }
        let moved = self.claims.iter().filter_map(|(key, claim)| {
            let unit = &decision.listed(&key.0, &key.1)?.unit;
            let is_same = unit.holds().eq(claim.seen.holds());
            (!is_same).then(|| (key.clone(), unit.clone(), claim.who.clone()))
        });
        let moved: Vec<_> = moved.collect();
        for (key, unit, who) in &moved {
            let Some(claim) = self.claims.get_mut(key) else { continue };
            let now = unit.modes();
            let locks: BTreeSet<String> = now.keys().cloned().chain(claim.unit.locks()).collect();
            claim.seen = unit.clone();
            let before = std::mem::replace(&mut claim.locks, locks.iter().cloned().collect());
            for lock in now.iter().filter(|(name, _)| !before.contains(name)) {
                self.hold_or_await(lock, unit, who.as_deref().unwrap_or(A_POD), elsewhere);
            }
            for name in before.iter().filter(|name| !locks.contains(*name)) {
                self.release(name);
            }
        }
        if !moved.is_empty() {
            self.note_former();
        }
        !moved.is_empty()
    }

    /// Notes what is locked of former numbers.
    fn note_former(&mut self) {
        let mut former = BTreeMap::new();
        for (key, claim) in self.claims.iter().filter(|(_, claim)| !claim.unit.holds().eq(claim.seen.holds())) {
            let now: BTreeSet<String> = claim.seen.locks().collect();
            let who = self.who(key).unwrap_or_else(|| A_POD.to_owned());
            former.extend(claim.unit.exclusive().filter(|name| !now.contains(name)).map(|name| (name, who.clone())));
        }
        self.news.former = Some(former.clone());
        self.former = former;
    }

    /// Tries for the locks that others had and that are free, as far as is known.
    pub fn retry(&mut self, elsewhere: &Elsewhere) {
        if !self.awaits() {
            return;
        }
        let awaited = |name: &&String| self.awaited.contains(*name);
        let of_claim = |claim: &Claim| {
            let names = claim.locks.iter().filter(awaited).filter(|name| !elsewhere.contains_key(*name));
            names.map(|name| (name.clone(), claim.seen.clone(), claim.who.clone())).collect::<Vec<_>>()
        };
        let free: Vec<_> = self.claims.values().flat_map(of_claim).collect();
        for (name, unit, who) in free {
            let lock = self.lock(&name, &unit, who.as_deref().unwrap_or(A_POD)).ok();
            if let Some(held) = self.held.get_mut(&name).filter(|_| lock.is_some()) {
                held.lock = lock;
                self.awaited.remove(&name);
                self.news.locks.insert(name, Some(true));
            }
        }
    }

    /// Whether some lock is still waited for.
    pub fn awaits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether anything is held.
    pub fn has_claims(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Whether the kubelet has yet to name somebody.
    pub fn has_unnamed(&self) -> bool {
        self.claims.values().any(|claim| claim.who.is_none())
    }

    /// How many units of a resource are held.
    pub fn count(&self, resource: &str) -> usize {
        self.counts.get(resource).copied().unwrap_or_default()
    }

    /// All that the kubelet named last.
    pub fn named(&self) -> &Holders {
        &self.named
    }

    /// What has changed since [`Ledger::take_news`].
    pub fn news(&self) -> &News {
        &self.news
    }

    /// What has changed since the last time.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    fn add(&mut self, unit: &Unit, claim: Claim) {
        let key = key(unit);
        *self.counts.entry(Arc::clone(&unit.body.resource)).or_default() += 1;
        self.claims.insert(key.clone(), claim);
        self.news.claims.insert(key.clone(), self.who(&key));
    }

    /// Notes the end of a claim that is no longer among the claims.
    fn ended(&mut self, key: &Key, claim: &Claim) {
        if let Some(count) = self.counts.get_mut(&claim.unit.body.resource) {
            *count -= 1;
        }
        for name in &claim.locks {
            self.release(name);
        }
        if claim.locks.iter().any(|name| self.former.contains_key(name)) {
            self.note_former();
        }
        self.news.claims.insert(key.clone(), self.who(key));
    }

    /// Who has a unit.
    fn who(&self, key: &Key) -> Option<String> {
        let given = self.claims.get(key).map(|claim| claim.who.clone());
        given.map(|who| who.unwrap_or_else(|| "a pod".to_owned())).or_else(|| self.named.get(key).cloned())
    }

    /// All locks of a unit, or none.
    fn lock_all(&mut self, unit: &Unit, rules: &Rules) -> Result<Vec<String>, Taken> {
        let (mut locks, mut is_new) = (Vec::new(), false);
        if self.locks.is_none() {
            return Ok(locks);
        }
        for (name, mode) in unit.modes() {
            let is_so = |held: &Held| held.lock.is_some() && held.mode == mode;
            is_new |= mode != Mode::Alone && !self.held.get(&name).is_some_and(is_so);
            // One of several that share a device has its lock: that it may share is decided before.
            let lock = match self.held.get(&name) {
                Some(Held { lock: Some(_), .. }) => self.join((&name, mode), unit, rules).map(|()| None),
                _ => match self.lock(&name, unit, A_POD) {
                    Err(Taken::Elsewhere(holder)) if self.is_same(&holder, unit) => {
                        self.join((&name, mode), unit, rules).map(|()| None)
                    }
                    lock => lock.map(Some),
                },
            };
            match lock {
                Ok(lock) => {
                    self.hold((&name, mode), lock);
                    locks.push(name);
                }
                Err(taken) => return Err(self.without(&locks, taken)),
            }
        }
        // Whoever came to what we share already has seen that, and has let it go.
        let is_own = |name: &str| self.held.contains_key(name);
        match self.locks.as_ref().filter(|_| is_new).and_then(|locks| opponent(locks, unit, &self.roots, is_own)) {
            Some(holder) => Err(self.without(&locks, Taken::Elsewhere(holder))),
            None => Ok(locks),
        }
    }

    /// Whether an older instance holds it for a claim that we know: it gave this to a pod that has ended, and does not know that
    /// yet, as the kubelet does; or one that shares the device has it from that instance.
    fn is_same(&self, holder: &LockHolder, unit: &Unit) -> bool {
        pods_claim(holder).is_some_and(|claim| claim == key(unit) || self.claims.contains_key(&claim))
    }

    /// Lets go of locks that were for nothing.
    fn without(&mut self, locks: &[String], taken: Taken) -> Taken {
        for name in locks {
            self.release(name);
        }
        taken
    }

    /// Whether a unit may have a lock too that a claim of ours has. That of another device is in its way, whether that is gone or
    /// has another number now: its pod may still open what has the old one.
    fn join(&self, (name, mode): (&str, Mode), unit: &Unit, rules: &Rules) -> Result<(), Taken> {
        if self.held.get(name).is_none_or(|held| held.mode.goes_with(mode)) {
            return Ok(());
        }
        let of_it = |unit: &Unit| -> BTreeSet<String> { unit.parts_of(name).map(|part| part.hold.device()).collect() };
        let devices = of_it(unit);
        let is_in_the_way = |claim: &&Claim| {
            claim.locks.iter().any(|lock| lock == name)
                && [&claim.unit, &claim.seen].into_iter().all(|had| of_it(had).is_disjoint(&devices))
                && !may_overlap(rules, &claim.unit.body, &unit.body)
        };
        match self.claims.values().find(is_in_the_way) {
            Some(claim) => {
                let text = claim.who.clone().unwrap_or_else(|| A_POD.to_owned());
                Err(Taken::Elsewhere(LockHolder { text, ..LockHolder::default() }))
            }
            None => Ok(()),
        }
    }

    /// One more claim has this lock, or waits for it where somebody else has it.
    fn hold_or_await(&mut self, (name, mode): (&String, &Mode), unit: &Unit, who: &str, elsewhere: &Elsewhere) {
        let is_free = !self.held.contains_key(name) && !elsewhere.contains_key(name);
        let lock = if is_free { self.lock(name, unit, who).ok() } else { None };
        self.hold((name, *mode), lock);
    }

    /// One more claim has this lock.
    fn hold(&mut self, (name, mode): (&str, Mode), lock: Option<MachineLock>) {
        if let Some(held) = self.held.get_mut(name) {
            held.claims += 1;
            if lock.is_some() {
                held.lock = lock;
                self.awaited.remove(name);
                self.news.locks.insert(name.to_owned(), Some(true));
            }
            return;
        }
        if lock.is_none() {
            self.awaited.insert(name.to_owned());
        }
        self.news.locks.insert(name.to_owned(), Some(lock.is_some()));
        self.held.insert(name.to_owned(), Held { lock, claims: 1, mode });
    }

    /// One claim less has it.
    fn release(&mut self, name: &str) {
        let Some(held) = self.held.get_mut(name) else { return };
        held.claims -= 1;
        if held.claims == 0 {
            let lock = self.held.remove(name).and_then(|held| held.lock);
            if let Some((locks, lock)) = self.locks.as_ref().zip(lock) {
                locks.give_back(KIND, name, lock);
            }
            self.awaited.remove(name);
            self.news.locks.insert(name.to_owned(), None);
        }
    }

    fn lock(&self, name: &str, unit: &Unit, who: &str) -> Result<MachineLock, Taken> {
        let Some(locks) = &self.locks else { return Err(Taken::Elsewhere(LockHolder::default())) };
        match try_lock(locks, name, unit, (Door::Kubelet, who), &self.roots) {
            Ok(Attempt::Locked(lock)) => Ok(lock),
            Ok(Attempt::Held(holder)) => Err(Taken::Elsewhere(holder)),
            Err(error) => Err(Taken::Unknown(error)),
        }
    }
}

/// Whoever has something and has not been named.
const A_POD: &str = "a pod of this node";

fn key(unit: &Unit) -> Key {
    (unit.body.resource.to_string(), unit.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubelet that tells nothing any more may stay so for weeks, and what it told last is heard at each audit.
    #[test]
    fn an_answer_that_is_heard_again_takes_no_more_memory() {
        let mut ledger = Ledger::new(None, Roots { root: PathBuf::from("/nothing"), mountinfo: None });
        let pods = Pods::default();
        for asked in [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(15)] {
            for _ in 0..100 {
                ledger.told(&pods, asked);
            }
        }
        assert_eq!(ledger.listed.len(), 2);
    }
}
