//! Text that is taken from a file as it stands there, whatever YAML would make of it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Document;
use crate::path::Path;
use crate::schema::{properties, resolve};

/// The value of `format` in the schema.
const FORMAT: &str = "outrigger-verbatim";

/// Text that needs no quotes in a file: `0403` stays `0403` and is no octal number, `00000001` keeps its zeros.
///
/// ```
/// use outrigger_config::{Layers, Verbatim};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Usb {
///     vendor: Verbatim,
/// }
/// let layers = Layers::new("USB").file("usb.yaml", b"vendor: 0403\n".to_vec());
/// assert_eq!(&*layers.load::<Usb>().unwrap().0.vendor, "0403");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(pub String);

impl Deref for Verbatim {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Verbatim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<&str> for Verbatim {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Verbatim {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Verbatim".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], "format": FORMAT})
    }
}

/// Puts the source text of every scalar in its place whose schema asks for it.
pub(crate) fn restore(root: &Value, schema: &Value, value: &mut Value, path: &Path, document: &Document) {
    let schema = resolve(root, schema);
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let below = properties(schema).and_then(|known| known.get(key));
                if let Some(below) = below.or_else(|| schema.get("additionalProperties")) {
                    restore(root, below, inner, &path.key(key), document);
                }
            }
        }
        Value::Array(values) => {
            let Some(items) = schema.get("items") else { return };
            for (index, inner) in values.iter_mut().enumerate() {
                restore(root, items, inner, &path.index(index), document);
            }
        }
        _ if schema.get("format").is_some_and(|format| format == FORMAT) => {
            if let Some(written) = document.written(path) {
                *value = Value::String(written.text);
            }
        }
        _ => (),
    }
}
