//! What a scalar of YAML text means: the rules of kubectl, which are those of YAML 1.1 as go-yaml keeps them.
//!
//! Source: `go.yaml.in/yaml/v2` v2.4.3, `resolve.go`, as `sigs.k8s.io/yaml` v1.6.0 uses it, and that package's
//! `convertToJSONableObject` for what becomes of keys and floats. A table recorded from the real package tests this
//! (`tests/scalars.rs`). What differs on purpose: `.nan`, `.inf` and bytes that are no text, which JSON cannot hold,
//! are faults here with a place; there they fail without one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

const TAGS: &str = "tag:yaml.org,2002:";

/// The meaning of a scalar, before it becomes JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// The scalar as a JSON value; `Err` says what JSON cannot hold.
    pub(crate) fn into_value(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(on) => Value::Bool(on),
            Self::Int(number) => Value::Number(number.into()),
            Self::Uint(number) => Value::Number(number.into()),
            Self::Float(number) => Value::Number(json_number(number)?),
            Self::Text(text) => Value::String(text),
        })
    }

    /// The scalar as the key of a JSON object (`convertToJSONableObject`); `Err` for null, which cannot be one.
    pub(crate) fn into_key(self) -> Result<String, String> {
        Ok(match self {
            Self::Null => return Err("null cannot be a key".to_owned()),
            Self::Bool(on) => on.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Uint(number) => return Err(format!("{number} cannot be a key: it is too large")),
            Self::Float(number) => float_key(number),
            Self::Text(text) => text,
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Uint(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
        }
    }
}

/// Go writes a whole float below 1e21 without fraction or exponent, so it reads back as an integer.
fn json_number(number: f64) -> Result<Number, String> {
    const EXACT: f64 = 18_446_744_073_709_551_615.0;
    let whole = number.fract() == 0.0 && number.abs() < EXACT && !(number == 0.0 && number.is_sign_negative());
    let exact = whole.then(|| number.to_string());
    let integer = exact.and_then(|digits| {
        digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from)).ok()
    });
    integer.or_else(|| Number::from_f64(number)).ok_or_else(|| format!("{number} is no number that JSON can hold"))
}

/// Go's `strconv.FormatFloat(number, 'g', -1, 32)`, with YAML's names for what is no number.
fn float_key(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "keys are written with the digits of a 32-bit float, as there")]
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is an integer");
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The meaning of `text` with this tag (empty for none); `plain` says that it stands without quotes.
///
/// `Err` says in words why the text does not fit its tag.
pub(crate) fn resolve(tag: &str, text: &str, plain: bool) -> Result<Scalar, String> {
    if tag.is_empty() {
        return Ok(if plain { guess(text) } else { Scalar::Text(text.to_owned()) });
    }
    let Some(known) = tag.strip_prefix(TAGS) else { return Ok(Scalar::Text(text.to_owned())) };
    let misfit = |found: &Scalar| format!("{text:?} is tagged !!{known}, but reads as {}", found.kind());
    match known {
        "binary" => binary(text),
        "timestamp" => match guess(text) {
            found @ Scalar::Text(_) if is_date(text) => Ok(found),
            found => Err(misfit(&found)),
        },
        "bool" | "int" | "float" | "null" => match (known, guess(text)) {
            #[expect(clippy::cast_precision_loss, reason = "the tag asks for a float")]
            ("float", Scalar::Int(number)) => Ok(Scalar::Float(number as f64)),
            (_, found) if found.kind() == known => Ok(found),
            (_, found) => Err(misfit(&found)),
        },
        // `!!str`, and tags of other makers.
        _ => Ok(Scalar::Text(text.to_owned())),
    }
}

fn guess(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => match text.as_bytes()[0] {
            b'.' => float_with_underscores(text),
            b'0'..=b'9' | b'+' | b'-' => number(&text.replace('_', "")),
            _ => None,
        }
        .unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

/// Integers first, so that `0644` is octal; what is none may still be a float (`089` is 89.0).
fn number(text: &str) -> Option<Scalar> {
    integer(text).or_else(|| float(text)).or_else(|| signed_binary(text))
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint` (which takes no sign).
fn integer(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, radix) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&unsigned[2..], 16),
        [b'0', b'o' | b'O', ..] => (&unsigned[2..], 8),
        [b'0', b'b' | b'B', ..] => (&unsigned[2..], 2),
        [b'0', _, ..] => (&unsigned[1..], 8),
        _ => (unsigned, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match text.as_bytes()[0] {
        b'-' => 0i64.checked_sub_unsigned(size).map(Scalar::Int),
        sign => match i64::try_from(size) {
            Ok(number) => Some(Scalar::Int(number)),
            Err(_) if sign == b'+' => None,
            Err(_) => Some(Scalar::Uint(size)),
        },
    }
}

/// The floats of YAML 1.1 without base 60: `1.`, `.5`, `1e3`, `-1.5E-3`; what overflows is none.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let after_point = unsigned[whole..].strip_prefix('.');
    let fraction = after_point.map_or(0, digits);
    if whole + fraction == 0 {
        return None;
    }
    let end = after_point.map_or(&unsigned[whole..], |rest| &rest[fraction..]);
    if let Some(exponent) = end.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || digits(exponent) != exponent.len() {
            return None;
        }
    } else if !end.is_empty() {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Float)
}

/// An oddity kept: a float that starts with its point may have underscores, but only between digits.
fn float_with_underscores(text: &str) -> Option<Scalar> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let between = |(at, _): (usize, &str)| at > 0 && digit(at - 1) && digit(at + 1);
    text.match_indices('_').all(between).then(|| float(&text.replace('_', "")))?
}

/// An oddity kept: after the prefix `0b` go-yaml lets a sign stand.
fn signed_binary(text: &str) -> Option<Scalar> {
    i64::from_str_radix(text.strip_prefix("0b")?, 2).ok().map(Scalar::Int)
}

fn binary(text: &str) -> Result<Scalar, String> {
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(packed).map_err(|_| "the text is tagged !!binary, but is not base64".to_owned())?;
    let text = String::from_utf8(bytes);
    text.map(Scalar::Text)
        .map_err(|_| "the tag !!binary gives bytes that are no text, which JSON cannot hold".to_owned())
}

/// Whether go-yaml takes this for a time (which it then leaves as text): four digits and a dash decide here, since
/// nothing of that shape is a number.
fn is_date(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, c, d, b'-', ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()))
}
