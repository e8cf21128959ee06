//! Looks at the machine and decides, on another thread than the one that answers the kubelet: with thousands of devices both
//! take longer than an answer may.
//!
//! ```text
//!         ┌─── news of claims ───► look ─────┐
//!   owner ┼─── news of claims ───► decide ───┼──► owner
//!         └─── accepted ─────────► report ───┘
//! ```
//!
//! The clerk knows the claims by the news that it is sent out with; what is given away while it is out, it learns at the next
//! errand. Whether a verdict still holds is therefore for the owner to say, when it comes back.
//!
//! What it does not do: it changes nothing that others see. A verdict that is not accepted leaves no trace.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outrigger_device_core::decide::{Change, Claims, Decision, State};
use outrigger_device_core::picture::Picture;
use outrigger_host::{LockHolder, Locks};

use super::desk::Decided;
use super::ledger::{Elsewhere, News};
use super::metrics::Metrics;
use super::offers::{self, Lists};
use super::report;
use crate::claims::Holders;
use crate::inventory::Inventory;
use crate::locks::{KIND, Ordinary, pods_claim, standing, units, who};
use crate::survey::Followed;

/// All that looking and deciding needs.
#[derive(Debug)]
pub struct Clerk {
    inventory: Arc<Inventory>,
    locks: Option<Locks>,
    picture: Picture,
    /// What this node's pods have; who has the others' locks is filled in for each decision.
    claims: Claims,
    /// The locks that are our claims': whether this process has them, or waits for them.
    ours: BTreeMap<String, bool>,
    /// What pods of ours have that had another number when it was given: locks of that, and who.
    former: BTreeMap<String, String>,
    /// Those that others had at the last look.
    elsewhere: Elsewhere,
    /// Those that an agent has left which had given something to a pod.
    left: BTreeMap<String, LockHolder>,
    /// Those of them of which no pod was told at the last audit.
    doomed: BTreeSet<String>,
    /// Whether the kubelet has told who has what.
    is_told: bool,
    /// Of the others' locks those that only ordinary users have; none where that could not be told, and is asked again.
    ordinary: Option<Ordinary>,
    /// Who had the others' locks at the last decision.
    seen: (Holders, BTreeMap<String, String>),
    /// Which of them only ordinary users had.
    seen_ordinary: Ordinary,
    /// The last decision that was accepted.
    decision: Option<Arc<Decision>>,
    lists: Lists,
}

/// What came of a decision.
#[derive(Debug)]
pub struct Verdict {
    /// The decision.
    pub decided: Decided,
    /// What each resource offers by it.
    pub lists: Lists,
    /// What it changes, to be told once: the decision itself holds no changes.
    pub changes: Vec<Change>,
}

/// What the clerk comes back with.
#[derive(Debug)]
pub enum Done {
    /// The machine has been looked at.
    Looked {
        /// Where changes of what was looked at show.
        followed: Followed,
        /// Who else has locks, where that was looked at too.
        elsewhere: Option<Elsewhere>,
    },
    /// The locks have been looked at.
    LocksSeen {
        /// Whether others have other locks than at the last decision.
        changed: bool,
        /// Who else has locks.
        elsewhere: Elsewhere,
    },
    /// There is a decision.
    Decided(Verdict),
    /// It has been done, and there is nothing to say of it.
    Nothing,
}

impl Clerk {
    /// For an inventory, without having looked.
    pub fn new(inventory: Arc<Inventory>, locks: Option<Locks>) -> Self {
        let (picture, claims, ours, former, elsewhere, left, doomed, is_told) = Default::default();
        let (ordinary, seen, seen_ordinary, decision, lists) = Default::default();
        Self {
            inventory,
            locks,
            picture,
            claims,
            ours,
            former,
            elsewhere,
            left,
            doomed,
            is_told,
            ordinary,
            seen,
            seen_ordinary,
            decision,
            lists,
        }
    }

    /// Who else had locks at the last look.
    pub fn elsewhere(&self) -> Elsewhere {
        Arc::clone(&self.elsewhere)
    }

    /// Looks and decides by other rules from now on.
    pub fn go_by(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory;
    }

