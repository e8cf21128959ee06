//! The decision: what each resource offers, and for every device seen why or why not.
//!
//! ```text
//!            rule matches                      a check fails often enough
//!   unseen ───────────────► offered ◄────────────────────────────────────► unhealthy
//!     ▲                      ▲    │ gone             well for long enough
//!     │ grace over,          │    ▼
//!     └──── no claim ──── vanished (listed as unhealthy)
//!                            withheld: matched, but in use or not to be told apart; not listed
//! ```
//!
//! It is a function of its input alone. A device that a pod holds stays listed whatever is done with it, for the pod may
//! well mount it; a device that vanishes while it is held stays listed until it is given back.

mod candidates;
mod contest;
mod life;
mod list;
mod orphans;
mod reason;
mod regrouped;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::Kind;
use crate::picture::Picture;
use crate::rules::Rules;
use crate::unit::Unit;

pub(crate) use candidates::block_against;
pub use candidates::{View, in_use};
pub use contest::may_overlap;
pub use life::State;
use life::Trouble;
pub use list::wire_size;
pub use reason::{Reason, why};

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'i> {
    /// The configuration, without faults.
    pub rules: &'i Rules,
    /// The host as it is now.
    pub picture: &'i Picture,
    /// Who has what.
    pub claims: &'i Claims,
    /// What the last decision left.
    pub previous: &'i State,
    /// Since any fixed moment of a clock that never jumps.
    pub now: Duration,
}

/// Who has what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Units that pods of this door have: from `Allocate` until they are given back. By resource and id; the value is who.
    pub held: BTreeMap<(String, String), String>,
    /// Locks that others have, by name (see [`Unit::locks`]); the value is who.
    pub elsewhere: BTreeMap<String, String>,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// One list for each resource, in the order of the rules; a resource of each match has its own.
    pub lists: Vec<List>,
    /// Every device seen, also those that no rule matches.
    pub findings: Vec<Finding>,
    /// To be given to the next decision.
    pub next: State,
    /// When to decide again though nothing has changed: a grace ends, or something is well for long enough.
    pub again: Option<Duration>,
    /// Evidence that was not there to decide by: `mounts`, `swaps`, ….
    pub missing: BTreeSet<&'static str>,
    /// What has changed since the last decision, to be logged and counted.
    pub changes: Vec<Change>,
}

/// The list of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The resource's full name.
    pub resource: Arc<str>,
    /// Which of the rules' resources it is from.
    pub rule: usize,
    /// What the kubelet is told, sorted by id. The next decision goes on from the same.
    pub listed: Arc<Vec<Listed>>,
}

/// One unit in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is; for one that is gone, what it was.
    pub unit: Unit,
    /// How it is.
    pub status: Status,
    /// Why it is not offered; empty if it is.
    pub reasons: Vec<Reason>,
    /// Since when it is so.
    pub since: Duration,
    /// What is remembered of one with which something was wrong lately; none of any other.
    trouble: Option<Box<Trouble>>,
}

impl Decision {
    /// A unit that is listed.
    pub fn listed(&self, resource: &str, id: &str) -> Option<&Listed> {
        self.lists.iter().find(|list| &*list.resource == resource)?.unit(id)
    }
}

impl List {
    /// A unit of it.
    pub fn unit(&self, id: &str) -> Option<&Listed> {
        life::of_id(&self.listed, id)
    }
}

impl Listed {
    /// Whether the kubelet is told that it is healthy.
    pub fn is_healthy(&self) -> bool {
        self.status == Status::Offered
    }
}

/// How a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Listed as healthy.
    Offered,
    /// Listed as unhealthy.
    Unhealthy,
    /// Gone, and listed as unhealthy until its grace ends and its claim.
    Vanished,
    /// Matched, but not listed.
    Withheld,
    /// No rule matches it.
    Unmatched,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Unhealthy => "unhealthy",
            Self::Vanished => "vanished",
            Self::Withheld => "withheld",
            Self::Unmatched => "unmatched",
        }
    }
}

/// One device that was seen, or one that is gone and still listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: Kind,
    /// `sdb`, `1-2.3`, `ttyUSB0`, `/dev/fuse`, or a slot's value; several for a unit of several.
    pub name: String,
    /// Its first node on the host.
    pub node: Option<String>,
    /// The resource that matches it.
    pub resource: Option<Arc<str>>,
    /// Its ids in that resource's list, more than one where several may hold it.
    pub ids: Vec<Arc<str>>,
    /// How it is.
    pub status: Status,
    /// Why it is not offered.
    pub reasons: Vec<Reason>,
    /// Its NUMA nodes.
    pub numa: Vec<u32>,
    /// Since when, for one that is listed.
    pub since: Option<Duration>,
}

impl Finding {
    /// Who else has it, where that is why it is not offered.
    pub fn elsewhere(&self) -> Option<&str> {
        self.reasons.iter().find_map(|reason| match reason {
            Reason::Elsewhere(who) => Some(who.as_str()),
            _ => None,
        })
    }
}

/// A unit whose status is another one than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is, or was.
    pub unit: Unit,
    /// How it was; none where it is new.
    pub from: Option<Status>,
    /// How it is; none where it has left the list for good.
    pub to: Option<Status>,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Decides.
pub fn decide(input: Input<'_>) -> Decision {
    let seen = candidates::all(&input);
    let contested = contest::settle(&input, seen);
    list::make(&input, contested)
}
