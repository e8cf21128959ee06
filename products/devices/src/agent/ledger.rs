//! Who has which unit, and the machine-wide locks that this process holds for them.
//!
//! ```text
//!            Allocate                    the kubelet names a pod
//!   free ───────────────► given ─────────────────────────────────► held
//!     ▲                     │ not named for a while                  │ no longer named
//!     └─────────────────────┴────────────────────────────────────────┘
//! ```
//!
//! Where the kubelet does not tell who holds what, a claim stays until its id is given again: that the kubelet asks for it is
//! the proof that it was free. A lock that an older instance of this process holds is waited for, without refusing anything
//! to the pods that have the device.
//!
//! What it does not do: it has no clock and asks nobody; it locks, and that is all it touches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_device_core::decide::Claims;
use outrigger_device_core::unit::Unit;
use outrigger_host::{Attempt, LockError, LockHolder, Locks, MachineLock};

use crate::claims::Holders;
use crate::locks::{KIND, try_lock, who};

/// How long the kubelet may take from our answer until it names the pod that got it.
const UNNAMED: Duration = Duration::from_secs(30);

/// A resource and an id in it.
type Key = (String, String);

/// The claims of this node's pods.
#[derive(Debug)]
pub struct Ledger {
    locks: Option<Locks>,
    claims: BTreeMap<Key, Claim>,
    /// All that the kubelet named last, also what is not listed now: a pod's own use of a disk keeps it from being listed
    /// until its claim is known.
    named: Holders,
}

#[derive(Debug)]
struct Claim {
    /// Who, as far as the kubelet told.
    who: Option<String>,
    since: Duration,
    had: BTreeMap<String, MachineLock>,
    /// Locks that somebody else still has.
    awaited: Vec<String>,
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
    pub fn new(locks: Option<Locks>) -> Self {
        Self { locks, claims: BTreeMap::new(), named: Holders::new() }
    }

    /// Where the locks of devices are.
    pub fn directory(&self) -> Option<PathBuf> {
        self.locks.as_ref().map(|locks| locks.directory().join(KIND))
    }

    /// Takes a unit for a pod that the kubelet has not named yet: all of its locks or none.
    pub fn take(&mut self, unit: &Unit, now: Duration) -> Result<(), Taken> {
        let key = key(unit);
        let mut had = self.claims.remove(&key).map(|claim| claim.had).unwrap_or_default();
        let mut awaited = Vec::new();
        for name in unit.locks() {
            if had.contains_key(&name) {
                continue;
            }
            // An older instance has it for a claim of ours that shares the device.
            if self.claims.values().any(|claim| claim.awaited.contains(&name)) {
                awaited.push(name);
                continue;
            }
            match self.lock(&name, unit, "a pod of this node") {
                Ok(Some(lock)) => drop(had.insert(name, lock)),
                Ok(None) => (),
                Err(taken) => return Err(taken),
            }
        }
        self.claims.insert(key, Claim { who: None, since: now, had, awaited });
        Ok(())
    }

    /// Takes over what the kubelet tells: new claims are locked, those that it names no longer are given back. `units` are
    /// all that are listed.
    pub fn told<'u>(&mut self, holders: &Holders, units: impl Iterator<Item = &'u Unit>, now: Duration) {
        let named = |key: &Key, claim: &Claim| {
            holders.contains_key(key) || claim.who.is_none() && now.saturating_sub(claim.since) < UNNAMED
        };
        self.claims.retain(|key, claim| named(key, claim));
        self.named.clone_from(holders);
        for unit in units {
            let key = key(unit);
            let Some(who) = holders.get(&key) else { continue };
            let claim = self.claims.remove(&key).unwrap_or_else(|| Claim {
                who: None,
                since: now,
                had: BTreeMap::new(),
                awaited: unit.locks().collect(),
            });
            let claim = self.catch_up(Claim { who: Some(who.clone()), ..claim }, unit);
            self.claims.insert(key, claim);
        }
    }

    /// Tries for the locks that an older instance held, for the claims of these units.
    pub fn retry<'u>(&mut self, units: impl Iterator<Item = &'u Unit>) {
        for unit in units {
            let key = key(unit);
            if let Some(claim) = self.claims.remove(&key) {
                let claim = self.catch_up(claim, unit);
                self.claims.insert(key, claim);
            }
        }
    }

    /// Whether some lock is still waited for.
    pub fn awaits(&self) -> bool {
        self.claims.values().any(|claim| !claim.awaited.is_empty())
    }

    /// The claims as decisions take them.
    pub fn claims(&self) -> Claims {
        let who = |claim: &Claim| claim.who.clone().unwrap_or_else(|| "a pod".to_owned());
        let given = self.claims.iter().map(|(key, claim)| (key.clone(), who(claim)));
        let held = self.named.iter().map(|(key, who)| (key.clone(), who.clone())).chain(given).collect();
        Claims { held, elsewhere: self.elsewhere() }
    }

    /// Locks that others have, and not for claims of ours: an older instance may still hold some of these.
    fn elsewhere(&self) -> BTreeMap<String, String> {
        let holders = self.locks.as_ref().map(|locks| locks.holders(KIND)).unwrap_or_default();
        let is_ours = |name: &String| {
            self.claims.values().any(|claim| claim.had.contains_key(name) || claim.awaited.contains(name))
        };
        holders.into_iter().filter(|(name, _)| !is_ours(name)).map(|(name, holder)| (name, who(&holder))).collect()
    }

    /// How many units of a resource are held.
    pub fn count(&self, resource: &str) -> usize {
        self.claims.keys().filter(|(of, _)| of == resource).count()
    }

    fn catch_up(&self, mut claim: Claim, unit: &Unit) -> Claim {
        let who = claim.who.clone().unwrap_or_default();
        for name in std::mem::take(&mut claim.awaited) {
            match self.lock(&name, unit, &who) {
                Ok(Some(lock)) => drop(claim.had.insert(name, lock)),
                Ok(None) | Err(Taken::Unknown(_)) => (),
                Err(Taken::Elsewhere(_)) => claim.awaited.push(name),
            }
        }
        claim
    }

    fn lock(&self, name: &str, unit: &Unit, who: &str) -> Result<Option<MachineLock>, Taken> {
        let Some(locks) = &self.locks else { return Ok(None) };
        // Another resource that shares the device has given it away: whether it may is decided before.
        if let Some(lock) = self.claims.values().find_map(|claim| claim.had.get(name)) {
            return Ok(Some(lock.clone()));
        }
        match try_lock(locks, name, unit, who) {
            Ok(Attempt::Locked(lock)) => Ok(Some(lock)),
            Ok(Attempt::Held(holder)) => Err(Taken::Elsewhere(holder)),
            Err(error) => Err(Taken::Unknown(error)),
        }
    }
}

fn key(unit: &Unit) -> Key {
    (unit.body.resource.to_string(), unit.id.to_string())
}
