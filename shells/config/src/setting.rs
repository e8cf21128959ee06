//! Every scalar of a configuration outside of lists is also a flag and an environment variable: this makes the list.

use serde_json::Value;

use crate::path::Path;
use crate::schema::{properties, resolve, types, words as listed_words};

/// Configurations nest a few levels; one that refers to itself ends here.
const MAX_NESTING: usize = 8;

/// What a setting's text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text as it stands.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// One scalar that can be set by flag and by environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Where it stands in the file: `log.level`.
    pub path: Path,
    /// The environment variable: `OUTRIGGER_RUN_LOG_LEVEL`.
    pub env: String,
    /// The flag without its dashes: `log-level`.
    pub flag: String,
    /// What its text becomes.
    pub kind: Kind,
    /// The words it may be, where these are listed.
    pub words: Vec<String>,
    /// What it is for, on one line.
    pub description: String,
    /// What holds where nobody sets it, as far as the schema says.
    pub default: Option<Value>,
}

/// The settings of a configuration, in the order of its schema. `prefix` begins the names of the variables
/// (`OUTRIGGER_RUN`).
///
/// ```
/// use outrigger_config::{Kind, scalars, schema};
///
/// #[derive(schemars::JsonSchema)]
/// #[schemars(rename_all = "camelCase")]
/// struct Run {
///     /// Where pods are kept.
///     state_dir: Option<String>,
///     hosts: Vec<String>,
/// }
/// let settings = scalars(&schema::<Run>(), "OUTRIGGER_RUN");
/// assert_eq!(settings.len(), 1);
/// assert_eq!(settings[0].env, "OUTRIGGER_RUN_STATE_DIR");
/// assert_eq!(settings[0].flag, "state-dir");
/// assert_eq!(settings[0].kind, Kind::Text);
/// assert_eq!(settings[0].description, "Where pods are kept.");
/// ```
pub fn scalars(schema: &Value, prefix: &str) -> Vec<Setting> {
    let mut walk = Walk { root: schema, prefix, settings: Vec::new() };
    walk.object(schema, &Path::default(), None);
    walk.settings
}

struct Walk<'s> {
    root: &'s Value,
    prefix: &'s str,
    settings: Vec<Setting>,
}

impl Walk<'_> {
    fn object(&mut self, schema: &Value, path: &Path, default: Option<&Value>) {
        let Some(properties) = properties(resolve(self.root, schema)) else { return };
        if path.steps().len() >= MAX_NESTING {
            return;
        }
        for (key, schema) in properties {
            let default = schema.get("default").or_else(|| default?.get(key)).filter(|default| !default.is_null());
            self.property(schema, &path.key(key), default);
        }
    }

    fn property(&mut self, schema: &Value, path: &Path, default: Option<&Value>) {
        let meant = resolve(self.root, schema);
        let words = listed_words(self.root, meant).unwrap_or_default();
        let types = types(meant);
        let has = |name: &str| types.contains(&name);
        let kind = match () {
            () if has("object") || has("array") => return self.object(meant, path, default),
            () if has("string") || !words.is_empty() => Kind::Text,
            () if has("number") => Kind::Number,
            () if has("integer") => Kind::Integer,
            () if has("boolean") => Kind::Boolean,
            () => return,
        };
        let description = [schema, meant].iter().find_map(|schema| schema.get("description")?.as_str());
        let description = description.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let names = path.to_string();
        let flag = words_of_path(&names).join("-");
        let env = format!("{}_{}", self.prefix, words_of_path(&names).join("_").to_uppercase());
        let default = default.cloned();
        self.settings.push(Setting { path: path.clone(), env, flag, kind, words, description, default });
    }
}

fn words_of_path(path: &str) -> Vec<String> {
    path.split(|c: char| !c.is_alphanumeric()).flat_map(words).collect()
}

/// The words of a camelCase name, in lower case: `podIPRange` is pod, ip, range.
pub(crate) fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    for (place, &letter) in letters.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| letters[before]);
        let ends_capitals = letters.get(place + 1).is_some_and(|next| next.is_lowercase());
        let begins = match before {
            None => true,
            Some(before) => letter.is_uppercase() && (!before.is_uppercase() || ends_capitals),
        };
        if begins {
            words.push(String::new());
        }
        words.last_mut().expect("the first letter begins a word").extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_case_splits_into_words() {
        for (name, expected) in [
            ("stateDir", "state dir"),
            ("podIP", "pod ip"),
            ("podIPRange", "pod ip range"),
            ("tls", "tls"),
            ("maxSize2", "max size2"),
            ("v1Config", "v1 config"),
            ("RunConfig", "run config"),
            ("", ""),
        ] {
            assert_eq!(words(name).join(" "), expected);
        }
    }
}
