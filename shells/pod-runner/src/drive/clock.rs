//! The time that a runner tells its machine.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where the time comes from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    Wall,
    /// The runtime's clock from a beginning on, so that tests can pause it.
    Runtime {
        /// What the time was at `since`.
        origin: Timestamp,
        /// When that was.
        since: Instant,
    },
}

impl Clock {
    /// A clock that goes with the runtime's and begins at `origin`.
    pub fn runtime(origin: Timestamp) -> Self {
        Self::Runtime { origin, since: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Wall => Timestamp::now(),
            Self::Runtime { origin, since } => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
                origin.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The runtime's moment at which it will be `at`.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.duration_since(self.now()).unsigned_abs() * u32::from(at > self.now())
    }
}
