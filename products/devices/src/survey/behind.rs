//! What is behind the nodes that paths lead to, and above the disks and ports that are looked at: rules of paths look at no
//! device, and rules for disks at no USB device, and yet what they hand out may be part of one that another rule hands out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outrigger_device_core::hold::Node;
use outrigger_device_core::picture::Picture;
use outrigger_host::devices::Scope;

use super::Survey;

/// Names of devices.
#[derive(Default)]
struct Names {
    disks: BTreeSet<String>,
    usb: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

impl Survey {
    /// The picture with these devices too.
    pub(super) fn with_behind(&self, picture: Picture) -> Picture {
        let mut names = Names::default();
        for node in unknown(&picture) {
            self.add_behind(node, &mut names);
        }
        let picture = self.with(picture, names);
        let usb = usb_above(&picture);
        self.with(picture, Names { usb, ..Names::default() })
    }

    /// The device of a node, by the kernel's links from numbers to devices.
    fn add_behind(&self, node: Node, names: &mut Names) {
        let kind = if node.is_block { "block" } else { "char" };
        let link = self.roots.at(format!("/sys/dev/{kind}/{}", node.number));
        let Ok(directory) = fs::canonicalize(link) else { return };
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let subsystem = fs::read_link(directory.join("subsystem")).ok().as_deref().and_then(name);
        let whole = directory.parent().filter(|_| directory.join("partition").exists());
        match subsystem.as_deref() {
            Some("block") => names.disks.extend(name(whole.unwrap_or(&directory))),
            Some("usb") => names.usb.extend(name(&directory)),
            Some("tty" | "video4linux" | "hidraw" | "sound" | "input") => names.nodes.extend(name(&directory)),
            _ => (),
        }
    }

    fn with(&self, mut picture: Picture, names: Names) -> Picture {
        let Names { disks, usb, nodes } = names;
        if disks.is_empty() && usb.is_empty() && nodes.is_empty() {
            return picture;
        }
        let list = |names: BTreeSet<String>| names.into_iter().collect();
        let more = self.devices(&Scope::Only { disks: list(disks), usb: list(usb), nodes: list(nodes) });
        picture.block.extend(more.block);
        picture.usb.extend(more.usb);
        picture.nodes.extend(more.nodes);
        (picture.mounts, picture.swaps) = (more.mounts, more.swaps);
        picture
    }
}

/// The nodes of paths of which no device is known, each once.
fn unknown(picture: &Picture) -> BTreeSet<Node> {
    let mut nodes: BTreeSet<Node> = picture.found.values().flatten().filter_map(|found| Node::of(found.kind)).collect();
    if nodes.is_empty() {
        return nodes;
    }
    let block = |number| Node { is_block: true, number };
    let character = |number| Node { is_block: false, number };
    for disk in &picture.block {
        nodes.remove(&block(disk.number));
        for partition in &disk.partitions {
            nodes.remove(&block(partition.number));
        }
    }
    for number in picture.usb.iter().filter_map(|usb| usb.number) {
        nodes.remove(&character(number));
    }
    for node in &picture.nodes {
        nodes.remove(&character(node.number));
    }
    nodes
}

/// The USB devices of disks and ports that are not in the picture.
fn usb_above(picture: &Picture) -> BTreeSet<String> {
    let of_disks = picture.block.iter().filter_map(|disk| disk.position.split('/').rfind(|step| is_usb_device(step)));
    let of_nodes = picture.nodes.iter().filter_map(|node| node.usb.as_deref());
    let mut names: BTreeSet<&str> = of_disks.chain(of_nodes).collect();
    for device in &picture.usb {
        names.remove(device.name.as_str());
    }
    names.into_iter().map(str::to_owned).collect()
}

/// `1-2`, `1-2.3`, …: bus and ports.
fn is_usb_device(step: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    step.split_once('-').is_some_and(|(bus, ports)| is_number(bus) && ports.split('.').all(is_number))
}
