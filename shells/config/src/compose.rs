//! From a reader's events to a document: maps, lists, keys, aliases, merges, and the bounds on them.
//!
//! Both readers, of YAML and of JSON, speak to this one builder, so that both have the same faults for the same
//! mistakes. It keeps going after a fault that leaves the shape of the text clear.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use serde_json::{Map, Value};

use crate::document::{Document, Inside, MAX_DEPTH, MAX_EXPANSION, Node};
use crate::fault::{Fault, Faults, Position, Severity};
use crate::path::{Path, Step};
use crate::scalar::Scalar;

/// More faults than this in one text help nobody.
const MAX_FAULTS: usize = 100;

/// What [`MAX_EXPANSION`] counts for one value.
const VALUE_COST: usize = 64;

/// So many steps of the path of what is too deep are shown.
const SHOWN_STEPS: usize = 8;

/// The reader cannot go on; why is among the builder's faults.
#[derive(Debug)]
pub(crate) struct Stopped;

/// A scalar as a reader found it.
pub(crate) struct Leaf<'t> {
    /// What it means, or what is wrong with it.
    pub(crate) meaning: Result<Scalar, String>,
    /// Its text without quotes.
    pub(crate) text: &'t str,
    pub(crate) quoted: bool,
    /// As a key, it merges the maps that stand as its value.
    pub(crate) merges: bool,
    pub(crate) at: Position,
}

/// A value with its places.
#[derive(Clone)]
struct Built {
    value: Value,
    node: Node,
}

/// A map or list that is not closed yet.
enum Open {
    List { at: Position, anchor: usize, values: Vec<Value>, nodes: Vec<Node> },
    Map { at: Position, anchor: usize, values: Map<String, Value>, nodes: BTreeMap<String, Node>, key: Key },
}

/// What a map waits for.
enum Key {
    /// A key comes next.
    Wanted,
    /// The value of this key comes next.
    Read(String, Position),
    /// Maps to merge come next.
    Merge(Position),
}

/// Builds the documents of one text.
pub(crate) struct Builder<'f> {
    file: &'f str,
    documents: Vec<Document>,
    faults: Faults,
    open: Vec<Open>,
    /// Values with anchors, by the reader's number of the anchor; kept only where the text has aliases at all.
    anchors: Option<HashMap<usize, Built>>,
    expanded: usize,
}

impl<'f> Builder<'f> {
    pub(crate) fn new(file: &'f str, aliases: bool) -> Self {
        let anchors = aliases.then(HashMap::new);
        Self { file, documents: Vec::new(), faults: Faults::default(), open: Vec::new(), anchors, expanded: 0 }
    }

    /// Every document, or every fault.
    pub(crate) fn finish(self) -> Result<Vec<Document>, Faults> {
        if self.faults.has_errors() { Err(self.faults) } else { Ok(self.documents) }
    }

    /// Reports what makes reading on impossible.
    pub(crate) fn stop(&mut self, at: Position, message: impl Into<String>, help: &str) -> Stopped {
        self.faults.push(Fault::error(self.file, message).at(at).path(self.path()).help(help));
        Stopped
    }

