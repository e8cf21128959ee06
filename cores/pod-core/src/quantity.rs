//! Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`.
//!
//! The grammar and its units are those of `staging/src/k8s.io/apimachinery/pkg/api/resource/quantity.go`. Everything is
//! counted in billionths, the smallest unit that Kubernetes keeps; what is finer is rounded up, as there.

use std::fmt;

/// A quantity in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(pub i128);

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form number, then suffix.
    #[error("not a quantity; write a number with a suffix such as 500m, 2, 1.5Gi or 1e3")]
    Form,
    /// A suffix that does not exist.
    #[error("unknown suffix {0:?}; the suffixes are n u m k M G T P E and Ki Mi Gi Ti Pi Ei")]
    Suffix(String),
    /// More than Kubernetes can count (2^63 - 1 whole units).
    #[error("too large; the largest quantity is 9223372036854775807")]
    TooLarge,
}

/// One whole unit.
const ONE: i128 = 1_000_000_000;

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many whole units.
    pub fn whole(units: u64) -> Self {
        Self(i128::from(units) * ONE)
    }

    /// Reads a quantity.
    ///
    /// ```
    /// use outrigger_pod_core::quantity::Quantity;
    /// assert_eq!(Quantity::parse("1.5Gi").unwrap().value(), 1_610_612_736);
    /// assert_eq!(Quantity::parse("0.1").unwrap().millis(), 100);
    /// ```
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        let magnitude = scale(whole, fraction, unit(suffix)?)?;
        Ok(Self(if negative { -magnitude } else { magnitude }))
    }

    /// Whole units, rounded up: bytes of a memory quantity, CPUs of a CPU quantity.
    pub fn value(self) -> i64 {
        saturating(div_ceil(self.0, ONE))
    }

    /// Thousandths, rounded up: millicpu of a CPU quantity.
    pub fn millis(self) -> i64 {
        saturating(div_ceil(self.0, ONE / 1000))
    }

    /// The sum; saturates, which no quantity that [`Quantity::parse`] accepts can reach in a pod of a million containers.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Quantity {
    /// The shortest decimal form without loss: `2`, `500m`, `250u`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, suffix) = [(ONE, ""), (1_000_000, "m"), (1000, "u")]
            .into_iter()
            .find(|(divisor, _)| self.0 % divisor == 0)
            .unwrap_or((1, "n"));
        write!(f, "{}{suffix}", self.0 / divisor)
    }
}

/// What a suffix multiplies by, in billionths per unit of the number before it.
fn unit(suffix: &str) -> Result<i128, QuantityError> {
    let binary = |power: u32| ONE << (10 * power);
    let decimal = |power: u32| 10_i128.pow(power);
    Ok(match suffix {
        "n" => 1,
        "u" => decimal(3),
        "m" => decimal(6),
        "" => ONE,
        "k" => decimal(12),
        "M" => decimal(15),
        "G" => decimal(18),
        "T" => decimal(21),
        "P" => decimal(24),
        "E" => decimal(27),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => return exponent(suffix),
    })
}

/// The suffix `e3` or `E-3`.
fn exponent(suffix: &str) -> Result<i128, QuantityError> {
    let unknown = || QuantityError::Suffix(suffix.to_owned());
    let digits = suffix.strip_prefix(['e', 'E']).ok_or_else(unknown)?;
    let power: i32 = digits.parse().map_err(|_| unknown())?;
    match u32::try_from(power + 9) {
        Ok(power) if power <= 36 => Ok(10_i128.pow(power)),
        Ok(_) => Err(QuantityError::TooLarge),
        // Finer than a billionth: rounded up to one.
        Err(_) => Ok(1),
    }
}

/// `whole.fraction` times `unit`, rounded up to a billionth.
fn scale(whole: &str, fraction: &str, unit: i128) -> Result<i128, QuantityError> {
    let fraction = fraction.trim_end_matches('0');
    let kept = fraction.get(..18).unwrap_or(fraction);
    let digits = format!("{whole}{kept}");
    let digits = digits.trim_start_matches('0');
    let number: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| QuantityError::TooLarge)? };
    let rest = i128::from(kept.len() < fraction.len());
    let scaled = number.checked_mul(unit).ok_or(QuantityError::TooLarge)?;
    let places = u32::try_from(kept.len()).map_err(|_| QuantityError::Form)?;
    let result = div_ceil(scaled, 10_i128.pow(places)) + rest;
    if result > i128::from(i64::MAX) * ONE { Err(QuantityError::TooLarge) } else { Ok(result) }
}

/// Divides and rounds away from the smaller side, as Kubernetes does.
fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn saturating(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_exactly() {
        let table: &[(&str, i128)] = &[
            ("0", 0),
            ("1", ONE),
            ("+2", 2 * ONE),
            ("-1", -ONE),
            ("500m", ONE / 2),
            ("0.5", ONE / 2),
            (".5", ONE / 2),
            ("5.", 5 * ONE),
            ("1k", 1000 * ONE),
            ("1Ki", 1024 * ONE),
            ("1.5Gi", 1_610_612_736 * ONE),
            ("2e3", 2000 * ONE),
            ("2E3", 2000 * ONE),
            ("1E", 1_000_000_000_000_000_000 * ONE),
            ("1e-3", ONE / 1000),
            ("100u", 100_000),
            ("1n", 1),
            ("0.1n", 1),
            ("1e-12", 1),
            ("0.00000000001", 1),
        ];
        for (text, expected) in table {
            assert_eq!(Quantity::parse(text), Ok(Quantity(*expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_its_kind() {
        for text in ["", "-", "Gi", "1.2.3", "1 Gi", "m", "."] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Quantity::parse("1GB"), Err(QuantityError::Suffix("GB".into())));
        assert_eq!(Quantity::parse("1K"), Err(QuantityError::Suffix("K".into())));
        assert_eq!(Quantity::parse("9223372036854775808"), Err(QuantityError::TooLarge));
        assert_eq!(Quantity::parse("1e99"), Err(QuantityError::TooLarge));
        assert_eq!(Quantity::parse(&"9".repeat(60)), Err(QuantityError::TooLarge));
    }

    #[test]
    fn whole_units_and_thousandths_round_up() {
        assert_eq!(Quantity::parse("1500m").unwrap().value(), 2);
        assert_eq!(Quantity::parse("1u").unwrap().millis(), 1);
        assert_eq!(Quantity::parse("-1500m").unwrap().value(), -1);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(billionths in 0..i128::from(i64::MAX)) {
            let quantity = Quantity(billionths);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eEKMGikmn]{0,40}") {
            let _ = Quantity::parse(&text);
        }
    }
}
