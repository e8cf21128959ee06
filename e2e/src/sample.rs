//! Repeated measurements: their minimum, median and maximum, and the ratio of two rows of them.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Several durations of the same thing.
#[derive(Clone, Debug)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Sorts what was measured. Needs at least one value.
    pub fn new(mut values: Vec<Duration>) -> Option<Self> {
        values.sort();
        (!values.is_empty()).then_some(Self(values))
    }

    /// The value that 99 of 100 do not exceed; of fewer values than that the largest.
    pub fn p99(&self) -> Duration {
        self.0[(self.0.len() * 99).div_ceil(100) - 1]
    }

    /// The middle value.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |value: Duration| value.as_secs_f64() * 1e3;
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        write!(
            f,
            "median {:.2} ms (min {:.2}, p99 {:.2}, max {:.2}, {} runs)",
            millis(self.median()),
            millis(first),
            millis(self.p99()),
            millis(last),
            self.0.len()
        )
    }
}

/// How long one call takes.
pub fn time(act: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    act()?;
    Ok(begin.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        let sample = Sample::new([30, 10, 20].map(Duration::from_millis).to_vec()).unwrap();
        assert_eq!(sample.median(), Duration::from_millis(20));
        assert_eq!(sample.to_string(), "median 20.00 ms (min 10.00, p99 30.00, max 30.00, 3 runs)");
        assert!(Sample::new(vec![]).is_none());
    }
}
