//! Units of paths, combined as generic-device-plugin does, and slots without a device.

use std::collections::BTreeMap;

use super::nodes::{node_footprint, usb_footprint};
use super::{Against, Footprint, Known, Made, Scene};
use crate::decide::{Reason, Status};
use crate::gdp::{self, Matches};
use crate::hold::{Hold, Node};
use crate::ids::{Kind, short};
use crate::picture::{Above, NodeKind, PathMatch};
use crate::rules::{CountedRule, Group, PathKind, PathPattern, PathRule};
use crate::unit::{Expected, Give, Part, Sort};

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Scene<'_> {
    pub(super) fn paths(&mut self, resource: &str, group: &Group, rules: &[PathRule]) -> Vec<Made> {
        let picture = self.input.picture;
        let sorted: Vec<BTreeMap<&str, &PathMatch>> = rules
            .iter()
            .map(|rule| {
                let found = picture.found.get(&rule.path).map_or(&[][..], Vec::as_slice);
                let there = found.iter().filter(|it| it.kind != NodeKind::Nothing);
                there.map(|it| (it.path.as_str(), it)).collect()
            })
            .collect();
        let texts: Vec<Vec<&str>> = sorted.iter().map(|matches| matches.keys().copied().collect()).collect();
        let matches: Vec<Matches<'_>> = (rules.iter().zip(&texts))
            .map(|(rule, paths)| Matches { paths, limit: rule.limit, optional: rule.optional })
            .collect();
        let units = gdp::units(&matches);
        if units.is_empty() {
            self.note_unused(rules, &sorted);
        }
        let mut made = Vec::new();
        for (number, parts) in units.into_iter().enumerate() {
            let chosen = parts.iter().map(|(path, place)| Chosen {
                rule: &rules[*path],
                found: sorted[*path][texts[*path][*place]],
                turn: u32::try_from(number / texts[*path].len()).unwrap_or(u32::MAX),
            });
            made.push(self.path_unit(resource, (group, rules), &chosen.collect::<Vec<_>>()));
        }
        made
    }

    fn path_unit(&mut self, resource: &str, of: (&Group, &[PathRule]), chosen: &[Chosen<'_>]) -> Made {
        let (group, rules) = of;
        let mut footprint = Footprint::default();
        let mut parts = Vec::new();
        for Chosen { rule, found, turn } in chosen {
            let mut part = part(rule, found);
            // A mount is no device: other resources may have it too.
            part.hold = Hold::of_identity(short(Kind::Path, &format!("{resource}\0{}", found.path)));
            if rule.kind == PathKind::Device {
                let (hold, taken) = self.taken(found);
                footprint.join(taken);
                part.hold = hold;
            }
            part.hold.turn = (*turn, rule.limit.max(1));
            if let (Some(permissions), Give::Node { permissions: own, .. }) = (&group.permissions, &mut part.give) {
                own.clone_from(permissions);
            }
            parts.push(part);
        }
        footprint.is_limited = rules.iter().any(|rule| rule.limit > 1);
        let identity = identity(rules, chosen);
        Made { parts, identity, numa: Vec::new(), against: Against::default(), footprint }
    }

    /// What is at a path takes up what it is, whatever it is called there.
    fn taken(&mut self, found: &PathMatch) -> (Hold, Footprint) {
        let (footprint, path) = (take(found), &found.resolved);
        let node = Node::of(found.kind);
        match node.and_then(|node| self.known.get(&node).copied()) {
            Some(Known::Disk(view)) => {
                self.has_matched(Kind::Block, view.name());
                (self.disk_hold(view), self.disk_footprint(view))
            }
            Some(Known::Node(known)) => {
                self.has_matched(Kind::Node, &known.name);
                (self.node_hold(known), node_footprint(known))
            }
            Some(Known::Usb(usb)) => {
                self.has_matched(Kind::Usb, &usb.name);
                (Hold::of_node(node, path, Some(self.usb_lock(usb))), usb_footprint(usb))
            }
            None => match found.kind {
                NodeKind::Character(_) | NodeKind::Block(_) => self.part_of_others(node, path, footprint),
                NodeKind::Directory => (Hold::of_directory(path), footprint),
                NodeKind::Other | NodeKind::Nothing => (Hold::of_identity(short(Kind::Path, path)), footprint),
            },
        }
    }

    /// A node of another kind, and a part of what it belongs to.
    fn part_of_others(&self, node: Option<Node>, path: &str, footprint: Footprint) -> (Hold, Footprint) {
        let above = node.and_then(|node| self.input.picture.above.get(&node)).into_iter().flatten();
        above.fold((Hold::of_node(node, path, None), footprint), |(hold, footprint), Above { node, name }| {
            let kind = if node.is_block { "disk" } else { "usb" };
            (hold.and_of(Some(*node)), footprint.and_part(kind, name))
        })
    }

    /// A group without units says what it lacks, at each match that it has.
    fn note_unused(&mut self, rules: &[PathRule], sorted: &[BTreeMap<&str, &PathMatch>]) {
        let lacking = rules.iter().zip(sorted).find(|(rule, matches)| !rule.optional && matches.is_empty());
        let Some((lacking, _)) = lacking else { return };
        let wanted = match &lacking.path {
            crate::rules::PathPattern::Glob(text) | crate::rules::PathPattern::Regex(text) => text.clone(),
        };
        for (rule, matches) in rules.iter().zip(sorted) {
            for found in matches.values() {
                let part = part(rule, found);
                let reason = Reason::NotSelected { key: "group", seen: "not whole".to_owned(), wanted: wanted.clone() };
                self.other(&[part], Status::Withheld, &[reason]);
            }
        }
    }
}

