//! Units of USB devices, of their children, of serial ports and of cameras.

use std::collections::BTreeMap;

use super::identity::{self, Identity};
use super::usage::View;
use super::{Against, Footprint, Made, Scene, give_node};
use crate::checks;
use crate::decide::{Reason, Status};
use crate::hold::Hold;
use crate::ids::{Kind, short};
use crate::picture::{ClassNode, Picture, UsbDevice};
use crate::rules::{BlockRule, Child, Group, SerialRule, UnitOf, UsbIdentity as By, UsbRule, VideoRule};
use crate::unit::{Expected, Part, UsbIdentity};

impl Scene<'_> {
    pub(super) fn usb(&mut self, group: &Group, rules: &[UsbRule]) -> Vec<Made> {
        let mut devices: Vec<&UsbDevice> = self.input.picture.usb.iter().collect();
        devices.sort_by_key(|device| (device.bus, device.device));
        let mut units = Vec::new();
        for device in devices {
            let matches = |rule: &&UsbRule| checks::of_usb(rule, device).iter().all(|check| check.holds);
            let Some(rule) = rules.iter().find(matches) else { continue };
            self.has_matched(Kind::Usb, &device.name);
            match rule.child {
                None => units.push(self.bus_node(group, rule, device)),
                Some(child) => units.extend(self.children(group, rule, device, child)),
            }
        }
        match group.unit {
            UnitOf::Each => units,
            UnitOf::All => together(units),
        }
    }

    fn bus_node(&self, group: &Group, rule: &UsbRule, device: &UsbDevice) -> Made {
        let identity = self.usb_identity(rule.identity, device);
        let footprint = usb_footprint(device);
        let part = Part {
            kind: Kind::Usb,
            name: device.name.clone(),
            hold: Hold::of_node(usb_node(device), &device.node, Some(self.usb_lock(device))),
            identity: identity.text.clone(),
            is_weak: identity.is_weak,
            give: give_node(group, &device.node, 0, "rw"),
            expected: Expected::Usb(usb_identity(device)),
            serial: device.serial.clone(),
            size: None,
            controller: hub(&device.name),
        };
        let against = authorized(device);
        Made { parts: vec![part], identity: identity.text, numa: device.numa.clone(), against, footprint }
    }

    /// The children of one device, together one unit.
    fn children(&mut self, group: &Group, rule: &UsbRule, device: &UsbDevice, child: Child) -> Option<Made> {
        let picture = self.input.picture;
        let of_usb = self.usb_identity(rule.identity, device);
        let place = rule.interface.map_or_else(String::new, |interface| format!("/{interface}"));
        let identity = Identity { text: format!("{}/{child:?}{place}", of_usb.text), is_weak: of_usb.is_weak };
        let mut against = authorized(device);
        let mut made: Vec<(Part, Footprint)> = Vec::new();
        if child == Child::Block {
            let disks = picture.block.iter().filter(|disk| disk.position.split('/').any(|step| step == device.name));
            for view in disks.map(View::whole) {
                let disk = self.disk(group, &BlockRule::default(), view);
                against.merge(disk.against);
                made.extend(disk.parts.into_iter().map(|part| (part, disk.footprint.clone())));
            }
        } else {
            for node in nodes_of(picture, device, rule, child) {
                self.has_matched(Kind::Node, &node.name);
                made.push((self.node_part(group, node, &identity, made.len()), node_footprint(node)));
            }
        }
        if made.is_empty() {
            let wanted = format!("{child:?}").to_lowercase();
            let reason = Reason::NotSelected { key: "child", seen: "none".to_owned(), wanted };
            let Made { parts, .. } = self.bus_node(group, rule, device);
            self.other(&parts, Status::Withheld, &[reason]);
            return None;
        }
        let (parts, footprints): (Vec<Part>, Vec<Footprint>) = made.into_iter().unzip();
        let mut footprint = Footprint::default();
        for part in footprints {
            footprint.join(part);
        }
        Some(Made { parts, identity: identity.text, numa: device.numa.clone(), against, footprint })
    }

    pub(super) fn serial(&mut self, group: &Group, rule: &SerialRule) -> Vec<Made> {
        let picture = self.input.picture;
        let ports = picture.nodes.iter().filter(|node| node.class == Child::Tty && node.is_present);
        let mut units = Vec::new();
        for node in ports {
            let usb = usb_of(picture, node);
            if !checks::of_serial(rule, node, usb).iter().all(|check| check.holds) {
                continue;
            }
            self.has_matched(Kind::Node, &node.name);
            let identity = self.node_identity(node, usb);
            units.push(self.node_unit(group, &[node], &identity));
        }
        units
    }

    pub(super) fn video(&mut self, group: &Group, rule: &VideoRule) -> Vec<Made> {
        let picture = self.input.picture;
        let mut cameras: BTreeMap<&str, Vec<&ClassNode>> = BTreeMap::new();
        for node in picture.nodes.iter().filter(|node| node.class == Child::Video && node.is_present) {
            if !checks::of_video(rule, node, usb_of(picture, node)).iter().all(|check| check.holds) {
                continue;
            }
            self.has_matched(Kind::Node, &node.name);
            if node.index.unwrap_or(0) == 0 {
                cameras.entry(node.usb.as_deref().unwrap_or(&node.position)).or_default().push(node);
            }
        }
        let cameras = cameras.into_values().map(|mut nodes| {
            nodes.sort_by_key(|node| (node.interface, node.number));
            let usb = usb_of(picture, nodes[0]);
            let of_usb = usb.map(|usb| self.usb_identity(By::Auto, usb));
            let position = || Identity { text: nodes[0].position.clone(), is_weak: true };
            let identity = of_usb.map_or_else(position, |identity| Identity {
                text: format!("{}/Video", identity.text),
                is_weak: identity.is_weak,
            });
            self.node_unit(group, &nodes, &identity)
        });
        cameras.collect()
    }

    /// The same for every rule that hands this node out.
    pub(super) fn node_hold(&self, node: &ClassNode) -> Hold {
        let usb = usb_of(self.input.picture, node);
        let identity = short(Kind::Node, &self.node_identity(node, usb).text);
        let own = crate::hold::Node { is_block: false, number: node.number };
        Hold::of_node(Some(own), &node.node, Some(identity)).and_of(usb.and_then(usb_node))
    }

    /// The same for every rule that hands this device out.
    pub(super) fn usb_lock(&self, device: &UsbDevice) -> String {
        short(Kind::Usb, &self.identities.usb(device).text)
    }

    fn usb_identity(&self, by: By, device: &UsbDevice) -> Identity {
        match (by, device.serial.as_deref()) {
            (By::Port, _) => identity::by_port(device),
            (By::Serial, Some(serial)) => identity::by_serial(device, serial),
            (By::Serial | By::Auto, _) => self.identities.usb(device),
        }
    }

    /// One of perhaps several ports of a USB device, or one on board.
    fn node_identity(&self, node: &ClassNode, usb: Option<&UsbDevice>) -> Identity {
        let Some(usb) = usb else {
            return Identity { text: format!("{}/{}", node.position, node.name), is_weak: true };
        };
        let alike = |other: &&ClassNode| {
            (other.class, &other.usb, other.interface) == (node.class, &node.usb, node.interface)
                && other.number < node.number
        };
        let ordinal = self.input.picture.nodes.iter().filter(alike).count();
        let Identity { text, is_weak } = self.usb_identity(By::Auto, usb);
        let interface = node.interface.map_or_else(String::new, |interface| interface.to_string());
        let place = if ordinal == 0 { String::new() } else { format!(".{ordinal}") };
        Identity { text: format!("{text}/{:?}/{interface}{place}", node.class), is_weak }
    }
}

