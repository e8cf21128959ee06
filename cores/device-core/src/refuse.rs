//! The last look before a device is handed out: is it still the one that was assigned, and still free?
//!
//! The list that a kubelet chose from may be seconds old, and at a container's restart the kubelet repeats an answer that
//! may be days old. Whoever asks has looked at the devices of the unit afresh: a picture of them alone is enough, with
//! mounts and swaps.
//!
//! Of a path only existence and sort count: whatever device is there is what was asked for.

use std::fmt;

use crate::decide::{Reason, View, block_against};
use crate::picture::{NodeKind, Picture, UsbDevice};
use crate::rules::{BlockRule, Rules, Select};
use crate::unit::{BlockIdentity, Expected, Part, Sort, Unit, UsbIdentity};

/// What it is handed out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A new pod: it must be free too.
    Allocate,
    /// A container of the pod that has it starts, perhaps again: it must be the same.
    Start,
}

/// Why one part is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The device or path.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

impl Refusal {
    /// Whether it may be there again in a moment: a device that re-enumerates itself is gone for less than a second.
    pub fn may_pass(&self) -> bool {
        self.reason == Reason::Vanished
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// Checks a unit as it was assigned against a fresh look. Empty is good.
pub fn refuse(rules: &Rules, unit: &Unit, fresh: &Picture, when: When) -> Vec<Refusal> {
    let groups = rules.resources.get(unit.body.rule).map(|resource| &resource.groups);
    let select = groups.and_then(|groups| groups.get(unit.body.group)).map(|group| &group.select);
    let any_disk = BlockRule::default();
    let rule = match select {
        Some(Select::Block(rule)) => rule,
        _ => &any_disk,
    };
    let refusals = |part: &Part| {
        let reasons = match &part.expected {
            Expected::Nothing => Vec::new(),
            Expected::Path { path, sort } => path_differs(fresh, path, *sort),
            Expected::Block(expected) => disk_differs(fresh, &part.name, expected)
                .map_or_else(|reasons| reasons, |view| in_use(rules, rule, view, (fresh, when))),
            Expected::Usb(expected) => {
                let left = (when == When::Allocate && has_left(fresh, expected)).then_some(Reason::Vanished);
                usb_differs(fresh, expected).into_iter().chain(left).collect()
            }
            Expected::Node { class, number, usb } => {
                let node = fresh.nodes.iter().find(|node| node.class == *class && node.name == part.name);
                let of_node = match node {
                    None => Some(Reason::Vanished),
                    Some(node) => differs("node", Some(&node.number), Some(number)),
                };
                of_node.into_iter().chain(usb.iter().flat_map(|usb| usb_differs(fresh, usb))).collect()
            }
        };
        reasons.into_iter().map(|reason| Refusal { name: part.name.clone(), reason }).collect::<Vec<_>>()
    };
    unit.body.parts.iter().flat_map(refusals).collect()
}

fn in_use(rules: &Rules, rule: &BlockRule, view: View<'_>, look: (&Picture, When)) -> Vec<Reason> {
    let (fresh, when) = look;
    if when == When::Start {
        return Vec::new();
    }
    let (against, _) = block_against(rule, view, fresh, rules.evidence);
    [against.rule, against.usage, against.unfit].into_iter().flatten().collect()
}

fn path_differs(fresh: &Picture, path: &str, expected: Sort) -> Vec<Reason> {
    let there = fresh.found.values().flatten().find(|found| found.path == path);
    match there.map(|found| found.kind) {
        None | Some(NodeKind::Nothing) => vec![Reason::Vanished],
        Some(kind) if sort_of(kind) == expected => Vec::new(),
        Some(kind) => vec![Reason::Replaced(format!("it is {}, was {expected}", sort_of(kind)))],
    }
}

fn sort_of(kind: NodeKind) -> Sort {
    match kind {
        NodeKind::Character(_) => Sort::Character,
        NodeKind::Block(_) => Sort::Block,
        NodeKind::Directory => Sort::Directory,
        NodeKind::Other | NodeKind::Nothing => Sort::Other,
    }
}

/// The disk, if it is this very one.
fn disk_differs<'p>(fresh: &'p Picture, name: &str, expected: &BlockIdentity) -> Result<View<'p>, Vec<Reason>> {
    let Some(view) = fresh.block.iter().flat_map(View::all).find(|view| view.name() == name) else {
        return Err(vec![Reason::Vanished]);
    };
    let is = view.identity();
    let reasons = [
        differs("wwid", is.wwid.as_ref(), expected.wwid.as_ref()),
        differs("serial", is.serial.as_ref(), expected.serial.as_ref()),
        differs("node", Some(&is.number), Some(&expected.number)),
        differs("diskseq", is.diskseq.as_ref(), expected.diskseq.as_ref()),
    ];
    let reasons: Vec<Reason> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() { Ok(view) } else { Err(reasons) }
}

fn usb_differs(fresh: &Picture, expected: &UsbIdentity) -> Vec<Reason> {
    let Some(device) = fresh.usb.iter().find(|device| device.name == expected.name) else {
        return vec![Reason::Vanished];
    };
    let UsbDevice { vendor, product, serial, authorized, .. } = device;
    // A serial number may be read late, but not that of a device which has been plugged since.
    let is_another = device.device != expected.device && serial.is_some() != expected.serial.is_some();
    let told = |serial: &Option<String>| serial.clone().unwrap_or_else(|| "none".to_owned());
    let hex = |vendor: u16, product: u16| format!("{vendor:04x}:{product:04x}");
    let (is, was) = (hex(*vendor, *product), hex(expected.vendor, expected.product));
    let differ = [
        differs("vendor and product", Some(&is), Some(&was)),
        differs("serial", serial.as_ref(), expected.serial.as_ref()),
        is_another.then(|| Reason::Replaced(format!("its serial is {}, was {}", told(serial), told(&expected.serial)))),
    ];
    let locked = (*authorized == Some(false)).then_some(Reason::Unauthorized);
    differ.into_iter().flatten().chain(locked).collect()
}

/// Whether a USB device has been plugged again since it was seen: the node that would be given has its former number in its
/// name, and is nothing now, or another device. In a moment its present one is known.
fn has_left(fresh: &Picture, expected: &UsbIdentity) -> bool {
    fresh.usb.iter().any(|device| device.name == expected.name && device.device != expected.device)
}

/// What is known of both must be the same: some attributes are read late, and some kernels lack one.
fn differs<T: fmt::Display + PartialEq>(what: &str, is: Option<&T>, was: Option<&T>) -> Option<Reason> {
    let (is, was) = is.zip(was)?;
    (is != was).then(|| Reason::Replaced(format!("its {what} is {is}, was {was}")))
}