/// A match of a rule, in one unit.
struct Chosen<'c> {
    rule: &'c PathRule,
    found: &'c PathMatch,
    /// How many units have it before this one.
    turn: u32,
}

/// What of it the unit is known by: an optional path comes and goes, and the unit is the same. That holds where its other paths
/// tell it from all units of its group, since one of them is used once, and where no optional one could move between units,
/// since each is a plain path.
fn identity(rules: &[PathRule], chosen: &[Chosen<'_>]) -> String {
    let is_needed = |chosen: &Chosen<'_>| !chosen.rule.optional;
    let is_told_by_needed = chosen.iter().any(|chosen| is_needed(chosen) && chosen.rule.limit <= 1)
        && rules.iter().filter(|rule| rule.optional).all(|rule| is_plain(&rule.path));
    let known_by = chosen.iter().filter(|chosen| !is_told_by_needed || is_needed(chosen));
    known_by.map(|chosen| chosen.found.path.as_str()).collect::<Vec<_>>().join("\0")
}

/// Whether a pattern can only match itself.
fn is_plain(pattern: &PathPattern) -> bool {
    matches!(pattern, PathPattern::Glob(text) if !text.contains(['*', '?', '[', '\\']))
}

fn take(found: &PathMatch) -> Footprint {
    let footprint = match found.kind {
        NodeKind::Character(number) => Footprint::character(number),
        NodeKind::Block(number) => Footprint::block(number),
        NodeKind::Directory => Footprint::default().and_whole("directory", &found.resolved),
        NodeKind::Other | NodeKind::Nothing => Footprint::default().and_whole("file", &found.resolved),
    };
    footprint.and_directories(&found.resolved)
}

fn part(rule: &PathRule, found: &PathMatch) -> Part {
    let container_path = match rule.mount_path.as_deref() {
        None => found.path.clone(),
        Some(directory) if directory.ends_with('/') => format!("{directory}{}", base_name(&found.path)),
        Some(path) => path.to_owned(),
    };
    let host_path = found.resolved.clone();
    let give = match rule.kind {
        PathKind::Device => Give::Node { host_path, container_path, permissions: rule.permissions.clone() },
        // What a link leads to may change while the pod runs; a mount follows the path that was asked for.
        PathKind::Mount => Give::Mount { host_path: found.path.clone(), container_path, read_only: rule.read_only },
    };
    Part {
        kind: Kind::Path,
        name: found.path.clone(),
        identity: found.path.clone(),
        is_weak: false,
        hold: Hold::default(),
        give,
        expected: Expected::Path { path: found.path.clone(), sort: sort_of(found.kind) },
        serial: None,
        size: None,
        controller: String::new(),
    }
}

/// What sort of thing is there.
pub(super) fn sort_of(kind: NodeKind) -> Sort {
    match kind {
        NodeKind::Character(_) => Sort::Character,
        NodeKind::Block(_) => Sort::Block,
        NodeKind::Directory => Sort::Directory,
        NodeKind::Other | NodeKind::Nothing => Sort::Other,
    }
}

/// Slots: their values, or their numbers.
pub(super) fn counted(resource: &str, rule: &CountedRule) -> Vec<Made> {
    let slot = |value: String, env: &Option<String>| {
        let part = Part {
            kind: Kind::Counted,
            name: value.clone(),
            identity: value.clone(),
            is_weak: false,
            hold: Hold::of_identity(short(Kind::Counted, &format!("{resource}\0{value}"))),
            give: Give::Value { env: env.clone(), value: value.clone() },
            expected: Expected::Nothing,
            serial: None,
            size: None,
            controller: String::new(),
        };
        let (against, footprint) = (Against::default(), Footprint::default());
        Made { parts: vec![part], identity: value, numa: Vec::new(), against, footprint }
    };
    match rule {
        CountedRule::Count { count, env } => (0..*count).map(|number| slot(number.to_string(), env)).collect(),
        CountedRule::Values { values, env } => values.iter().map(|value| slot(value.clone(), env)).collect(),
    }
}