    pub(crate) fn scalar(&mut self, leaf: Leaf<'_>, anchor: usize) -> Result<(), Stopped> {
        if let Some(Open::Map { key: key @ Key::Wanted, .. }) = self.open.last_mut()
            && leaf.merges
        {
            *key = Key::Merge(leaf.at);
            return Ok(());
        }
        let as_key = self.wants_key();
        let read = |meaning: Scalar| if as_key { meaning.into_key().map(Value::String) } else { meaning.into_value() };
        let value = match leaf.meaning.and_then(read) {
            Ok(value) => value,
            Err(message) => {
                self.report(leaf.at, message, "put it in quotes if it is meant as text")?;
                Value::String(leaf.text.to_owned())
            }
        };
        if let (true, Value::String(key)) = (as_key && !leaf.text.is_empty(), &value)
            && matches!(key.as_str(), "true" | "false")
            && key != leaf.text
        {
            let fault = Fault::warning(self.file, format!("the key {:?} reads as {key:?}", leaf.text));
            self.add(fault.at(leaf.at).path(self.path()).help("put it in quotes"))?;
        }
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned) == leaf.text;
        let plain = (!shown).then(|| leaf.text.into());
        let node =
            Node { key: None, value: leaf.at, quoted: leaf.quoted, merged: false, plain, inside: Inside::Scalar };
        self.close(Built { value, node }, anchor)
    }

    pub(crate) fn open_list(&mut self, at: Position, anchor: usize) -> Result<(), Stopped> {
        self.push(at, Open::List { at, anchor, values: Vec::new(), nodes: Vec::new() })
    }

    pub(crate) fn open_map(&mut self, at: Position, anchor: usize) -> Result<(), Stopped> {
        let (values, nodes) = (Map::new(), BTreeMap::new());
        self.push(at, Open::Map { at, anchor, values, nodes, key: Key::Wanted })
    }

    fn push(&mut self, at: Position, open: Open) -> Result<(), Stopped> {
        if self.wants_key() {
            let help = "a key must be text; put it in quotes, or render the template first if it is one";
            return Err(self.stop(at, "a map or list stands where a key is expected", help));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        self.open.push(open);
        Ok(())
    }

    pub(crate) fn too_deep(&mut self, at: Position) -> Stopped {
        let path: Path = self.path().steps().iter().take(SHOWN_STEPS).cloned().collect();
        let message = format!("maps and lists lie deeper than {MAX_DEPTH} in each other");
        self.faults.push(Fault::error(self.file, message).at(at).path(path).help("flatten the text"));
        Stopped
    }

    /// Closes the innermost map or list.
    pub(crate) fn end(&mut self) -> Result<(), Stopped> {
        let (at, anchor, value, inside) = match self.open.pop().expect("a reader closes only what it opened") {
            Open::List { at, anchor, mut values, nodes } => {
                values.shrink_to_fit();
                (at, anchor, Value::Array(values), Inside::List(nodes.into()))
            }
            Open::Map { at, anchor, values, nodes, .. } => (at, anchor, Value::Object(values), Inside::of_map(nodes)),
        };
        let node = Node { key: None, value: at, quoted: false, merged: false, plain: None, inside };
        self.close(Built { value, node }, anchor)
    }

    /// Puts a copy of the anchored value here.
    pub(crate) fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Stopped> {
        let anchored = self.anchors.as_ref().and_then(|anchors| anchors.get(&anchor));
        let Some(extent) = anchored.map(|built| extent(&built.value)) else {
            return Err(self.stop(at, "the alias stands inside the value that it names", "write the value out"));
        };
        if self.open.len() + extent.depth > MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        self.charge(extent, at)?;
        let mut built = self.anchors.as_ref().and_then(|anchors| anchors.get(&anchor)).cloned().expect("found above");
        built.node.value = at;
        if self.wants_key() {
            built.value = match built.value {
                text @ Value::String(_) => text,
                Value::Bool(_) | Value::Number(_) => Value::String(built.value.to_string()),
                _ => return Err(self.stop(at, "the alias names no text, so it cannot be a key", "write the key out")),
            };
        }
        self.close(built, 0)
    }

    /// Gives a finished value to what it stands in.
    fn close(&mut self, built: Built, anchor: usize) -> Result<(), Stopped> {
        if anchor > 0 && self.anchors.is_some() {
            self.charge(extent(&built.value), built.node.value)?;
            self.anchors.get_or_insert_default().insert(anchor, built.clone());
        }
        let key = match self.open.last_mut() {
            None => {
                self.add_document(built);
                return Ok(());
            }
            Some(Open::List { values, nodes, .. }) => {
                values.push(built.value);
                nodes.push(built.node);
                return Ok(());
            }
            Some(Open::Map { key, .. }) => mem::replace(key, Key::Wanted),
        };
        match key {
            Key::Wanted => {
                self.read_key(built);
                Ok(())
            }
            Key::Read(name, at) => self.insert(name, at, built),
            Key::Merge(at) => self.merge(built, at),
        }
    }

    fn add_document(&mut self, built: Built) {
        if built.value.is_null() {
            return;
        }
        let (warnings, errors) =
            mem::take(&mut self.faults).into_iter().partition::<Vec<_>, _>(|fault| fault.severity == Severity::Warning);
        self.faults = errors.into_iter().collect();
        self.documents.push(Document::new(self.file, built.value, built.node, warnings.into_iter().collect()));
    }

    fn read_key(&mut self, built: Built) {
        let Value::String(name) = built.value else { return };
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = Key::Read(name, built.node.value);
        }
    }

    /// Puts a value under a key that is written out: it may replace one that was merged, and no other.
    fn insert(&mut self, name: String, at: Position, mut built: Built) -> Result<(), Stopped> {
        let Some(Open::Map { values, nodes, .. }) = self.open.last_mut() else { return Ok(()) };
        if let Some(first) = nodes.get(&name).filter(|kept| !kept.merged) {
            let first = first.key.unwrap_or(first.value);
            let message = format!("this key stands twice in one map, first at {first}");
            let path = self.path().key(name);
            return self.add(Fault::error(self.file, message).at(at).path(path).help("remove one of the two"));
        }
        built.node.key = Some(at);
        values.insert(name.clone(), built.value);
        nodes.insert(name, built.node);
        Ok(())
    }

    /// Merges a map, or a list of maps of which the first has the last word (go-yaml, `decoder.merge`).
    fn merge(&mut self, built: Built, at: Position) -> Result<(), Stopped> {
        let maps = match (built.value, built.node.inside) {
            (Value::Object(values), Inside::Map(nodes)) => vec![(values, nodes)],
            (Value::Array(values), Inside::List(nodes)) => {
                let map = |(value, node): (Value, Node)| match (value, node.inside) {
                    (Value::Object(values), Inside::Map(nodes)) => Some((values, nodes)),
                    _ => None,
                };
                match values.into_iter().zip(nodes).rev().map(map).collect() {
                    Some(maps) => maps,
                    None => return self.report(at, NO_MAP, "name a map with it, as in `<<: *name`"),
                }
            }
            _ => return self.report(at, NO_MAP, "name a map with it, as in `<<: *name`"),
        };
        for (mut merged_values, merged_nodes) in maps {
            for (name, node) in merged_nodes {
                let name = String::from(name);
                let Some(value) = merged_values.remove(&name) else { continue };
                self.merge_value(name, at, Built { value, node })?;
            }
        }
        Ok(())
    }

    /// One merged value. Other than YAML wants it, go-yaml lets it replace a key that is written out further up.
    fn merge_value(&mut self, name: String, at: Position, mut built: Built) -> Result<(), Stopped> {
        let Some(Open::Map { values, nodes, .. }) = self.open.last_mut() else { return Ok(()) };
        let replaces = nodes.get(&name).is_some_and(|kept| !kept.merged);
        built.node.merged = !replaces;
        values.insert(name.clone(), built.value);
        nodes.insert(name.clone(), built.node);
        if replaces {
            let message = "the merge (`<<`) below this key replaces its value, as kubectl reads it";
            let fault = Fault::warning(self.file, message).at(at).path(self.path().key(name));
            return self.add(fault.help("put the merge first if the key is to win"));
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: Key::Wanted, .. }))
    }

    /// Counts what a copy adds.
    fn charge(&mut self, extent: Extent, at: Position) -> Result<(), Stopped> {
        self.expanded = self.expanded.saturating_add(extent.bytes);
        if self.expanded > MAX_EXPANSION {
            let message = format!("anchors and aliases make the text larger than {MAX_EXPANSION} bytes");
            return Err(self.stop(at, message, "write out what is meant, without aliases of aliases"));
        }
        Ok(())
    }

    fn report(&mut self, at: Position, message: impl Into<String>, help: &str) -> Result<(), Stopped> {
        self.add(Fault::error(self.file, message).at(at).path(self.path()).help(help))
    }

    fn add(&mut self, fault: Fault) -> Result<(), Stopped> {
        self.faults.push(fault);
        if self.faults.len() < MAX_FAULTS {
            return Ok(());
        }
        self.faults.push(Fault::error(self.file, format!("more than {MAX_FAULTS} faults, the rest is not shown")));
        Err(Stopped)
    }

    /// The path of what is being read.
    fn path(&self) -> Path {
        let step = |open: &Open| match open {
            Open::List { values, .. } => Some(Step::Index(values.len())),
            Open::Map { key: Key::Read(name, _), .. } => Some(Step::Key(name.clone())),
            Open::Map { .. } => None,
        };
        self.open.iter().filter_map(step).collect()
    }
}

const NO_MAP: &str = "the merge key `<<` takes a map or a list of maps";

/// How much a value is: in bytes as [`MAX_EXPANSION`] counts them, and in levels of maps and lists.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    depth: usize,
}

/// Values are never deeper than [`MAX_DEPTH`], so this may call itself.
fn extent(value: &Value) -> Extent {
    let around = |inner: Extent, (text, value): (usize, &Value)| {
        let below = extent(value);
        Extent { bytes: inner.bytes + text + below.bytes, depth: inner.depth.max(below.depth + 1) }
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Extent { bytes: VALUE_COST, depth: 0 },
        Value::String(text) => Extent { bytes: VALUE_COST + text.len(), depth: 0 },
        Value::Array(values) => {
            values.iter().map(|value| (0, value)).fold(Extent { bytes: VALUE_COST, depth: 1 }, around)
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.len(), value));
            entries.fold(Extent { bytes: VALUE_COST, depth: 1 }, around)
        }
    }
}
