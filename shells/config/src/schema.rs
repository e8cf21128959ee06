//! The published JSON Schema of a configuration, and how to find one's way in it.
//!
//! The schema is the one description of a configuration: what is checked, which flags and variables there are, and
//! what `outrigger schema` prints all come from it.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// More references than this in a row are a circle.
const MAX_REFERENCES: usize = 32;

/// The JSON Schema of `T` (draft 2020-12), the same at every call.
///
/// Objects with named properties allow no others, as [`crate::Layers`] does, and `$id` is a URN: it names the schema and
/// no machine.
///
/// ```
/// #[derive(schemars::JsonSchema)]
/// #[schemars(rename_all = "camelCase", title = "Run")]
/// struct Run {
///     /// Where pods are kept.
///     state_dir: String,
/// }
/// let schema = outrigger_config::schema::<Run>();
/// assert_eq!(schema["$id"], "urn:outrigger:schema:run");
/// assert_eq!(schema["properties"]["stateDir"]["description"], "Where pods are kept.");
/// assert_eq!(schema["additionalProperties"], false);
/// ```
pub fn schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    join_references(&mut schema, &definitions);
    close(&mut schema);
    if let Value::Object(top) = &mut schema {
        let title = top.get("title").and_then(Value::as_str).unwrap_or_default();
        let id = format!("urn:outrigger:schema:{}", crate::setting::words(title).join("-"));
        top.entry("$id").or_insert(Value::String(id));
    }
    schema
}

/// The schemas that stand directly in a schema.
fn below(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let parts = schema.as_object_mut().into_iter().flatten();
    parts.flat_map(|(part, inner)| match (part.as_str(), inner) {
        ("properties" | "patternProperties" | "$defs", Value::Object(named)) => named.values_mut().collect::<Vec<_>>(),
        ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(choices)) => choices.iter_mut().collect(),
        ("items" | "additionalProperties" | "not", inner) => vec![inner],
        _ => Vec::new(),
    })
}

/// A tagged choice that wraps a struct refers to it beside the tag. Puts the struct's keys there instead: two parts
/// that each allow no other keys could never both hold.
fn join_references(schema: &mut Value, definitions: &Map<String, Value>) {
    below(schema).for_each(|inner| join_references(inner, definitions));
    let Some(map) = schema.as_object_mut().filter(|map| map.contains_key("properties")) else { return };
    let name = map.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
    let Some(Value::Object(referred)) = name.and_then(|name| definitions.get(name)) else { return };
    map.remove("$ref");
    for (part, inner) in referred {
        match (map.get_mut(part), inner) {
            (Some(Value::Object(own)), Value::Object(more)) => {
                own.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (Some(Value::Array(own)), Value::Array(more)) => own.extend(more.iter().cloned()),
            (Some(_), _) => (),
            (None, inner) => {
                map.insert(part.clone(), inner.clone());
            }
        }
    }
}

/// Unknown keys are errors: says so in each object that names its keys, unless it is put together from several.
fn close(schema: &mut Value) {
    below(schema).for_each(close);
    let Some(map) = schema.as_object_mut() else { return };
    let whole = !["allOf", "anyOf", "oneOf", "$ref"].iter().any(|part| map.contains_key(*part));
    if whole && map.contains_key("properties") {
        map.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

/// The schema that is meant: references followed, and `null` beside one other choice left out, since a key without a
/// value counts as not written.
pub(crate) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut schema = schema;
    for _ in 0..MAX_REFERENCES {
        let next = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)),
            None => only_choice(schema),
        };
        let Some(next) = next else { break };
        schema = next;
    }
    schema
}

fn only_choice(schema: &Value) -> Option<&Value> {
    let choices = ["allOf", "anyOf", "oneOf"].iter().find_map(|part| schema.get(part)?.as_array())?;
    let mut real = choices.iter().filter(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    real.next().filter(|_| real.next().is_none())
}

/// The names in `type`, without `null`; empty where the schema does not say.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => Vec::new(),
    }
}

/// The texts that a value may have, where the schema lists them: `enum`, `const`, or a choice of such.
pub(crate) fn words(root: &Value, schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(word) = schema.get("const") {
        return text(word).map(|word| vec![word]);
    }
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return listed.iter().filter(|value| !value.is_null()).map(text).collect();
    }
    let choices = ["anyOf", "oneOf"].iter().find_map(|part| schema.get(part)?.as_array())?;
    let mut words = Vec::new();
    for choice in choices.iter().filter(|choice| choice.get("type").is_none_or(|kind| kind != "null")) {
        let resolved = resolve(root, choice);
        if std::ptr::eq(resolved, schema) {
            return None;
        }
        let listed = ["const", "enum", "oneOf", "anyOf"].iter().any(|part| resolved.get(part).is_some());
        words.extend(listed.then(|| words_of_choice(root, resolved)).flatten()?);
    }
    (!words.is_empty()).then_some(words)
}

/// One level only: a choice of choices of choices is no list of words that serde knows.
fn words_of_choice(root: &Value, schema: &Value) -> Option<Vec<String>> {
    let flat = |choice: &Value| choice.get("const").is_some() || choice.get("enum").is_some();
    let choices = ["anyOf", "oneOf"].iter().find_map(|part| schema.get(part)?.as_array());
    match choices {
        Some(choices) if !choices.iter().all(flat) => None,
        _ => words(root, schema),
    }
}

/// The named properties of an object.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}