    /// Takes over what has become of claims and locks.
    pub fn learn(&mut self, news: News) {
        for (key, who) in news.claims {
            match who {
                Some(who) => drop(self.claims.held.insert(key, who)),
                None => drop(self.claims.held.remove(&key)),
            }
        }
        for (name, is_had) in news.locks {
            match is_had {
                Some(is_had) => drop(self.ours.insert(name, is_had)),
                None => drop(self.ours.remove(&name)),
            }
        }
        self.is_told |= news.is_told;
        self.former = news.former.unwrap_or_else(|| std::mem::take(&mut self.former));
    }

    /// Looks at the machine, and perhaps at the locks too.
    pub fn look(&mut self, with_locks: bool) -> Done {
        self.picture = self.inventory.picture();
        let elsewhere = with_locks.then(|| {
            self.look_at_locks();
            Arc::clone(&self.elsewhere)
        });
        Done::Looked { followed: Followed::of(&self.inventory), elsewhere }
    }

    /// Looks at the locks alone.
    pub fn look_at_locks(&mut self) -> Done {
        let is_had = |name: &str| self.ours.get(name).copied().unwrap_or(false);
        let holders = self.locks.as_ref().map(|locks| locks.holders(KIND, is_had)).unwrap_or_default();
        if holders != *self.elsewhere || self.ordinary.is_none() {
            let names: Vec<&String> = holders.keys().filter(|name| !self.ours.contains_key(*name)).collect();
            let of = |locks| Ordinary::among(locks, names.into_iter());
            self.ordinary = self.locks.as_ref().map_or_else(|| Some(Ordinary::default()), of);
            self.elsewhere = Arc::new(holders);
        }
        let is_ours = |name: &str| self.ours.contains_key(name);
        self.left = self.locks.as_ref().map(|locks| locks.left(KIND, is_ours)).unwrap_or_default();
        let is_told = self.ordinary.as_ref().is_some_and(|ordinary| *ordinary != self.seen_ordinary);
        Done::LocksSeen { changed: is_told || self.seen != self.others(), elsewhere: Arc::clone(&self.elsewhere) }
    }

    /// Removes what an agent has left for pods that have given it back; at each audit, for a pod that has just got something may
    /// not be told of yet.
    pub fn sweep(&mut self) {
        let Some(locks) = self.locks.as_ref().filter(|_| self.is_told) else { return };
        let is_had = |holder: &LockHolder| pods_claim(holder).is_some_and(|key| self.claims.held.contains_key(&key));
        let over = self.left().filter(|(_, holder)| !is_had(holder));
        let over: BTreeSet<String> = over.map(|(name, _)| name.clone()).collect();
        for name in over.intersection(&self.doomed) {
            locks.forget(KIND, name);
        }
        self.doomed = over;
    }

    /// Decides by the last look and the claims that it knows of.
    pub fn decide(&mut self, now: Duration) -> Verdict {
        self.seen = self.others();
        self.seen_ordinary = self.ordinary.clone().unwrap_or_default();
        self.claims.elsewhere.clone_from(&self.seen.1);
        let none = State::default();
        let previous = self.decision.as_ref().map_or(&none, |decision| &decision.next);
        let decide = |claims: &Claims| self.inventory.decide(&self.picture, claims, previous, now);
        let left: BTreeMap<_, _> = self.left().map(|(name, holder)| (name.clone(), holder.clone())).collect();
        if !self.seen_ordinary.is_empty() || !left.is_empty() {
            // What a lock is for is known of what is listed: of all, where nobody else has any.
            let free = decide(&Claims { elsewhere: BTreeMap::new(), ..self.all_claims().into_owned() });
            let powerless = self.seen_ordinary.powerless(units(&free), &self.inventory.survey.roots);
            self.claims.elsewhere.retain(|name, _| !powerless.contains(name));
            let standing = standing(left, &free, Some(&self.all_claims().held));
            self.claims.elsewhere.extend(standing.into_iter().map(|(name, holder)| (name, who(&holder))));
        }
        self.claims.elsewhere.extend(self.former.clone());
        let mut decision = decide(&self.all_claims());
        let (changes, lists) = (std::mem::take(&mut decision.changes), offers::lists(&decision, &self.lists));
        let decided = Decided { inventory: Arc::clone(&self.inventory), decision: Arc::new(decision) };
        Verdict { decided, lists, changes }
    }

