//! The located document: a JSON value, and for each value in it where it stands in the text and how it was written.
//!
//! A document is read once ([`read`]); checks work on its value with paths alone, and join the places back to what
//! they found ([`Document::fault`]). Nothing here knows what the values mean.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fault::{Fault, Faults, Position};
use crate::path::{Path, Step};
use crate::{json, text, yaml};

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 16 << 20;

/// The deepest that maps and lists may lie in each other.
pub const MAX_DEPTH: usize = 128;

/// What aliases (`*name`) and merges may add to the documents of one text, in bytes: a value counts as 64 bytes, and
/// its keys and text as they are long.
pub const MAX_EXPANSION: usize = 64 << 20;

/// One document of a text.
#[derive(Clone, Debug)]
pub struct Document {
    file: String,
    value: Value,
    node: Node,
    warnings: Faults,
}

/// How a scalar stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its characters, without quotes and escapes: `yes`, `0644`, `1e3`.
    pub text: String,
    /// Whether it stands in quotes or as a block (`|`, `>`), so that it is text whatever it says.
    pub quoted: bool,
}

/// Where a value stands, with what is inside of it; of the same shape as the value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The place of its key; nothing in lists and at the top.
    pub(crate) key: Option<Position>,
    pub(crate) value: Position,
    pub(crate) quoted: bool,
    /// Came with a merge key (`<<`), so that a key written out may replace it.
    pub(crate) merged: bool,
    /// The plain text of a scalar, where its value does not show it.
    pub(crate) plain: Option<Box<str>>,
    pub(crate) inside: Inside,
}

#[derive(Clone, Debug)]
pub(crate) enum Inside {
    Scalar,
    /// In the order of the keys; a tree for each map would take several times the memory.
    Map(Box<[(Box<str>, Node)]>),
    List(Box<[Node]>),
}

impl Inside {
    pub(crate) fn of_map(nodes: BTreeMap<String, Node>) -> Self {
        Self::Map(nodes.into_iter().map(|(key, node)| (key.into_boxed_str(), node)).collect())
    }

    fn under(&self, key: &str) -> Option<&Node> {
        let Self::Map(nodes) = self else { return None };
        nodes.binary_search_by(|(other, _)| (**other).cmp(key)).ok().map(|place| &nodes[place].1)
    }
}

/// Reads every document of a text that is YAML or JSON. Documents without content are left out.
///
/// `file` is the name for the reports. Scalars are read as kubectl reads them (YAML 1.1: `0644` is octal, `yes` is a
/// boolean), keys become strings, aliases and merge keys are resolved. Anything kubectl would read differently from how
/// it looks, such as a key that appears twice, is a fault.
///
/// ```
/// let documents = outrigger_config::read("pod.yaml", b"kind: Pod\nspec: {mode: 0644}\n").unwrap();
/// assert_eq!(documents[0].value()["spec"]["mode"], 420);
///
/// let faults = outrigger_config::read("pod.yaml", b"kind: Pod\nkind: Job\n").unwrap_err();
/// assert_eq!(
///     faults.to_string(),
///     "pod.yaml:2:1: kind: this key stands twice in one map, first at 1:1, remove one of the two",
/// );
/// ```
///
/// # Errors
/// The faults of the text: no UTF-8, no YAML, too long, too deep, too much expanded, keys twice.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Faults> {
    let text = text::check(file, bytes)?;
    if !text::starts_as_json(text) {
        return yaml::read(file, text);
    }
    // YAML's flow style starts alike, and JSON has escapes that YAML does not know; so the one is tried after the other.
    // Where both refuse, a text that began with keys in quotes was meant as JSON.
    json::read(file, text).or_else(|broken| {
        if !broken.syntax {
            return Err(broken.faults);
        }
        yaml::read(file, text).map_err(|faults| if broken.keys { broken.faults } else { faults })
    })
}

impl Document {
    pub(crate) fn new(file: &str, value: Value, node: Node, warnings: Faults) -> Self {
        Self { file: file.to_owned(), value, node, warnings }
    }

    /// The name that [`read`] was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The document as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What was read although it looks wrong.
    pub fn warnings(&self) -> &Faults {
        &self.warnings
    }

    /// Where the value at `path` begins; where there is no such value, the nearest one above it.
    pub fn position(&self, path: &Path) -> Position {
        self.walk(path).0.value
    }

    /// Where the key of the value at `path` begins; in lists and at the top, the value itself; where there is no such
    /// value, the nearest one above it.
    pub fn key_position(&self, path: &Path) -> Position {
        let node = self.walk(path).0;
        node.key.unwrap_or(node.value)
    }

    /// How the scalar at `path` was written; nothing for maps, lists and paths that lead nowhere.
    ///
    /// ```
    /// use outrigger_config::read;
    ///
    /// let documents = read("pod.yaml", b"value: yes").unwrap();
    /// assert_eq!(documents[0].value()["value"], true);
    /// let written = documents[0].written(&"value".parse().unwrap()).unwrap();
    /// assert_eq!((written.text.as_str(), written.quoted), ("yes", false));
    /// ```
    pub fn written(&self, path: &Path) -> Option<Written> {
        let (node, found) = self.walk(path);
        let text = match (found?, &node.plain) {
            (Value::Array(_) | Value::Object(_), _) => return None,
            (_, Some(plain)) => plain.to_string(),
            (Value::String(text), None) => text.clone(),
            (value, None) => value.to_string(),
        };
        Some(Written { text, quoted: node.quoted })
    }

    /// An error about the value at `path`, with its place.
    pub fn fault(&self, path: &Path, message: impl Into<String>) -> Fault {
        Fault::error(&self.file, message).at(self.position(path)).path(path)
    }

    /// An error about the key at the end of `path`, with the key's place.
    pub fn key_fault(&self, path: &Path, message: impl Into<String>) -> Fault {
        Fault::error(&self.file, message).at(self.key_position(path)).path(path)
    }

    /// Whether a value is written at `path`.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.walk(path).1.is_some()
    }

    /// The node at `path` with its value, or the deepest node on the way and no value.
    fn walk(&self, path: &Path) -> (&Node, Option<&Value>) {
        let (mut node, mut value) = (&self.node, &self.value);
        for step in path.steps() {
            let below = match (&node.inside, value, step) {
                (Inside::List(nodes), Value::Array(values), Step::Index(index)) => {
                    nodes.get(*index).zip(values.get(*index))
                }
                (inside, Value::Object(values), Step::Key(key)) => inside.under(key).zip(values.get(key)),
                // Written in brackets, a key of digits reads as an index.
                (inside, Value::Object(values), Step::Index(index)) => {
                    let key = index.to_string();
                    inside.under(&key).zip(values.get(&key))
                }
                _ => None,
            };
            let Some(below) = below else { return (node, None) };
            (node, value) = below;
        }
        (node, Some(value))
    }
}
