//! Looks at the machine: what the host shows, as the picture that decisions are by.
//!
//! What it does not do: it remembers nothing and judges nothing.

mod behind;
mod changes;
mod convert;

use std::collections::BTreeSet;
use std::fs;

use outrigger_device_core::pattern::Pattern;
use outrigger_device_core::picture::{BlockDevice, PathMatch, Picture};
use outrigger_device_core::rules::{Child, Group, PathPattern, Rules, Select};
use outrigger_device_core::unit::{Expected, Unit};
use outrigger_host::devices::{Roots, Scope, expand, look, path, probe};

use crate::settings::Settings;

pub use changes::{Changes, Followed};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Where the parts of the machine's picture are.
    pub roots: Roots,
}

impl Survey {
    /// Of the machine that the settings name.
    pub fn of(settings: &Settings) -> Self {
        let Settings { host_root, host_mountinfo, .. } = settings;
        Self { roots: Roots { root: host_root.clone(), mountinfo: host_mountinfo.clone() } }
    }

    /// What the machine shows now, as far as the rules can ask for it.
    pub fn picture(&self, rules: &Rules) -> Picture {
        let of = subsystems(rules);
        let devices = if of.is_empty() { Picture::default() } else { self.devices(&self.scope(&of)) };
        self.with_paths(devices, rules)
    }

    /// Everything that is of these subsystems, and nothing else: a machine has scores of terminals.
    fn scope(&self, of: &BTreeSet<String>) -> Scope {
        let names = |directory: &str| {
            let entries = fs::read_dir(self.roots.at(directory)).into_iter().flatten();
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        };
        let all = |subsystem: &str, directory: &str| -> Vec<String> {
            if of.contains(subsystem) { names(directory).collect() } else { Vec::new() }
        };
        let classes = of.iter().filter(|subsystem| !["block", "usb"].contains(&subsystem.as_str()));
        Scope::Only {
            disks: all("block", "/sys/block"),
            usb: all("usb", "/sys/bus/usb/devices"),
            nodes: classes.flat_map(|class| names(&format!("/sys/class/{class}"))).collect(),
        }
    }

    /// Everything that the machine shows now, also what no rule can ask for.
    pub fn whole(&self, rules: &Rules) -> Picture {
        self.with_paths(self.devices(&Scope::All), rules)
    }

    /// What the machine shows now of the devices of one unit. Disks are opened for a moment, to see whether anybody uses
    /// them: this is for when they are about to be handed out.
    pub fn fresh(&self, unit: &Unit, rules: &Rules) -> Picture {
        let mut scope = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut found = Vec::new();
        for part in &unit.body.parts {
            match &part.expected {
                Expected::Nothing => (),
                Expected::Path { path, .. } => found.push((PathPattern::Glob(path.clone()), vec![self.at(path)])),
                Expected::Block(_) => drop(scope.0.insert(self.whole_disk(&part.name))),
                Expected::Usb(usb) => drop(scope.1.insert(usb.name.clone())),
                Expected::Node { usb, .. } => {
                    scope.2.insert(part.name.clone());
                    scope.1.extend(usb.iter().map(|usb| usb.name.clone()));
                }
            }
        }
        let (disks, usb, nodes) = scope;
        let is_any = !(disks.is_empty() && usb.is_empty() && nodes.is_empty());
        let list = |names: BTreeSet<String>| names.into_iter().collect();
        let scope = Scope::Only { disks: list(disks), usb: list(usb), nodes: list(nodes) };
        let mut picture = if is_any { self.devices(&scope) } else { Picture::default() };
        let reads_ends = wants_empty(rules, unit);
        let is_part = |name: &str| unit.body.parts.iter().any(|part| part.name == name);
        picture.block.iter_mut().for_each(|disk| self.probe(disk, is_part, reads_ends));
        picture.found.extend(found);
        picture
    }

    fn devices(&self, scope: &Scope) -> Picture {
        convert::picture(look(&self.roots, scope))
    }

