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
