//! A value against its schema, in our own words and with everything wrong at once.
//!
//! Checked are the parts of JSON Schema that configurations use: types, listed words, bounds, lengths, required and
//! unknown keys, choices, and our formats. `pattern` is not: texts with a form of their own have a format here, or a
//! type that reads them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value;

use crate::document::Written;
use crate::nearest::nearest;
use crate::path::Path;
use crate::schema::{properties, resolve, types, words};
use crate::{address, duration, size};

/// One thing that is wrong, without its place in a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) path: Path,
    /// The key is wrong, not its value.
    pub(crate) key: bool,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Everything wrong with `value` at `path`. `written` tells how a scalar was written.
pub(crate) fn check(
    root: &Value,
    schema: &Value,
    value: &Value,
    path: &Path,
    written: &dyn Fn(&Path) -> Option<Written>,
) -> Vec<Finding> {
    let mut check = Check { root, written, found: Vec::new() };
    check.value(schema, value, path);
    check.found
}

struct Check<'a> {
    root: &'a Value,
    written: &'a dyn Fn(&Path) -> Option<Written>,
    found: Vec<Finding>,
}

impl Check<'_> {
    fn value(&mut self, schema: &Value, value: &Value, path: &Path) {
        let schema = resolve(self.root, schema);
        if let Some(words) = words(self.root, schema) {
            return self.word(&words, value, path);
        }
        if !is_one_of(&types(schema), value) {
            return self.wrong_type(schema, value, path);
        }
        if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|part| schema.get(part)?.as_array()) {
            self.choice(choices, value, path);
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, value, path);
        }
        match value {
            Value::Object(_) => self.object(schema, value, path),
            Value::Array(values) => self.list(schema, values, path),
            _ => self.scalar(schema, value, path),
        }
    }

    fn add(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Finding { path: path.clone(), key: false, message: message.into(), help: help.into() });
    }

    fn word(&mut self, words: &[String], value: &Value, path: &Path) {
        let Value::String(text) = value else {
            let message = format!("expected {}, found {}", one_of(words), self.shown(value, path));
            let word = (self.written)(path).map(|written| written.text).filter(|text| words.contains(text));
            return self.add(
                path,
                message,
                word.map(|word| format!("put it in quotes: \"{word}\"")).unwrap_or_default(),
            );
        };
        if !words.contains(text) {
            let help = nearest(text, words.iter().map(String::as_str)).map(did_you_mean).unwrap_or_default();
            self.add(path, format!("expected {}, found {text:?}", one_of(words)), help);
        }
    }

    fn wrong_type(&mut self, schema: &Value, value: &Value, path: &Path) {
        if let (Value::Number(number), Some(read)) = (value, own_format(schema)) {
            return self.add(path, read(&number.to_string()).err().unwrap_or_default(), "");
        }
        let types = types(schema);
        let expected: Vec<String> = types.iter().map(|name| type_name(name).to_owned()).collect();
        let written = (self.written)(path);
        let help = match (value, written) {
            (Value::Bool(_) | Value::Number(_), Some(written)) if types.contains(&"string") => {
                format!("put it in quotes: \"{}\"", written.text)
            }
            (Value::String(text), Some(written)) if written.quoted && would_be(text, &types) => {
                format!("leave out the quotes: {text}")
            }
            (Value::String(text), _) if types.contains(&"array") => format!("write a list: [{text}]"),
            _ => String::new(),
        };
        let message = format!("expected {}, found {}", expected.join(" or "), self.shown(value, path));
        self.add(path, message, help);
    }

    /// A value for people: what it is, and how it was written where that is not the same.
    fn shown(&self, value: &Value, path: &Path) -> String {
        let written = (self.written)(path).map(|written| written.text);
        match value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(on) => match written.filter(|text| *text != on.to_string()) {
                Some(text) => format!("the boolean {on} (written {text})"),
                None => format!("the boolean {on}"),
            },
            Value::Number(number) => match written.filter(|text| *text != number.to_string()) {
                Some(text) => format!("the number {number} (written {text})"),
                None => format!("the number {number}"),
            },
            Value::String(text) => format!("the text {text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a map".to_owned(),
        }
    }

    /// The value must fit one choice. What is said is about the choice that it nearly fits.
    fn choice(&mut self, choices: &[Value], value: &Value, path: &Path) {
        if let Some((key, words)) = self.tag(choices)
            && let Some(tag) = value.get(&key)
            && !tag.as_str().is_some_and(|tag| words.iter().any(|word| word == tag))
        {
            return self.word(&words, tag, &path.key(key));
        }
        let mut best: Option<(bool, Vec<Finding>)> = None;
        for choice in choices {
            let found = check(self.root, choice, value, path, self.written);
            if found.is_empty() {
                return;
            }
            let meant = is_meant(resolve(self.root, choice), value);
            let better = best.as_ref().is_none_or(|(best_meant, least)| {
                (meant && !best_meant) || (meant == *best_meant && found.len() < least.len())
            });
            if better {
                best = Some((meant, found));
            }
        }
        self.found.extend(best.into_iter().flat_map(|(_, found)| found));
    }

    /// The key that tells the choices apart, with its words, where each of them has one (serde's `tag`).
    fn tag(&self, choices: &[Value]) -> Option<(String, Vec<String>)> {
        let fixed = |(key, schema): (&String, &Value)| Some((key.clone(), schema.get("const")?.as_str()?.to_owned()));
        let tag = |choice| properties(resolve(self.root, choice))?.iter().find_map(fixed);
        let tags: Vec<(String, String)> = choices.iter().map(tag).collect::<Option<_>>()?;
        let key = tags.first()?.0.clone();
        let same = tags.iter().all(|(other, _)| *other == key);
        same.then(|| (key, tags.into_iter().map(|(_, word)| word).collect()))
    }

    fn object(&mut self, schema: &Value, value: &Value, path: &Path) {
        let Some(map) = value.as_object() else { return };
        let known = properties(schema);
        for (key, inner) in map {
            let below = path.key(key);
            match (known.and_then(|known| known.get(key)), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => self.value(schema, inner, &below),
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> =
                        known.into_iter().flat_map(|known| known.keys()).map(String::as_str).collect();
                    let help = nearest(key, names.iter().copied()).map_or_else(|| known_are(&names), did_you_mean);
                    self.found.push(Finding { path: below, key: true, message: "unknown key".to_owned(), help });
                }
                (None, _) => (),
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(key) {
                self.add(&path.key(key), "this key is missing", "");
            }
        }
    }

    fn list(&mut self, schema: &Value, values: &[Value], path: &Path) {
        if let Some(items) = schema.get("items") {
            for (index, value) in values.iter().enumerate() {
                self.value(items, value, &path.index(index));
            }
        }
        self.count(schema, ["minItems", "maxItems"], values.len(), "items", path);
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = BTreeSet::new();
            for (index, value) in values.iter().enumerate() {
                if !seen.insert(value.to_string()) {
                    self.add(&path.index(index), "this item stands in the list twice", "");
                }
            }
        }
    }

    fn scalar(&mut self, schema: &Value, value: &Value, path: &Path) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let Some(read) = own_format(schema) {
            if let Err(message) = read(&text) {
                self.add(path, message, "");
            }
            return;
        }
        if value.is_string() {
            self.count(schema, ["minLength", "maxLength"], text.chars().count(), "characters", path);
        }
        let Value::Number(number) = value else { return };
        let bound = |key: &str| schema.get(key).and_then(Value::as_number);
        for (key, wrong, words) in [
            ("minimum", &[Ordering::Less][..], "at least"),
            ("maximum", &[Ordering::Greater], "at most"),
            ("exclusiveMinimum", &[Ordering::Less, Ordering::Equal], "more than"),
            ("exclusiveMaximum", &[Ordering::Greater, Ordering::Equal], "less than"),
        ] {
            if let Some(limit) = bound(key).filter(|limit| wrong.contains(&compare(number, limit))) {
                self.add(path, format!("{number} is out of bounds"), format!("it must be {words} {limit}"));
            }
        }
        if let Some((least, most)) = schema.get("format").and_then(Value::as_str).and_then(integer_bounds)
            && number.as_i128().is_some_and(|number| number < least || number > most)
            && bound("maximum").is_none()
        {
            self.add(path, format!("{number} is out of bounds"), format!("it must be between {least} and {most}"));
        }
    }

    fn count(&mut self, schema: &Value, keys: [&str; 2], count: usize, things: &str, path: &Path) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        if let Some(least) = bound(keys[0]).filter(|least| count < *least) {
            self.add(path, format!("{count} {things} are too few"), format!("at least {least} are needed"));
        }
        if let Some(most) = bound(keys[1]).filter(|most| count > *most) {
            self.add(path, format!("{count} {things} are too many"), format!("at most {most} are allowed"));
        }
    }
}

