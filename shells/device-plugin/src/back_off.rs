//! How long to wait before the next attempt: 1 ms, doubling to 5 s, each up to half as long again by chance, so that ten
//! resources do not knock in step.
//!
//! What it does not do: it does not wait.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LAST: Duration = Duration::from_secs(5);

/// The delays of one resource.
#[derive(Debug)]
pub(crate) struct BackOff {
    next: Duration,
    chance: RandomState,
    drawn: u64,
}

impl BackOff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST, chance: RandomState::new(), drawn: 0 }
    }

    /// The next delay, never longer than 5 s.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(LAST);
        self.drawn += 1;
        let part = u32::try_from(self.chance.hash_one(self.drawn) % 1000).unwrap_or(0);
        (delay + delay * part / 2000).min(LAST)
    }

    /// All is well, or something has changed: the next delay is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_1_ms_to_5_s_and_begin_anew() {
        let mut back_off = BackOff::new();
        let mut base = FIRST;
        for _ in 0..20 {
            let delay = back_off.next();
            assert!(delay >= base && delay <= (base * 3 / 2).min(LAST), "{delay:?} for {base:?}");
            base = (base * 2).min(LAST);
        }
        back_off.reset();
        assert!(back_off.next() < FIRST * 2);
    }
}
