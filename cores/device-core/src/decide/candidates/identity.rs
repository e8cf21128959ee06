//! What a device is, so that its id is the same wherever and whenever it is seen.
//!
//! An identity that was given to a device that is still there stays, whatever becomes known of it or is plugged beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::usage::View;
use crate::ids::Kind;
use crate::picture::{BlockDevice, ClassNode, Picture, UsbDevice};

/// Identities of the disks and USB devices that are there, by what stays the same while one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    by_presence: BTreeMap<String, Identity>,
}

/// An identity, and whether another device could come to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) text: String,
    pub(super) is_weak: bool,
}

impl Identities {
    /// Those of a picture, where those given before stay.
    pub(super) fn of(picture: &Picture, before: &Self) -> Self {
        let mut by_presence = BTreeMap::new();
        for disk in &picture.block {
            let key = disk_presence(disk);
            let known = before.by_presence.get(&key).cloned();
            by_presence.insert(key, known.unwrap_or_else(|| of_disk(disk)));
        }
        let mut alike: BTreeMap<(u16, u16, &str), usize> = BTreeMap::new();
        for device in &picture.usb {
            *alike.entry(kinship(device)).or_default() += 1;
        }
        for device in &picture.usb {
            let key = usb_presence(device);
            let known = before.by_presence.get(&key).cloned();
            let is_alone = alike.get(&kinship(device)) == Some(&1);
            by_presence.insert(key, known.unwrap_or_else(|| of_usb(device, is_alone)));
        }
        Self { by_presence }
    }

    /// What of a picture was there at the last look already: disks, partitions, USB devices and their nodes, by name.
    pub(super) fn stayed(&self, picture: &Picture) -> BTreeSet<(Kind, String)> {
        let disks = picture.block.iter().filter(|disk| self.by_presence.contains_key(&disk_presence(disk)));
        let disks = disks.flat_map(View::all).map(|view| (Kind::Block, view.name().to_owned()));
        let usb: BTreeSet<&str> = (picture.usb.iter())
            .filter(|device| self.by_presence.contains_key(&usb_presence(device)))
            .map(|device| device.name.as_str())
            .collect();
        let of_usb = |node: &&ClassNode| node.usb.as_deref().is_some_and(|name| usb.contains(name));
        let nodes = picture.nodes.iter().filter(of_usb).map(|node| (Kind::Node, node.name.clone()));
        let devices = usb.iter().map(|name| (Kind::Usb, (*name).to_owned()));
        disks.chain(devices).chain(nodes).collect()
    }

    pub(super) fn disk(&self, disk: &BlockDevice) -> Identity {
        self.by_presence.get(&disk_presence(disk)).cloned().unwrap_or_else(|| of_disk(disk))
    }

    pub(super) fn usb(&self, device: &UsbDevice) -> Identity {
        self.by_presence.get(&usb_presence(device)).cloned().unwrap_or_else(|| of_usb(device, false))
    }
}

fn disk_presence(disk: &BlockDevice) -> String {
    let incarnation = disk.diskseq.map_or_else(|| disk.number.to_string(), |number| number.to_string());
    format!("block {} {incarnation}", disk.name)
}

fn usb_presence(device: &UsbDevice) -> String {
    format!("usb {} {}:{}", device.name, device.bus, device.device)
}

fn kinship(device: &UsbDevice) -> (u16, u16, &str) {
    (device.vendor, device.product, device.serial.as_deref().unwrap_or(""))
}

/// World-wide id, else serial number, else place on the bus, else name.
fn of_disk(disk: &BlockDevice) -> Identity {
    let strong = |text: &str| Identity { text: text.to_owned(), is_weak: false };
    let weak = |text: &str| Identity { text: text.to_owned(), is_weak: true };
    match (disk.wwid.as_deref(), disk.serial.as_deref()) {
        (Some(wwid), _) if !wwid.is_empty() => strong(wwid),
        (_, Some(serial)) if !serial.is_empty() => strong(serial),
        _ if !disk.position.is_empty() => weak(&disk.position),
        _ => weak(&disk.name),
    }
}

/// Vendor, product and serial number, where these tell it from all others here; else the port too.
fn of_usb(device: &UsbDevice, is_alone: bool) -> Identity {
    let UsbDevice { vendor, product, name, .. } = device;
    match device.serial.as_deref() {
        Some(serial) if is_alone && !serial.is_empty() => by_serial(device, serial),
        serial => {
            let text = format!("{vendor:04x}:{product:04x}:{}@{name}", serial.unwrap_or(""));
            Identity { text, is_weak: true }
        }
    }
}

/// By vendor, product and serial number, whatever else is here.
pub(super) fn by_serial(device: &UsbDevice, serial: &str) -> Identity {
    Identity { text: format!("{:04x}:{:04x}:{serial}", device.vendor, device.product), is_weak: false }
}

/// By the port, whatever is plugged there.
pub(super) fn by_port(device: &UsbDevice) -> Identity {
    Identity { text: format!("@{}", device.name), is_weak: true }
}