impl Scene<'_> {
    fn node_unit(&self, group: &Group, nodes: &[&ClassNode], identity: &Identity) -> Made {
        let part = |(number, node): (usize, &&ClassNode)| self.node_part(group, node, identity, number);
        let parts = nodes.iter().enumerate().map(part).collect();
        let mut footprint = Footprint::default();
        for node in nodes {
            footprint.join(node_footprint(node));
        }
        let numa = nodes.iter().flat_map(|node| node.numa.iter().copied()).collect();
        let usb = nodes.first().and_then(|node| usb_of(self.input.picture, node));
        let against = usb.map(authorized).unwrap_or_default();
        Made { parts, identity: identity.text.clone(), numa, against, footprint }
    }

    fn node_part(&self, group: &Group, node: &ClassNode, identity: &Identity, number: usize) -> Part {
        let usb = usb_of(self.input.picture, node);
        Part {
            kind: Kind::Node,
            name: node.name.clone(),
            hold: self.node_hold(node),
            identity: identity.text.clone(),
            is_weak: identity.is_weak,
            give: give_node(group, &node.node, number, "rw"),
            expected: Expected::Node { class: node.class, number: node.number, usb: usb.map(usb_identity) },
            serial: usb.and_then(|usb| usb.serial.clone()),
            size: None,
            controller: usb.map(|usb| hub(&usb.name)).unwrap_or_default(),
        }
    }
}

