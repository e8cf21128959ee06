//! Amounts of bytes as people write them in configuration: `10Mi`, `10MiB`, `1G`, `4096`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::text_value::text_value;

/// The value of `format` in the schema.
pub(crate) const FORMAT: &str = "outrigger-size";

/// An amount of bytes in configuration.
///
/// Units with an `i` count in 1024s, those without in 1000s, with or without a `B`; a number alone counts bytes.
///
/// ```
/// use outrigger_config::ByteSize;
///
/// assert_eq!("10Mi".parse::<ByteSize>().unwrap().bytes(), 10 << 20);
/// assert_eq!("10MiB".parse::<ByteSize>().unwrap(), ByteSize::from(10 << 20));
/// assert_eq!("1G".parse::<ByteSize>().unwrap().bytes(), 1_000_000_000);
/// assert_eq!(ByteSize::from(10 << 20).to_string(), "10Mi");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Why a text is no [`ByteSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoByteSize {
    /// It is no whole number with a known unit.
    #[error("{0:?} is no size such as 4096, 10Mi, 10MiB or 1G")]
    Malformed(String),
    /// It does not fit 64 bits.
    #[error("{0:?} is too large a size")]
    TooLarge(String),
}

const UNITS: [(&str, u64); 11] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl FromStr for ByteSize {
    type Err = NoByteSize;

    fn from_str(text: &str) -> Result<Self, NoByteSize> {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = unit.strip_suffix('B').unwrap_or(unit);
        let unit = if unit == "K" { "k" } else { unit };
        let known = UNITS.iter().find(|(name, _)| *name == unit).filter(|_| !number.is_empty());
        let (_, size) = known.ok_or_else(|| NoByteSize::Malformed(text.to_owned()))?;
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*size));
        bytes.map(Self).ok_or_else(|| NoByteSize::TooLarge(text.to_owned()))
    }
}

/// The largest unit that divides it.
impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        let (unit, size) = UNITS.iter().find(divides).unwrap_or(&("", 1));
        write!(out, "{}{unit}", self.0 / size)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": FORMAT,
            "pattern": "^[0-9]+(k|K|M|G|T|Ki|Mi|Gi|Ti|Pi|Ei)?B?$",
            "minimum": 0,
        })
    }
}

text_value!(ByteSize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_people_mean_them() {
        for (text, bytes) in [
            ("4096", 4096),
            ("10Mi", 10 << 20),
            ("10MiB", 10 << 20),
            ("1G", 1_000_000_000),
            ("1kB", 1000),
            ("5B", 5),
            ("2K", 2000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "Mi", "10mi", "1.5Gi", "-1", "10 Mi", "10Mi "] {
            assert_eq!(text.parse::<ByteSize>(), Err(NoByteSize::Malformed(text.to_owned())));
        }
        assert_eq!("16Ei".parse::<ByteSize>().unwrap_err().to_string(), "\"16Ei\" is too large a size");
    }

    proptest! {
        #[test]
        fn sizes_read_back_as_they_are_written(bytes in any::<u64>(), zeros in 0..64u32) {
            let size = ByteSize(bytes >> zeros << zeros);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