    /// Goes on from a decision, and tells people of it.
    pub fn accept(
        &mut self,
        decision: Arc<Decision>,
        (lists, changes): (Lists, Vec<Change>),
        metrics: &Metrics,
    ) -> Done {
        report::changes(&decision, &changes, metrics);
        report::known(&decision, metrics);
        self.decision = Some(decision);
        self.lists = lists;
        Done::Nothing
    }

    /// Who else has locks, in words. An older instance may hold some that we wait for. What another instance gave to a pod
    /// of this node is a claim like our own, though the kubelet has not told us of it yet.
    fn others(&self) -> (Holders, BTreeMap<String, String>) {
        let (mut by_another, mut elsewhere) = (Holders::new(), BTreeMap::new());
        for (name, holder) in self.elsewhere.iter().filter(|(name, _)| !self.ours.contains_key(*name)) {
            match pods_claim(holder) {
                Some(key) => drop(by_another.insert(key, who(holder))),
                None => drop(elsewhere.insert(name.clone(), who(holder))),
            }
        }
        if !self.is_told {
            by_another.extend(self.left().filter_map(|(_, holder)| Some((pods_claim(holder)?, who(holder)))));
        }
        (by_another, elsewhere)
    }

    /// What an agent has left and we have not taken over.
    fn left(&self) -> impl Iterator<Item = (&String, &LockHolder)> {
        self.left.iter().filter(|(name, _)| !self.ours.contains_key(*name))
    }

    /// The claims that a decision is by.
    fn all_claims(&self) -> Cow<'_, Claims> {
        let (by_another, _) = &self.seen;
        if by_another.is_empty() {
            return Cow::Borrowed(&self.claims);
        }
        let mut claims = self.claims.clone();
        for (key, who) in by_another {
            claims.held.entry(key.clone()).or_insert_with(|| who.clone());
        }
        Cow::Owned(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use outrigger_device_core::rules::Rules;
    use outrigger_host::devices::Roots;

    use super::*;
    use crate::survey::Survey;

    /// Tried where who is asked only when other locks are held than before: it counts for as long as it is held.
    #[test]
    fn whose_a_lock_is_is_asked_again_where_it_could_not_be_told() {
        let place = tempfile::tempdir().unwrap();
        let locks = Locks::at(place.path().join("lock"));
        drop(locks.try_lock(KIND, "char-1:3", "").unwrap());
        for (directory, mode) in [("", 0o755), ("lock", 0o1777), ("lock/devices", 0o1777)] {
            fs::set_permissions(place.path().join(directory), Permissions::from_mode(mode)).unwrap();
        }
        if locks.users(KIND, ["char-1:3"]).is_none() || !rustix::process::geteuid().is_root() {
            return; // Who may not look into others' processes can never tell.
        }
        let mut holder = Command::new("flock");
        // It ends with its stdin, so at the latest with this process.
        holder.arg("--no-fork").arg(locks.directory().join(KIND).join("char-1:3")).arg("cat").stdin(Stdio::piped());
        let mut holder = holder.uid(65534).gid(65534).current_dir("/").spawn().unwrap();
        while locks.holders(KIND, |_| false).is_empty() {
            std::thread::yield_now();
        }
        let root = place.path().to_owned();
        let inventory =
            Inventory { rules: Rules::default(), survey: Survey { roots: Roots { root, mountinfo: None } } };
        let mut clerk = Clerk::new(Arc::new(inventory), Some(locks));
        clerk.look(true);
        clerk.ordinary = None; // As where a process could not be looked into.
        clerk.decide(Duration::ZERO);
        let is_news = |clerk: &mut Clerk| matches!(clerk.look_at_locks(), Done::LocksSeen { changed: true, .. });
        // Not with every look: some process may just have more rights than this one, as those that are being started by the first.
        let until = Instant::now() + Duration::from_secs(20);
        while !is_news(&mut clerk) {
            assert!(Instant::now() < until, "it is not told");
        }
        clerk.decide(Duration::ZERO);
        assert!(!clerk.seen_ordinary.is_empty());
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}
