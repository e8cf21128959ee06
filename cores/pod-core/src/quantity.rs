//! Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`.
//!
//! The grammar and its units are those of `staging/src/k8s.io/apimachinery/pkg/api/resource/quantity.go`. Everything is
//! counted in billionths, the smallest unit that Kubernetes keeps; what is finer is rounded up, as there. What is too large to
//! count is refused, where the API server would cap it silently.

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
        let magnitude = scaled(whole, fraction, unit(suffix)?).ok_or(QuantityError::TooLarge)?;
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

/// The canonical form: nothing lost, no fraction, the greatest suffix (`CanonicalizeBytes`): `1536Mi`, `500m`, `2`. How a
/// quantity was written is not kept, so it is shown in binary suffixes where those make the number smaller.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let (amount, place) = divided(self.0, 1000, DECIMAL.len() - 1);
        let decimal = (amount, DECIMAL[place]);
        let kibi = 1024 * ONE;
        let (amount, suffix) = if self.0 % kibi == 0 {
            let (amount, place) = divided(self.0 / kibi, 1024, BINARY.len() - 1);
            if amount.abs() < decimal.0.abs() { (amount, BINARY[place]) } else { decimal }
        } else {
            decimal
        };
        write!(f, "{amount}{suffix}")
    }
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Divides as often as nothing is lost, at most `most` times; and how often that was.
fn divided(mut amount: i128, by: i128, most: usize) -> (i128, usize) {
    let mut times = 0;
    while times < most && amount % by == 0 {
        amount /= by;
        times += 1;
    }
    (amount, times)
}

/// What a suffix multiplies by: two and ten to these powers.
fn unit(suffix: &str) -> Result<(u32, i64), QuantityError> {
    if let Some(place) = BINARY.iter().position(|known| *known == suffix) {
        return Ok((10 * (u32::try_from(place).unwrap_or(0) + 1), 0));
    }
    if let Some(place) = DECIMAL.iter().position(|known| *known == suffix) {
        return Ok((0, 3 * length(place) - 9));
    }
    let unknown = || QuantityError::Suffix(suffix.chars().take(16).collect());
    let power = suffix.strip_prefix(['e', 'E']).ok_or_else(unknown)?;
    power.parse::<i32>().map(|power| (0, i64::from(power))).map_err(|_| unknown())
}

/// Digits behind the point that are counted; what lies behind them rounds up.
const FRACTION: i64 = 19;

/// `whole.fraction` times two and ten to their powers, in billionths, rounded up; `None` where it cannot be counted.
fn scaled(whole: &str, fraction: &str, (two, ten): (u32, i64)) -> Option<i128> {
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0').collect();
    let Some(first) = digits.iter().position(|digit| *digit != 0) else { return Some(0) };
    // Where the point stands among the significant digits; it may lie outside them.
    let point = length(whole.len()) - length(first) + ten;
    let digits = &digits[first..];
    if point > 20 {
        return None;
    }
    let digit = |place: i64| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    let number = |places: std::ops::Range<i64>| places.fold(0_i128, |sum, place| sum * 10 + i128::from(digit(place)));
    let counted = point + FRACTION;
    let rest = digits.iter().enumerate().any(|(place, digit)| length(place) >= counted && *digit != 0);
    // Below 10^19 times 2^60, which fits.
    let parts = number(point..counted) << two;
    let one = 10_i128.pow(19);
    let below_one = div_ceil((parts % one) * ONE + i128::from(rest), one);
    let units = number(0..point).checked_mul(1 << two)? + parts / one;
    let billionths = units.checked_mul(ONE)?.checked_add(below_one)?;
    (billionths <= i128::from(i64::MAX) * ONE).then_some(billionths)
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
            ("1e-99999", 1),
            ("0e99999", 0),
            ("1.1234567890123Pi", 1_264_899_894_090_662_056_228_501),
            ("0.1Gi", 107_374_182_400_000_000),
            ("00000000000000000000000000000000000000000000012", 12 * ONE),
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
        assert_eq!(Quantity::parse("1e2147483647"), Err(QuantityError::TooLarge));
        assert_eq!(Quantity::parse("8Ei"), Err(QuantityError::TooLarge));
        assert_eq!(Quantity::parse(&"9".repeat(60)), Err(QuantityError::TooLarge));
    }

    #[test]
    fn whole_units_and_thousandths_round_up() {
        assert_eq!(Quantity::parse("1500m").unwrap().value(), 2);
        assert_eq!(Quantity::parse("1u").unwrap().millis(), 1);
        assert_eq!(Quantity::parse("-1500m").unwrap().value(), -1);
    }

    #[test]
    fn the_canonical_form_has_the_greatest_suffix() {
        for (text, shown) in [
            ("0Gi", "0"),
            ("1.5Gi", "1536Mi"),
            ("0.1", "100m"),
            ("2000", "2k"),
            ("1500", "1500"),
            ("1Ei", "1Ei"),
            ("-2Ki", "-2Ki"),
            ("1e-9", "1n"),
            ("1E", "1E"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), shown, "{text}");
        }
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
