//! The life of one listed unit: when it is unhealthy, when it is well again, when it may be forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::candidates::Identities;
use super::{Listed, Reason, Status};
use crate::rules::HealthPolicy;
use crate::unit::Unit;

/// Failed checks count once in so long, for one event brings several looks.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);

/// More often than this within [`FLAP_WINDOW`] is flapping.
const FLAPS: usize = 5;

/// In which flaps are counted, and for how long a flapping device stays unhealthy.
const FLAP_WINDOW: Duration = Duration::from_secs(600);

/// What one decision leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What each resource lists.
    pub(super) lists: BTreeMap<Arc<str>, Arc<Vec<Listed>>>,
    pub(super) identities: Identities,
}

/// What is remembered of a listed unit that was not always well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Failed checks in a row, and when the last one was counted.
    failed: u32,
    counted: Option<Duration>,
    /// Since when nothing is wrong with it.
    good_since: Option<Duration>,
    /// When it ceased to be offered, lately.
    falls: Vec<Duration>,
}

/// How a unit looks now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look<'l> {
    /// Nothing is wrong.
    Well,
    /// Unhealthy at once.
    Broken(&'l [Reason]),
    /// A check has failed.
    Failing(&'l [Reason]),
    /// It is not there.
    Gone,
}

impl State {
    pub(super) fn listed(&self, resource: &str, id: &str) -> Option<&Listed> {
        of_id(self.lists.get(resource)?, id)
    }

    /// Whether the device of this name had the id.
    pub(super) fn has(&self, resource: &str, id: &str, name: &str) -> bool {
        let parts = self.listed(resource, id).map(|listed| &listed.unit.body.parts);
        parts.and_then(|parts| parts.first()).is_some_and(|part| part.name == name)
    }
}

/// The unit with this id of those that are sorted by theirs.
pub(super) fn of_id<'l>(listed: &'l [Listed], id: &str) -> Option<&'l Listed> {
    let place = listed.binary_search_by(|listed| (*listed.unit.id).cmp(id)).ok()?;
    listed.get(place)
}

impl Listed {
    /// Of one that is seen for the first time.
    pub(super) fn new(unit: Unit, look: Look<'_>, now: Duration) -> Self {
        let (status, reasons) = match look {
            Look::Broken(reasons) | Look::Failing(reasons) => (Status::Unhealthy, reasons.to_vec()),
            Look::Well | Look::Gone => (Status::Offered, Vec::new()),
        };
        Self { unit, status, reasons, since: now, trouble: None }
    }

    /// Goes on with what it looks like now.
    pub(super) fn step(mut self, look: Look<'_>, policy: &HealthPolicy, now: Duration) -> Self {
        if self.trouble.is_none() && self.status == Status::Offered && matches!(look, Look::Well) {
            return self;
        }
        let mut trouble = self.trouble.take().unwrap_or_default();
        trouble.falls.retain(|fall| now < *fall + FLAP_WINDOW);
        if !matches!(look, Look::Well) {
            trouble.good_since = None;
        }
        match look {
            Look::Gone => self.turn(Status::Vanished, &[Reason::Vanished], now, &mut trouble),
            Look::Broken(reasons) => self.turn(Status::Unhealthy, reasons, now, &mut trouble),
            Look::Failing(reasons) => {
                if trouble.counted.is_none_or(|counted| now >= counted + BETWEEN_CHECKS) {
                    trouble.failed += 1;
                    trouble.counted = Some(now);
                }
                if self.status != Status::Offered || trouble.failed >= policy.unhealthy_after {
                    self.turn(Status::Unhealthy, reasons, now, &mut trouble);
                }
            }
            Look::Well => {
                (trouble.failed, trouble.counted) = (0, None);
                if self.status != Status::Offered {
                    self.recover(policy, now, &mut trouble);
                }
            }
        }
        self.trouble = (*trouble != Trouble::default()).then_some(trouble);
        self
    }

    fn recover(&mut self, policy: &HealthPolicy, now: Duration, trouble: &mut Trouble) {
        let good_since = *trouble.good_since.get_or_insert(now);
        if trouble.is_flapping() {
            self.turn(Status::Unhealthy, &[Reason::Flapping], now, trouble);
        } else if now < good_since + policy.healthy_after {
            self.turn(Status::Unhealthy, &[Reason::Recovering], now, trouble);
        } else {
            trouble.good_since = None;
            self.turn(Status::Offered, &[], now, trouble);
        }
    }

    fn turn(&mut self, status: Status, reasons: &[Reason], now: Duration, trouble: &mut Trouble) {
        if self.status == Status::Offered && status != Status::Offered {
            trouble.falls.push(now);
        }
        if self.status != status {
            self.since = now;
        }
        self.status = status;
        self.reasons = reasons.to_vec();
    }

    /// Whether one that is gone may be forgotten, if nobody holds it.
    pub(super) fn is_over(&self, policy: &HealthPolicy, now: Duration) -> bool {
        self.status == Status::Vanished && now >= self.since + policy.vanish_grace
    }

    /// When it changes though nothing happens.
    pub(super) fn next(&self, policy: &HealthPolicy, is_claimed: bool) -> Option<Duration> {
        let forgotten = (self.status == Status::Vanished && !is_claimed).then(|| self.since + policy.vanish_grace);
        let trouble = self.trouble.as_ref();
        let well = trouble.and_then(|trouble| {
            let good = trouble.good_since? + policy.healthy_after;
            let calm = trouble.falls.first().filter(|_| trouble.is_flapping()).map(|fall| *fall + FLAP_WINDOW);
            Some(calm.map_or(good, |calm| calm.max(good)))
        });
        let counted = trouble.and_then(|trouble| trouble.counted).filter(|_| self.status == Status::Offered);
        [well, forgotten, counted.map(|counted| counted + BETWEEN_CHECKS)].into_iter().flatten().min()
    }
}

impl Trouble {
    fn is_flapping(&self) -> bool {
        self.falls.len() > FLAPS
    }
}
