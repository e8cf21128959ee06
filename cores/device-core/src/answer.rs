//! What a container gets with its units: variables, nodes, mounts, annotations.
//!
//! The answer to two units is the union of the answers to each, in whatever order they are asked for: a kubelet asks once
//! for all that a container wants, and the names of variables hold the id, not a position.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::{Dialect, Resource};
use crate::unit::{Give, Part, Unit};

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Annotations of the container.
    pub annotations: BTreeMap<String, String>,
    /// Device nodes, or directories of such.
    pub nodes: BTreeSet<Node>,
    /// Bind mounts.
    pub mounts: BTreeSet<Mount>,
}

/// A device node of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// On the host; no link.
    pub host_path: String,
    /// In the container.
    pub container_path: String,
    /// A subset of `rwm`.
    pub permissions: String,
}

/// A bind mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// On the host.
    pub host_path: String,
    /// In the container.
    pub container_path: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// Answers for units of one resource.
///
/// Each unit of ours tells itself by `OUTRIGGER_DEVICE_<ID>_RESOURCE`, `_ID`, and where there are such `_PATH`, `_SERIAL` and
/// `_SIZE` (bytes), with the id in upper case and `_` for `-`. A variable that several units set holds their values in the
/// order of ids, with commas.
pub fn answer(resource: &Resource, units: &[&Unit]) -> Answer {
    let mut units = units.to_vec();
    units.sort_by(|a, b| a.id.cmp(&b.id));
    units.dedup_by(|a, b| a.id == b.id);
    let mut answer = Answer::default();
    for unit in units {
        for part in &unit.body.parts {
            answer.give(&part.give);
        }
        if resource.dialect == Dialect::Own {
            answer.tell(unit);
        }
        answer.fill_in(resource, unit);
    }
    answer
}

impl Answer {
    /// A node of this answer, which was given for these units once, that is not theirs now; and the unit that has moved.
    ///
    /// Units tell by their variables which node is whose. Without these all of them are compared together: a container is
    /// not told either then which of its nodes is which unit.
    pub fn lost<'a>(&'a self, units: &[&'a Unit]) -> Option<(&'a Unit, &'a str)> {
        let has = |unit: &Unit, node: &Node| unit.host_paths().any(|path| path == node.host_path);
        let own = units.iter().find_map(|unit| {
            let path = self.env.get(&variable(unit, PATH))?;
            let mut given = self.nodes.iter().filter(|node| node.container_path == *path).peekable();
            let first = *given.peek()?;
            (!given.any(|node| has(unit, node))).then_some((*unit, first))
        });
        let (unit, node) = own.or_else(|| {
            let node = self.nodes.iter().find(|node| !units.iter().any(|unit| has(unit, node)))?;
            let is_elsewhere = |unit: &&&Unit| !self.nodes.iter().any(|node| has(unit, node));
            Some((*units.iter().find(is_elsewhere).or(units.first())?, node))
        })?;
        Some((unit, &node.host_path))
    }

    fn give(&mut self, give: &Give) {
        match give.clone() {
            Give::Node { host_path, container_path, permissions } => {
                self.nodes.insert(Node { host_path, container_path, permissions });
            }
            Give::Mount { host_path, container_path, read_only } => {
                self.mounts.insert(Mount { host_path, container_path, read_only });
            }
            Give::Value { env: Some(name), value } => add(&mut self.env, name, &value),
            Give::Value { env: None, .. } => (),
        }
    }

    /// The variables that we set for each unit.
    fn tell(&mut self, unit: &Unit) {
        let Facts { path, serial, size, .. } = Facts::of(unit);
        let facts = [
            ("RESOURCE", Some(unit.body.resource.to_string())),
            ("ID", Some(unit.id.to_string())),
            (PATH, path.map(str::to_owned)),
            ("SERIAL", serial.map(str::to_owned)),
            ("SIZE", size.map(|size| size.to_string())),
        ];
        for (what, value) in facts {
            self.env.extend(value.map(|value| (variable(unit, what), value)));
        }
    }

    /// What the configuration adds.
    fn fill_in(&mut self, resource: &Resource, unit: &Unit) {
        let facts = Facts::of(unit);
        for (name, template) in &resource.env {
            add(&mut self.env, name.clone(), &facts.fill(template, facts.path));
        }
        for (name, template) in &resource.annotations {
            add(&mut self.annotations, name.clone(), &facts.fill(template, facts.path));
        }
        for mount in &resource.mounts {
            self.mounts.insert(Mount {
                host_path: facts.fill(&mount.host_path, facts.host_path),
                container_path: facts.fill(&mount.container_path, facts.path),
                read_only: mount.read_only,
            });
        }
    }
}

/// What of a unit its path is told as.
const PATH: &str = "PATH";

/// The variable that tells something of a unit.
fn variable(unit: &Unit, what: &str) -> String {
    let name = unit.id.to_uppercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    format!("OUTRIGGER_DEVICE_{name}_{what}")
}

/// A value beside those of other units, unless it is there already.
fn add(map: &mut BTreeMap<String, String>, name: String, value: &str) {
    let values = map.entry(name).or_default();
    if values.is_empty() {
        value.clone_into(values);
    } else if !values.split(',').any(|there| there == value) {
        values.push(',');
        values.push_str(value);
    }
}

/// What templates may name of a unit: of its first part that has it.
struct Facts<'u> {
    id: &'u str,
    /// In the container.
    path: Option<&'u str>,
    host_path: Option<&'u str>,
    serial: Option<&'u str>,
    size: Option<u64>,
    index: u32,
}

impl<'u> Facts<'u> {
    fn of(unit: &'u Unit) -> Self {
        let parts = || unit.body.parts.iter();
        let path = |part: &'u Part| match &part.give {
            Give::Node { container_path, .. } | Give::Mount { container_path, .. } => Some(container_path.as_str()),
            Give::Value { .. } => None,
        };
        Self {
            id: &unit.id,
            path: parts().find_map(path),
            host_path: parts().find_map(|part| part.give.host_path()),
            serial: parts().find_map(|part| part.serial.as_deref()),
            size: parts().find_map(|part| part.size),
            index: unit.replica,
        }
    }

    /// One pass, so that a serial number with braces in it stays what it is. What is not known is empty.
    fn fill(&self, template: &str, path: Option<&str>) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((word, after)) = after.split_once('}') else { break };
            match word {
                "id" => filled.push_str(self.id),
                "path" => filled.push_str(path.unwrap_or("")),
                "serial" => filled.push_str(self.serial.unwrap_or("")),
                "size" => filled.push_str(&self.size.map(|size| size.to_string()).unwrap_or_default()),
                "index" => filled.push_str(&self.index.to_string()),
                // Validation refuses others.
                _ => (),
            }
            rest = after;
        }
        filled + rest
    }
}
