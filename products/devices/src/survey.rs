//! Looks at the machine: what the host shows, as the picture that decisions are by.
//!
//! What it does not do: it remembers nothing and judges nothing.

mod changes;
pub mod paths;

use std::collections::BTreeMap;
use std::path::PathBuf;

use outrigger_device_core::picture::{PathMatch, Picture};
use outrigger_device_core::rules::{PathPattern, Rules, Select};
use outrigger_device_core::unit::{Expected, Part, Unit};

use crate::settings::Settings;

pub use changes::{Changes, Source};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Survey {
    root: PathBuf,
}

impl Survey {
    /// Of the machine that the settings name.
    pub fn of(settings: &Settings) -> Self {
        Self { root: settings.host_root.clone() }
    }

    /// What the machine shows now, as far as the rules ask for it.
    pub fn picture(&self, rules: &Rules) -> Picture {
        Picture { found: self.found(patterns(rules)), ..Picture::default() }
    }

    /// What the machine shows now of the devices of one unit.
    pub fn fresh(&self, unit: &Unit) -> Picture {
        let path = |part: &Part| match &part.expected {
            Expected::Path { path, .. } => Some((PathPattern::Glob(path.clone()), vec![paths::look(&self.root, path)])),
            _ => None,
        };
        Picture { found: unit.body.parts.iter().filter_map(path).collect(), ..Picture::default() }
    }

    fn found<'p>(&self, patterns: impl Iterator<Item = &'p PathPattern>) -> BTreeMap<PathPattern, Vec<PathMatch>> {
        let glob = |pattern: &'p PathPattern| match pattern {
            PathPattern::Glob(glob) => Some((pattern.clone(), paths::matches(&self.root, glob))),
            // Our configuration has no regular expressions yet.
            PathPattern::Regex(_) => None,
        };
        patterns.filter_map(glob).collect()
    }
}

/// The patterns of all rules.
fn patterns(rules: &Rules) -> impl Iterator<Item = &PathPattern> {
    let groups = rules.resources.iter().flat_map(|resource| &resource.groups);
    groups.flat_map(|group| match &group.select {
        Select::Paths(rules) => rules.iter().map(|rule| &rule.path).collect(),
        _ => Vec::new(),
    })
}