fn is_one_of(types: &[&str], value: &Value) -> bool {
    types.is_empty()
        || types.iter().any(|name| match *name {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        })
}

/// Whether a choice is the one the value wants to be: its type is right, and its fixed keys have their words, or its
/// only key is there.
fn is_meant(choice: &Value, value: &Value) -> bool {
    if !is_one_of(&types(choice), value) {
        return false;
    }
    let (Some(properties), Some(map)) = (properties(choice), value.as_object()) else { return true };
    let fixed = properties.iter().filter_map(|(key, schema)| Some((key, schema.get("const")?)));
    let tags: Vec<bool> = fixed.map(|(key, word)| map.get(key) == Some(word)).collect();
    if tags.is_empty() {
        properties.keys().any(|key| map.contains_key(key))
    } else {
        tags.into_iter().all(|right| right)
    }
}

fn would_be(text: &str, types: &[&str]) -> bool {
    types.iter().any(|name| match *name {
        "boolean" => matches!(text, "true" | "false"),
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    })
}

fn type_name(name: &str) -> &str {
    match name {
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [only] => format!("{only:?}"),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => "nothing".to_owned(),
    }
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean {word:?}?")
}

fn known_are(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "no key is known here".to_owned(),
        1..=SHOWN => format!("known here: {}", names.join(", ")),
        more => format!("known here: {} and {} more", names[..SHOWN].join(", "), more - SHOWN),
    }
}

fn compare(left: &serde_json::Number, right: &serde_json::Number) -> Ordering {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal),
    }
}

/// What `schemars` says by format alone.
fn integer_bounds(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        _ => return None,
    })
}

type Read = fn(&str) -> Result<(), String>;

/// The reader of a format that is a form of text.
fn own_format(schema: &Value) -> Option<Read> {
    Some(match schema.get("format")?.as_str()? {
        duration::FORMAT => read::<duration::Duration>,
        size::FORMAT => read::<size::ByteSize>,
        address::FORMAT => read::<address::Address>,
        "ip" => read::<std::net::IpAddr>,
        "ipv4" => read::<std::net::Ipv4Addr>,
        "ipv6" => read::<std::net::Ipv6Addr>,
        _ => return None,
    })
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(|_| ()).map_err(|error| error.to_string())
}
