//! How long a container that fails again and again waits: 10 s, doubled up to 5 min, forgotten after 10 min.
//!
//! The rules are those of `client-go/util/flowcontrol/backoff.go` (`Next`, `IsInBackOffSince`, `IsInBackOffSinceUpdate`)
//! as the kubelet sets it up: `pkg/kubelet/kubelet.go` (`newCrashLoopBackOff`, `imageBackOffPeriod`, `MaxImageBackOff`;
//! the feature `ReduceDefaultCrashLoopBackOffDecay` is off in 1.36).

use std::time::Duration;

use jiff::Timestamp;

/// The times of all back-offs of one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// The first delay.
    pub first: Duration,
    /// The longest delay.
    pub most: Duration,
    /// After this long without a failure the next one counts as the first (`HasExpiredFunc` in `kubelet.go`: 600 s).
    pub forget: Duration,
    /// How long after a failed step a kubelet looks at the pod again (its relisting of containers, about 1 s).
    pub resync: Duration,
    /// How long it waits where it has no other rule (`backOffPeriod` in `kubelet.go`).
    pub retry: Duration,
}

impl Pace {
    /// The kubelet's times, multiplied by `scale` (at least a thousandth, so that nothing spins).
    pub fn scaled(scale: f64) -> Self {
        let scale = if scale.is_finite() { scale.clamp(0.001, 1000.0) } else { 1.0 };
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds * scale);
        Self {
            first: seconds(10.0),
            most: seconds(300.0),
            forget: seconds(600.0),
            resync: seconds(1.0),
            retry: seconds(10.0),
        }
    }
}

/// One key of the kubelet's back-off table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BackOff {
    /// The delay now in force, and when it was set; `None` before the first failure.
    pub entry: Option<(Duration, Timestamp)>,
}

impl BackOff {
    /// Until when a start waits, counted from `since`, the end of the last run (`IsInBackOffSince`).
    pub fn until_since(&self, since: Timestamp, now: Timestamp, pace: &Pace) -> Option<Timestamp> {
        let (delay, updated) = self.entry?;
        let until = after(since, delay);
        (elapsed(updated, since) <= pace.forget && now < until).then_some(until)
    }

    /// Until when a pull waits, counted from the last failed one (`IsInBackOffSinceUpdate`).
    pub fn until(&self, now: Timestamp, pace: &Pace) -> Option<Timestamp> {
        let (delay, updated) = self.entry?;
        let until = after(updated, delay);
        (elapsed(updated, now) <= pace.forget && now < until).then_some(until)
    }

    /// Sets the delay for the next failure (`Next`).
    pub fn grow(&mut self, event: Timestamp, now: Timestamp, pace: &Pace) {
        let delay = match self.entry {
            Some((delay, updated)) if elapsed(updated, event) <= pace.forget => (delay * 2).min(pace.most),
            _ => pace.first,
        };
        self.entry = Some((delay, now));
    }

    /// The delay now in force.
    pub fn delay(&self) -> Duration {
        self.entry.map_or(Duration::ZERO, |(delay, _)| delay)
    }
}

/// `time` and `span` later, at most the end of time.
pub(super) fn after(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// How long after `earlier` `later` is; zero where it is not later.
pub(super) fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let (pace, mut back_off, mut delays) = (Pace::scaled(1.0), BackOff::default(), Vec::new());
        for second in 0..7 {
            back_off.grow(at(second), at(second), &pace);
            delays.push(back_off.delay().as_secs());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_delay_counts_from_the_end_and_is_forgotten_after_ten_minutes() {
        let (pace, mut back_off) = (Pace::scaled(1.0), BackOff::default());
        assert_eq!(back_off.until_since(at(0), at(0), &pace), None);
        back_off.grow(at(0), at(5), &pace);
        assert_eq!(back_off.until_since(at(100), at(109), &pace), Some(at(110)));
        assert_eq!(back_off.until_since(at(100), at(110), &pace), None);
        assert_eq!(back_off.until_since(at(606), at(606), &pace), None);
        assert_eq!(back_off.until(at(14), &pace), Some(at(15)));
        back_off.grow(at(606), at(606), &pace);
        assert_eq!(back_off.delay().as_secs(), 10);
    }

    #[test]
    fn no_scale_lets_a_machine_spin() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::scaled(scale).resync >= Duration::from_millis(1));
        }
    }
}
