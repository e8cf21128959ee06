//! The shape of a document: which fields there are, of which type, which must be there; and the walk that compares a
//! JSON value with it. The shapes themselves stand in [`super::table`]; what values mean is checked elsewhere.

use serde_json::{Map, Value};

use super::shown;
use crate::fault::{At, Faults};
use crate::quantity::Quantity;

/// Names longer than this are not compared with known ones.
const LONGEST_COMPARED: usize = 64;

/// An object's fields.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The Kubernetes type: `PodSpec`.
    pub(crate) name: &'static str,
    /// Its fields, as Kubernetes 1.36 has them.
    pub(crate) fields: &'static [Field],
}

/// One field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its key.
    pub(crate) name: &'static str,
    /// Whether it must be there, and not be empty where it is a text.
    pub(crate) required: bool,
    /// What may stand in it.
    pub(crate) kind: Kind,
}

/// What may stand in a field.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A string of a Secret, which no message shows.
    SecretText,
    /// One of these strings; the empty one stands for none, as in the API server.
    OneOf(&'static [&'static str]),
    /// A boolean.
    Flag,
    /// A whole number of 32 bits.
    Number32,
    /// A whole number of 64 bits.
    Number64,
    /// A port's number or name.
    NumberOrText,
    /// A quantity, as a string or a number.
    Amount,
    /// Bytes in base64.
    Bytes,
    /// An object of this shape.
    Object(&'static Shape),
    /// A list.
    List(&'static Kind),
    /// An object with any keys.
    Map(&'static Kind),
    /// Set by a server or of no meaning here: accepted silently, whatever stands in it, and not read.
    Unread,
    /// Known to Kubernetes, but not to be carried out here; the text is the way out.
    Refused(&'static str),
}

/// Shapes as tables: `NAME "Type" { field: Kind, other required: Kind }`.
macro_rules! shapes {
    ($($shape:ident $name:literal { $($field:ident $($mark:ident)? : $kind:expr),* $(,)? })*) => {
        $(pub(crate) static $shape: Shape = Shape {
            name: $name,
            fields: &[$(Field { name: stringify!($field), required: shapes!(@required $($mark)?), kind: $kind }),*],
        };)*
    };
    (@required) => { false };
    (@required required) => { true };
}
pub(crate) use shapes;

/// Compares a value with its kind, all the way down.
pub(crate) fn compare(at: &At<'_, '_>, kind: &Kind, faults: &mut Faults) {
    match kind {
        Kind::Unread => (),
        Kind::Refused(way_out) => faults.error_with_help(at, "is not supported here", *way_out),
        Kind::Object(shape) => compare_object(at, shape, faults),
        Kind::List(item) if at.value().is_array() => at.items().for_each(|at| compare_item(&at, item, faults)),
        Kind::Map(item) if at.value().is_object() => at.entries().for_each(|(_, at)| compare(&at, item, faults)),
        _ => compare_scalar(at, kind, faults),
    }
}

fn compare_item(at: &At<'_, '_>, kind: &Kind, faults: &mut Faults) {
    if at.is_set() {
        compare(at, kind, faults);
    } else {
        faults.error(at, "is an empty list entry");
    }
}

fn compare_object(at: &At<'_, '_>, shape: &Shape, faults: &mut Faults) {
    if !at.value().is_object() {
        return wrong_type(at, "an object", faults);
    }
    for (key, at) in at.entries() {
        match shape.field(key) {
            Some(field) => compare(&at, &field.kind, faults),
            None => faults.warning(&at, format!("is no field of {}", shape.name), shape.nearest(key)),
        }
    }
    for field in shape.fields.iter().filter(|field| field.required) {
        let at = at.get(field.name);
        if !at.is_set() {
            faults.error(&at, "is missing");
        } else if at.text() == Some("") {
            faults.error(&at, "must not be empty");
        } else if at.value().as_array().is_some_and(Vec::is_empty) {
            faults.error(&at, "must have at least one entry");
        }
    }
}

fn compare_scalar(at: &At<'_, '_>, kind: &Kind, faults: &mut Faults) {
    let value = at.value();
    match kind {
        Kind::Text | Kind::SecretText if value.is_string() => (),
        Kind::Flag if value.is_boolean() => (),
        Kind::Number64 if value.is_i64() => (),
        Kind::Number32 | Kind::Number64 if value.is_i64() || value.is_u64() => {
            if at.number().and_then(|number| i32::try_from(number).ok()).is_none() {
                faults.error(at, format!("is {value}, which is out of range"));
            }
        }
        Kind::NumberOrText if value.is_i64() || value.is_string() => (),
        Kind::OneOf(known) if value.is_string() => {
            if at.text().is_some_and(|text| !text.is_empty() && !known.contains(&text)) {
                let message = format!("is {}", shown(&value.to_string()));
                faults.error_with_help(at, message, format!("use one of {}", known.join(", ")));
            }
        }
        Kind::Amount if value.is_string() || value.is_number() => {
            if let Err(no) = Quantity::parse(&amount(value).unwrap_or_default()) {
                faults.error(at, format!("is {}: {no}", shown(&value.to_string())));
            }
        }
        Kind::Bytes if value.is_string() => {
            if crate::env::decode(at.text_or_empty()).is_none() {
                faults.error_with_help(
                    at,
                    "is not base64",
                    "encode it, or put it as it is under stringData (Secret) or data (ConfigMap)",
                );
            }
        }
        Kind::SecretText => faults.error_with_help(at, "must be a string", "quote it"),
        Kind::Bytes => faults.error(at, "must be a string in base64"),
        _ => wrong_type(at, kind.called(), faults),
    }
}

/// A quantity's text; a bare number is one too.
pub(crate) fn amount(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn wrong_type(at: &At<'_, '_>, wanted: &str, faults: &mut Faults) {
    let (found, quote) = match at.value() {
        Value::Null => ("nothing".to_owned(), None),
        Value::Bool(flag) => {
            (format!("the boolean {flag}"), Some("quote it: YAML reads yes, no, on, off, true and false as booleans"))
        }
        Value::Number(number) => (format!("the number {number}"), Some("quote it")),
        Value::String(_) => ("a string".to_owned(), None),
        Value::Array(_) => ("a list".to_owned(), None),
        Value::Object(_) => ("an object".to_owned(), None),
    };
    let message = format!("is {found}, but must be {wanted}");
    match (wanted, quote, at.value()) {
        (Kind::TEXT, Some(help), _) => faults.error_with_help(at, message, help),
        (_, _, Value::String(_)) if wanted.contains("number") || wanted.contains("boolean") => {
            faults.error_with_help(at, message, "write it without quotes");
        }
        _ => faults.error(at, message),
    }
}

impl Kind {
    const TEXT: &'static str = "a string";

    fn called(&self) -> &'static str {
        match self {
            Self::Text | Self::SecretText | Self::OneOf(_) | Self::Bytes => Self::TEXT,
            Self::Flag => "a boolean",
            Self::Number32 | Self::Number64 => "a whole number",
            Self::NumberOrText => "a whole number or a string",
            Self::Amount => "a quantity such as 500m or 1Gi",
            Self::List(_) => "a list",
            Self::Object(_) | Self::Map(_) | Self::Unread | Self::Refused(_) => "an object",
        }
    }
}

impl Shape {
    fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == key)
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let known = self.fields.iter().map(|field| field.name);
        known
            .filter_map(|name| Some((distance(key, name)?, name)))
            .min()
            .map(|(_, name)| format!("did you mean {name}?"))
    }

    /// The fields of `value` that are known and read here: what the typed objects are made from.
    pub(crate) fn known_fields(&self, value: &Value) -> Value {
        let fields = value.as_object().into_iter().flatten();
        let known = fields.filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
            let copied = match &self.field(key)?.kind {
                Kind::Unread => return None,
                kind => kind.known_fields(value),
            };
            Some((key.clone(), copied))
        });
        Value::Object(known.collect::<Map<_, _>>())
    }

    /// Those of its known fields that have the type that they should have.
    pub(crate) fn readable_fields(&self, value: &Value) -> Value {
        let fields = value.as_object().into_iter().flatten();
        let readable = fields.filter_map(|(key, value)| Some((key.clone(), self.field(key)?.kind.readable(value)?)));
        Value::Object(readable.collect())
    }
}

