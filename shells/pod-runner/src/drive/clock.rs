//! The time that a runner tells its machine.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Shows the machine's time as it was once, and what has passed since: when the machine's clock is set, no deadline, no
/// back-off and no grace moves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Timestamp,
    since: Since,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    /// So long after the machine was started; time in which it sleeps counts.
    Start(Duration),
    /// A moment of the runtime, so that tests can pause it.
    Moment(Instant),
}

impl Default for Clock {
    fn default() -> Self {
        Self::steady(Timestamp::now())
    }
}

impl Clock {
    /// A clock that goes with the machine and shows `origin` now.
    pub fn steady(origin: Timestamp) -> Self {
        Self { origin, since: Since::Start(since_start()) }
    }

    /// A clock that goes with the runtime's and shows `origin` now.
    pub fn runtime(origin: Timestamp) -> Self {
        Self { origin, since: Since::Moment(Instant::now()) }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        let passed = match self.since {
            Since::Start(since) => since_start().saturating_sub(since),
            Since::Moment(since) => since.elapsed(),
        };
        self.origin.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// The runtime's moment at which it will be `at`.
    pub fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.duration_since(self.now()).unsigned_abs() * u32::from(at > self.now())
    }
}

/// The time since the machine was started, with that in which it slept.
fn since_start() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_machine_whose_clock_is_set_moves_no_deadline() {
        // As after the machine's clock was set by years: only what has passed counts.
        let begun: Timestamp = "2001-02-03T04:05:06Z".parse().unwrap();
        let clock = Clock::steady(begun);
        let (first, second) = (clock.now(), clock.now());
        assert!(begun <= first && first <= second);
        assert!(second.duration_since(begun) < SignedDuration::from_secs(60), "{second}");
        let due = clock.instant(begun + SignedDuration::from_secs(3600));
        let left = due.duration_since(Instant::now());
        assert!(left <= Duration::from_secs(3600) && left > Duration::from_secs(3500), "{left:?}");
    }
}
