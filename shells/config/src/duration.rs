//! Durations as people write them in configuration: `30s`, `5m`, `1h30m`, `250ms`, `7d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::text_value::text_value;

/// The value of `format` in the schema.
pub(crate) const FORMAT: &str = "outrigger-duration";

/// A length of time in configuration, exact to the millisecond.
///
/// Written as numbers with units, the large before the small: `d`, `h`, `m`, `s`, `ms`. A number without a unit is an
/// error, since nobody can tell what was meant; only `0` needs none.
///
/// ```
/// use outrigger_config::Duration;
///
/// let term: Duration = "1h30m".parse().unwrap();
/// assert_eq!(std::time::Duration::from(term).as_secs(), 5400);
/// assert_eq!(term.to_string(), "1h30m");
/// assert!("30".parse::<Duration>().unwrap_err().to_string().contains("needs a unit"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// Why a text is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// A number stands alone.
    #[error("{0:?} needs a unit, such as \"{0}s\" for seconds")]
    NoUnit(String),
    /// It does not read as numbers with units, the large before the small.
    #[error("{0:?} is no duration such as 30s, 5m, 1h30m, 250ms or 7d")]
    Malformed(String),
    /// It is longer than can be counted.
    #[error("{0:?} is too long a time")]
    TooLong(String),
}

/// The units with their milliseconds, the large ones first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Duration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        let malformed = || NoDuration::Malformed(text.to_owned());
        let too_long = || NoDuration::TooLong(text.to_owned());
        if text == "0" {
            return Ok(Self::default());
        }
        let (mut rest, mut units, mut total) = (text, &UNITS[..], 0u64);
        while !rest.is_empty() {
            let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
            if number.is_empty() {
                return Err(malformed());
            }
            if after.is_empty() {
                return Err(if number == text { NoDuration::NoUnit(text.to_owned()) } else { malformed() });
            }
            let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
            let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
            let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[place].1));
            total = size.and_then(|size| total.checked_add(size)).ok_or_else(too_long)?;
            (rest, units) = (next, &units[place + 1..]);
        }
        if text.is_empty() { Err(malformed()) } else { Ok(Self(std::time::Duration::from_millis(total))) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return out.write_str("0s");
        }
        for (unit, size) in UNITS {
            if left >= u128::from(size) {
                write!(out, "{}{unit}", left / u128::from(size))?;
                left %= u128::from(size);
            }
        }
        Ok(())
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<std::time::Duration> for Duration {
    /// Parts of a millisecond are cut off.
    fn from(duration: std::time::Duration) -> Self {
        Self(std::time::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": FORMAT,
            "minimum": 0,
            "maximum": 0,
            "pattern": "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
        })
    }
}

text_value!(Duration);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_people_mean_them() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.0.as_millis(), milliseconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, error) in [
            ("30", "\"30\" needs a unit, such as \"30s\" for seconds"),
            ("", "\"\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("5 m", "\"5 m\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("30m1h", "\"30m1h\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("1h30", "\"1h30\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("-5s", "\"-5s\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("1.5h", "\"1.5h\" is no duration such as 30s, 5m, 1h30m, 250ms or 7d"),
            ("999999999999999999d", "\"999999999999999999d\" is too long a time"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap_err().to_string(), error);
        }
    }

    proptest! {
        #[test]
        fn durations_read_back_as_they_are_written(milliseconds in any::<u64>()) {
            let duration = Duration(std::time::Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            let _ = text.parse::<Duration>();
        }
    }
}