impl Kind {
    /// The value where it has this type, a scalar that should be in quotes as if it were, or without what is not readable in
    /// it. Places in lists and keys of maps stay. Bytes are left empty: they may be no base64.
    fn readable(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Unread, _) | (_, Value::Null) => None,
            (Self::Object(shape), Value::Object(_)) => Some(shape.readable_fields(value)),
            (Self::List(item), Value::Array(items)) => {
                Some(items.iter().map(|value| item.readable(value).unwrap_or_else(|| item.empty())).collect())
            }
            (Self::Map(item), Value::Object(fields)) => {
                let all = fields.iter().filter(|(_, value)| !value.is_null());
                let all = all.map(|(key, value)| (key.clone(), item.readable(value).unwrap_or_else(|| item.empty())));
                Some(Value::Object(all.collect()))
            }
            (Self::Bytes, _) => Some(self.empty()),
            (Self::Text | Self::SecretText, Value::Number(_) | Value::Bool(_)) => {
                Some(Value::String(value.to_string()))
            }
            (Self::Text | Self::SecretText | Self::OneOf(_) | Self::NumberOrText | Self::Amount, Value::String(_))
            | (Self::Flag, Value::Bool(_)) => Some(value.clone()),
            (Self::NumberOrText | Self::Number32, Value::Number(number)) => {
                number.as_i64().filter(|number| i32::try_from(*number).is_ok()).map(Value::from)
            }
            (Self::Amount | Self::Number64, Value::Number(number)) => number.as_i64().map(Value::from),
            _ => None,
        }
    }

    fn empty(&self) -> Value {
        match self {
            Self::Object(_) | Self::Map(_) => Value::Object(Map::new()),
            Self::List(_) => Value::Array(Vec::new()),
            Self::Flag => Value::Bool(false),
            Self::Number32 | Self::Number64 => Value::from(0),
            _ => Value::String(String::new()),
        }
    }

    fn known_fields(&self, value: &Value) -> Value {
        match (self, value) {
            (Self::Object(shape), Value::Object(_)) => shape.known_fields(value),
            (Self::List(item), Value::Array(items)) => items.iter().map(|value| item.known_fields(value)).collect(),
            (Self::Map(_), Value::Object(fields)) => {
                let set = fields.iter().filter(|(_, value)| !value.is_null());
                Value::Object(set.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            _ => value.clone(),
        }
    }
}

/// How far two names are from each other, where that is near: other case counts nothing, at most a third may differ.
fn distance(written: &str, known: &str) -> Option<usize> {
    if written.len() > LONGEST_COMPARED {
        return None;
    }
    let written: Vec<char> = written.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=written.len()).collect();
    for (line, letter) in known.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for place in 0..written.len() {
            let changed = corner + usize::from(written[place] != letter);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
        }
    }
    let far = *row.last()?;
    (far <= known.len().max(3) / 3).then_some(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        for (written, known, far) in
            [("Image", "image", Some(0)), ("imagePulPolicy", "imagePullPolicy", Some(1)), ("xyz", "image", None)]
        {
            assert_eq!(distance(written, known), far, "{written}");
        }
    }
}