/// All matches as one unit, in the order of their nodes.
fn together(units: Vec<Made>) -> Vec<Made> {
    let mut all: Option<Made> = None;
    for unit in units {
        match &mut all {
            None => all = Some(unit),
            Some(all) => {
                all.parts.extend(unit.parts);
                all.numa.extend(unit.numa);
                all.against.merge(unit.against);
                all.footprint.join(unit.footprint);
            }
        }
    }
    if let Some(all) = &mut all {
        all.parts.sort_by(|a, b| a.give.host_path().cmp(&b.give.host_path()));
        all.identity = all.parts.iter().map(|part| part.identity.as_str()).collect::<Vec<_>>().join("\0");
    }
    all.into_iter().collect()
}

/// The children of a class, the main ones first.
fn nodes_of<'p>(picture: &'p Picture, device: &UsbDevice, rule: &UsbRule, child: Child) -> Vec<&'p ClassNode> {
    let of_device = |node: &&ClassNode| node.usb.as_deref() == Some(device.name.as_str()) && node.class == child;
    let fits = |node: &&ClassNode| checks::of_child(rule, node.class, node.interface);
    let mut nodes: Vec<&ClassNode> = picture.nodes.iter().filter(of_device).filter(fits).collect();
    nodes.sort_by_key(|node| (node.interface, node.index, node.number));
    nodes
}

pub(super) fn usb_footprint(device: &UsbDevice) -> Footprint {
    let footprint = device.number.map(Footprint::character).unwrap_or_default();
    footprint.and_whole("usb", &device.name).and_directories(&device.node)
}

pub(super) fn node_footprint(node: &ClassNode) -> Footprint {
    let footprint = Footprint::character(node.number).and_directories(&node.node);
    match &node.usb {
        Some(usb) => footprint.and_part("usb", usb),
        None => footprint,
    }
}

fn authorized(device: &UsbDevice) -> Against {
    let broken = (device.authorized == Some(false)).then_some(Reason::Unauthorized);
    Against { broken: broken.into_iter().collect(), ..Against::default() }
}

/// What tells it from another one in the same port.
pub(super) fn usb_identity(device: &UsbDevice) -> UsbIdentity {
    UsbIdentity {
        device: device.device,
        name: device.name.clone(),
        vendor: device.vendor,
        product: device.product,
        serial: device.serial.clone(),
    }
}

/// The USB device of a node.
pub(super) fn usb_of<'p>(picture: &'p Picture, node: &ClassNode) -> Option<&'p UsbDevice> {
    let name = node.usb.as_deref()?;
    picture.usb.iter().find(|device| device.name == name)
}

/// The node of a USB device.
pub(super) fn usb_node(device: &UsbDevice) -> Option<crate::hold::Node> {
    device.number.map(|number| crate::hold::Node { is_block: false, number })
}

/// The USB device that is nearest to a place on the bus.
pub(super) fn usb_above<'p>(picture: &'p Picture, position: &str) -> Option<&'p UsbDevice> {
    position.split('/').rev().find_map(|step| picture.usb.iter().find(|device| device.name == step))
}

/// The hub or root that a device hangs on: `1-2` of `1-2.3`, `1` of `1-2`.
fn hub(name: &str) -> String {
    name.rsplit_once(['.', '-']).map_or_else(String::new, |(hub, _)| format!("usb {hub}"))
}