    fn with_paths(&self, picture: Picture, rules: &Rules) -> Picture {
        let found = patterns(rules).filter_map(|pattern| match pattern {
            PathPattern::Glob(glob) => {
                let found = expand(&self.roots, glob, &step_matches).into_iter().map(convert::path);
                Some((pattern.clone(), found.collect()))
            }
            // Our configuration has no regular expressions.
            PathPattern::Regex(_) => None,
        });
        self.with_behind(Picture { found: found.collect(), ..picture })
    }

    /// What is at a path now.
    pub fn at(&self, at: &str) -> PathMatch {
        convert::path(path(&self.roots, at))
    }

    /// The disk that a disk or partition is of.
    fn whole_disk(&self, name: &str) -> String {
        let directory = self.roots.at(format!("/sys/class/block/{name}"));
        let is_partition = directory.join("partition").exists();
        let parent = fs::canonicalize(directory).ok().filter(|_| is_partition);
        let parent = parent.and_then(|path| path.parent()?.file_name()?.to_str().map(str::to_owned));
        parent.unwrap_or_else(|| name.to_owned())
    }

    /// Opens disks and partitions of a picture for a moment, by their names: whether somebody has them for himself.
    pub fn open(&self, picture: &mut Picture, names: &[String]) {
        let is_one = |name: &str| names.iter().any(|one| one == name);
        picture.block.iter_mut().for_each(|disk| self.probe(disk, is_one, false));
    }

    /// Fills in what only opening tells, of disks and partitions of some names.
    fn probe(&self, disk: &mut BlockDevice, is_part: impl Fn(&str) -> bool, reads_ends: bool) {
        let partitions = disk.partitions.iter_mut();
        let partitions = partitions.map(|partition| (&partition.name, &partition.node, &mut partition.usage));
        for (name, node, usage) in std::iter::once((&disk.name, &disk.node, &mut disk.usage)).chain(partitions) {
            if is_part(name) {
                let probed = probe(&self.roots, node, reads_ends);
                usage.exclusive = convert::seen(probed.exclusive, |busy| busy);
                if reads_ends {
                    usage.signature = convert::seen(probed.signature, |signature| signature);
                }
            }
        }
    }
}

/// Whether the unit's rule wants disks that hold nothing.
fn wants_empty(rules: &Rules, unit: &Unit) -> bool {
    let resource = rules.resources.get(unit.body.rule);
    let group = resource.and_then(|resource| resource.groups.get(unit.body.group));
    group.is_some_and(|group| matches!(&group.select, Select::Block(rule) if rule.empty))
}

/// Whether a step of a glob matches a name.
fn step_matches(step: &str, name: &str) -> bool {
    Pattern::parse(step).is_ok_and(|pattern| pattern.matches(name))
}

fn groups(rules: &Rules) -> impl Iterator<Item = &Group> {
    rules.resources.iter().flat_map(|resource| &resource.groups)
}

/// The patterns of all rules.
fn patterns(rules: &Rules) -> impl Iterator<Item = &PathPattern> {
    groups(rules).flat_map(|group| match &group.select {
        Select::Paths(rules) => rules.iter().map(|rule| &rule.path).collect(),
        _ => Vec::new(),
    })
}

/// The kernel's subsystems that the rules look at.
fn subsystems(rules: &Rules) -> BTreeSet<String> {
    let of_group = |group: &Group| match &group.select {
        Select::Paths(_) | Select::Counted(_) => Vec::new(),
        Select::Block(_) => vec!["block"],
        Select::Serial(_) => vec!["tty", "usb"],
        Select::Video(_) => vec!["video4linux", "usb"],
        Select::Usb(rules) => {
            let children = rules.iter().filter_map(|rule| rule.child).map(|child| match child {
                Child::Tty => "tty",
                Child::Video => "video4linux",
                Child::Hidraw => "hidraw",
                Child::Sound => "sound",
                Child::Input => "input",
                Child::Block => "block",
            });
            children.chain(["usb"]).collect()
        }
    };
    groups(rules).flat_map(of_group).map(str::to_owned).collect()
}
