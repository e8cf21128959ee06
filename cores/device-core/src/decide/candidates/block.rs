//! Units of disks and partitions.

use std::collections::BTreeSet;

use super::identity::Identity;
use super::nodes::{usb_above, usb_node};
use super::usage::{View, in_use};
use super::{Against, Footprint, Made, Scene, give_node};
use crate::checks;
use crate::decide::{Reason, Status};
use crate::hold::{Hold, Node};
use crate::ids::{Kind, short};
use crate::picture::{Picture, Seen};
use crate::rules::{BlockRule, EvidencePolicy, Group};
use crate::unit::{Expected, Part};

/// States in which a driver serves: those of SCSI and of `nvme`.
const SERVING: &[&str] = &["running", "live"];

impl Scene<'_> {
    pub(super) fn block(&mut self, group: &Group, rule: &BlockRule) -> Vec<Made> {
        let picture = self.input.picture;
        let mut units = Vec::new();
        for view in picture.block.iter().flat_map(View::all) {
            let checks = checks::of_block(rule, view);
            if checks.iter().all(|check| check.holds) {
                units.push(self.disk(group, rule, view));
                continue;
            }
            let is_named = checks.first().is_some_and(|check| check.key == "names" && check.holds);
            if is_named && view.partition.is_none() != rule.partitions {
                // Whoever names it wants to know what keeps it away.
                self.has_matched(Kind::Block, view.name());
                let wrong = checks.into_iter().filter(|check| !check.holds);
                let wrong =
                    wrong.map(|check| Reason::NotSelected { key: check.key, seen: check.seen, wanted: check.wanted });
                let part = self.disk_part(group, view);
                self.other(&[part], Status::Withheld, &wrong.collect::<Vec<_>>());
            }
        }
        units
    }

    /// The unit of one disk or partition.
    pub(super) fn disk(&mut self, group: &Group, rule: &BlockRule, view: View<'_>) -> Made {
        self.has_matched(Kind::Block, view.name());
        let part = self.disk_part(group, view);
        let (against, footprint) = (self.disk_against(rule, view), self.disk_footprint(view));
        Made { identity: part.identity.clone(), parts: vec![part], numa: view.disk.numa.clone(), against, footprint }
    }

    /// A disk or partition as a part of a unit.
    pub(super) fn disk_part(&self, group: &Group, view: View<'_>) -> Part {
        let disk = view.disk;
        let Identity { text: identity, is_weak } = self.disk_identity(view);
        Part {
            kind: Kind::Block,
            name: view.name().to_owned(),
            hold: self.disk_hold(view),
            identity,
            is_weak,
            give: give_node(group, view.node(), 0, "rwm"),
            expected: Expected::Block(view.identity()),
            serial: disk.serial.clone(),
            size: Some(view.size()),
            controller: disk.controller.clone(),
        }
    }

    fn disk_identity(&self, view: View<'_>) -> Identity {
        let Identity { text, is_weak } = self.identities.disk(view.disk);
        let text = view.partition.map_or(text.clone(), |partition| format!("{text}-part{}", partition.index));
        Identity { text, is_weak }
    }

    /// The same for every rule that hands this disk or partition out.
    pub(super) fn disk_hold(&self, view: View<'_>) -> Hold {
        let node = |number| Node { is_block: true, number };
        let identity = short(Kind::Block, &self.disk_identity(view).text);
        let whole = view.partition.map(|_| node(view.disk.number));
        let usb = usb_above(self.input.picture, &view.disk.position).and_then(usb_node);
        Hold::of_node(Some(node(view.number())), view.node(), Some(identity)).and_of(whole).and_of(usb)
    }

    pub(super) fn disk_footprint(&self, view: View<'_>) -> Footprint {
        let footprint = Footprint::block(view.number()).and_directories(view.node());
        let footprint = match view.partition {
            Some(_) => footprint.and_part("disk", &view.disk.name),
            None => footprint.and_whole("disk", &view.disk.name),
        };
        match usb_above(self.input.picture, &view.disk.position) {
            Some(usb) => footprint.and_part("usb", &usb.name),
            None => footprint,
        }
    }

    fn disk_against(&mut self, rule: &BlockRule, view: View<'_>) -> Against {
        let (against, missing) = block_against(rule, view, self.input.picture, self.input.rules.evidence);
        self.missing.extend(missing);
        against
    }
}

/// All that speaks against handing out a disk or partition, and which evidence was missing though it was needed.
pub(crate) fn block_against(
    rule: &BlockRule,
    view: View<'_>,
    picture: &Picture,
    policy: EvidencePolicy,
) -> (Against, BTreeSet<&'static str>) {
    let disk = view.disk;
    let hidden = disk.hidden.then_some(Reason::Hidden);
    let unreadable = disk.unreadable.iter().cloned().map(Reason::Unreadable);
    let (mut usage, mut missing) = in_use(view, picture, policy);
    if rule.empty && usage.is_empty() {
        match view.signature() {
            Seen::Known(signature) => usage.extend(signature.clone().map(Reason::Signature)),
            Seen::Missing(why) => {
                missing.insert("signature");
                let reason = || Reason::CannotVerify(format!("whether it is empty is not visible ({why})"));
                usage.extend((policy == EvidencePolicy::Required).then(reason));
            }
        }
    }
    let no_medium = (view.size() == 0).then_some(Reason::NoMedium);
    let read_only = (view.is_read_only() && rule.read_only != Some(true)).then_some(Reason::ReadOnly);
    let state = disk.state.as_deref().filter(|state| !SERVING.contains(state));
    let against = Against {
        rule: hidden.into_iter().chain(unreadable).collect(),
        usage,
        unfit: no_medium.into_iter().chain(read_only).collect(),
        broken: Vec::new(),
        failing: state.map(|state| Reason::State(state.to_owned())).into_iter().collect(),
    };
    (against, missing)
}
