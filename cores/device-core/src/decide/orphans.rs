//! Claims on units that the rules no longer make, because a resource was renamed or split, or its count is another one.
//!
//! The device is in use all the same, whatever it is called now. It is told by its id, which is made of the device alone:
//! each such claim takes one of the units with that id, of whatever resource, until it ends. A USB device has one of two
//! ids, as another one that tells the same is here or not; after a restart beside its twin it is known by the other, and then
//! a claim by the serial number alone takes one of each. A slot is no device: its id is its number or value, which other
//! resources have too, and only a claim on the same resource is about it.
//!
//! What it does not do: an id of the generic-device-plugin's scheme holds the number of its replica, so that a claim is known
//! there only while the count stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Input;
use super::candidates::Candidate;
use crate::ids::{Kind, short};
use crate::rules::{Dialect, Rules};
use crate::unit::{Body, Expected};

/// Who has what under another name, by the id without its replica.
#[derive(Debug, Default)]
pub(super) struct Orphans<'o> {
    by_base: BTreeMap<&'o str, Vec<Orphan<'o>>>,
}

#[derive(Debug)]
struct Orphan<'o> {
    resource: &'o str,
    who: &'o str,
}

impl<'o> Orphans<'o> {
    /// Those of the claims that none of these units has.
    pub(super) fn of(input: &Input<'o>, units: &[Candidate]) -> Self {
        let held = &input.claims.held;
        if held.is_empty() {
            return Self::default();
        }
        let id_of = |unit: &Candidate, id: &Arc<str>| (unit.body.resource.to_string(), id.to_string());
        let made = units.iter().flat_map(|unit| unit.ids.iter().map(move |id| id_of(unit, id)));
        let made: BTreeSet<(String, String)> = made.collect();
        let mut by_base: BTreeMap<&str, Vec<Orphan<'_>>> = BTreeMap::new();
        for ((resource, id), who) in held.iter().filter(|(claimed, _)| !made.contains(claimed)) {
            by_base.entry(base(id)).or_default().push(Orphan { resource, who });
        }
        Self { by_base }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_base.is_empty()
    }

    /// Who has replicas of this under another name. Where it may be shared with other resources, nobody.
    pub(super) fn of_unit(&self, rules: &Rules, body: &Body, ids: &[Arc<str>]) -> Vec<&'o str> {
        let resource = rules.resources.get(body.rule);
        let is_shared = resource.is_some_and(|resource| resource.share || resource.dialect == Dialect::Gdp);
        if is_shared || self.by_base.is_empty() {
            return Vec::new();
        }
        let own = ids.first().map(|id| base(id).to_owned());
        let names = own.into_iter().chain(other_id(body));
        let is_device = body.parts.first().is_some_and(|part| part.kind != Kind::Counted);
        let orphans = names.filter_map(|name| self.by_base.get(name.as_str())).flatten();
        let of_it = orphans.filter(|orphan| is_device || orphan.resource == &*body.resource);
        of_it.map(|orphan| orphan.who).collect()
    }
}

/// The id that a USB device with a serial number would have if it were alone, or if it were not.
fn other_id(body: &Body) -> Option<String> {
    let part = body.parts.first()?;
    let (Expected::Usb(usb) | Expected::Node { usb: Some(usb), .. }) = &part.expected else { return None };
    let alone = format!("{:04x}:{:04x}:{}", usb.vendor, usb.product, usb.serial.as_deref()?);
    let beside = format!("{alone}@{}", usb.name);
    let other = match (part.identity.strip_prefix(&beside), part.identity.strip_prefix(&alone)) {
        (Some(rest), _) => alone + rest,
        (None, Some(rest)) => beside + rest,
        (None, None) => return None,
    };
    Some(short(part.kind, &other))
}

fn base(id: &str) -> &str {
    id.split_once('-').map_or(id, |(base, _)| base)
}
