//! The life of one listed unit: when it is unhealthy, when it is well again, when it may be forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::candidates::Identities;
use super::{Reason, Status};
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
    /// By resource and id.
    pub(super) lives: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Life>>,
    pub(super) identities: Identities,
}

/// What is remembered of a listed unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) unit: Unit,
    pub(super) status: Status,
    pub(super) reasons: Vec<Reason>,
    pub(super) since: Duration,
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
    pub(super) fn life(&self, resource: &str, id: &str) -> Option<&Life> {
        self.lives.get(resource)?.get(id)
    }

    /// Whether the device of this name had the id.
    pub(super) fn has(&self, resource: &str, id: &str, name: &str) -> bool {
        let parts = self.life(resource, id).map(|life| &life.unit.body.parts);
        parts.and_then(|parts| parts.first()).is_some_and(|part| part.name == name)
    }
}

impl Life {
    /// Of one that is seen for the first time.
    pub(super) fn new(unit: Unit, look: Look<'_>, now: Duration) -> Self {
        let (failed, counted, good_since, falls) = (0, None, None, Vec::new());
        let (status, reasons) = match look {
            Look::Broken(reasons) | Look::Failing(reasons) => (Status::Unhealthy, reasons.to_vec()),
            Look::Well | Look::Gone => (Status::Offered, Vec::new()),
        };
        Self { unit, status, reasons, since: now, failed, counted, good_since, falls }
    }

    /// Goes on with what it looks like now.
    pub(super) fn step(mut self, look: Look<'_>, policy: &HealthPolicy, now: Duration) -> Self {
        self.falls.retain(|fall| now < *fall + FLAP_WINDOW);
        if !matches!(look, Look::Well) {
            self.good_since = None;
        }
        match look {
            Look::Gone => self.turn(Status::Vanished, &[Reason::Vanished], now),
            Look::Broken(reasons) => self.turn(Status::Unhealthy, reasons, now),
            Look::Failing(reasons) => {
                if self.counted.is_none_or(|counted| now >= counted + BETWEEN_CHECKS) {
                    self.failed += 1;
                    self.counted = Some(now);
                }
                if self.status != Status::Offered || self.failed >= policy.unhealthy_after {
                    self.turn(Status::Unhealthy, reasons, now);
                }
            }
            Look::Well => {
                (self.failed, self.counted) = (0, None);
                if self.status != Status::Offered {
                    self.recover(policy, now);
                }
            }
        }
        self
    }

    fn recover(&mut self, policy: &HealthPolicy, now: Duration) {
        let good_since = *self.good_since.get_or_insert(now);
        if self.is_flapping() {
            self.turn(Status::Unhealthy, &[Reason::Flapping], now);
        } else if now < good_since + policy.healthy_after {
            self.turn(Status::Unhealthy, &[Reason::Recovering], now);
        } else {
            self.good_since = None;
            self.turn(Status::Offered, &[], now);
        }
    }

    fn turn(&mut self, status: Status, reasons: &[Reason], now: Duration) {
        if self.status == Status::Offered && status != Status::Offered {
            self.falls.push(now);
        }
        if self.status != status {
            self.since = now;
        }
        self.status = status;
        self.reasons = reasons.to_vec();
    }

    fn is_flapping(&self) -> bool {
        self.falls.len() > FLAPS
    }

    /// Whether one that is gone may be forgotten, if nobody holds it.
    pub(super) fn is_over(&self, policy: &HealthPolicy, now: Duration) -> bool {
        self.status == Status::Vanished && now >= self.since + policy.vanish_grace
    }

    /// When it changes though nothing happens.
    pub(super) fn next(&self, policy: &HealthPolicy, is_claimed: bool) -> Option<Duration> {
        let well = self.good_since.map(|good| {
            let calm = self.falls.first().filter(|_| self.is_flapping()).map(|fall| *fall + FLAP_WINDOW);
            calm.map_or(good + policy.healthy_after, |calm| calm.max(good + policy.healthy_after))
        });
        let forgotten = (self.status == Status::Vanished && !is_claimed).then(|| self.since + policy.vanish_grace);
        let failing = self.counted.filter(|_| self.status == Status::Offered).map(|counted| counted + BETWEEN_CHECKS);
        [well, forgotten, failing].into_iter().flatten().min()
    }
}
