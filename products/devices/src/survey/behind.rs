//! What is behind the nodes that paths lead to, and above the disks and ports that are looked at: rules of paths look at no
//! device, and rules for disks at no USB device, and yet what they hand out may be part of one that another rule hands out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use outrigger_device_core::hold::Node;
use outrigger_device_core::picture::{Above, DeviceNumber, Picture};
use outrigger_host::devices::Scope;

use super::Survey;

/// Names of devices.
#[derive(Default)]
struct Names {
    disks: BTreeSet<String>,
    usb: BTreeSet<String>,
    nodes: BTreeSet<String>,
    /// What nodes of other kinds belong to.
    above: BTreeMap<Node, Vec<Above>>,
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
            _ => {
                let above: Vec<Above> = above(&directory).collect();
                names.above.extend((!above.is_empty()).then_some((node, above)));
            }
        }
    }

    fn with(&self, mut picture: Picture, names: Names) -> Picture {
        let Names { disks, usb, nodes, above } = names;
        picture.above.extend(above);
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

/// The disk and the USB device that something in sysfs belongs to: a generic SCSI node is beside its disk, below the same
/// device; a printer's is below a USB device.
fn above(directory: &Path) -> impl Iterator<Item = Above> {
    let disk = |scsi: &Path| {
        let mut disks = fs::read_dir(scsi.join("block")).ok().filter(|_| is_of(scsi, "scsi"))?;
        disks.find_map(|disk| whole(&disk.ok()?.path(), true))
    };
    let usb = |device: &Path| whole(device, false).filter(|usb| is_usb_device(&usb.name));
    let disk = directory.ancestors().find_map(disk);
    disk.into_iter().chain(directory.ancestors().find_map(usb))
}

/// Whether something in sysfs is of this subsystem.
fn is_of(device: &Path, subsystem: &str) -> bool {
    fs::read_link(device.join("subsystem")).is_ok_and(|link| link.ends_with(subsystem))
}

/// The device that a directory of sysfs is, where it has a node.
fn whole(directory: &Path, is_block: bool) -> Option<Above> {
    let number = fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    let number = DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? };
    let name = directory.file_name()?.to_str()?.to_owned();
    Some(Above { node: Node { is_block, number }, name })
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
