//! What a host shows of its devices, as values: everything that rules select on, and every piece of evidence of use.
//!
//! What it does not do: it judges nothing. What could not be read is a value too ([`Seen::Missing`]), so that a decision
//! can tell "not mounted" from "unknown whether mounted".

use std::collections::BTreeMap;

use crate::hold::Node;
use crate::rules::{Child, PathPattern, Transport};

/// What a host shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Whole disks, with their partitions.
    pub block: Vec<BlockDevice>,
    /// USB devices.
    pub usb: Vec<UsbDevice>,
    /// Nodes of the classes that rules select on, on USB and elsewhere.
    pub nodes: Vec<ClassNode>,
    /// What each pattern of the rules matches. A pattern that is not here was not looked for, and matches nothing.
    pub found: BTreeMap<PathPattern, Vec<PathMatch>>,
    /// Of nodes that paths lead to and that are none of these devices, what they belong to.
    pub above: BTreeMap<Node, Vec<Above>>,
    /// Mounts of the host.
    pub mounts: Seen<Vec<Mount>>,
    /// Swap areas.
    pub swaps: Seen<Vec<Swap>>,
}

/// Something that may not have been visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was.
    Known(T),
    /// It was not, for this reason, in words an operator reads.
    Missing(String),
}

impl<T: Default> Default for Seen<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T> Seen<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Missing(_) => None,
        }
    }
}

/// Major and minor number of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver's.
    pub major: u32,
    /// The device's.
    pub minor: u32,
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name, as `sda`.
    pub name: String,
    /// The node on the host, as `/dev/sda`.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Where it is on the bus: the resolved path below `/sys/devices`, without the block part.
    pub position: String,
    /// The controller it hangs on: devices of equal text share one. Empty where that is not known.
    pub controller: String,
    /// How it is attached.
    pub transport: Transport,
    /// Bytes; 0 is no medium.
    pub size: u64,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Whether its medium can be removed.
    pub removable: bool,
    /// Whether it spins.
    pub rotational: bool,
    /// Whether the kernel hides it: a path of a multipath `nvme` disk.
    pub hidden: bool,
    /// Model, without the spaces around it.
    pub model: String,
    /// Vendor, without the spaces around it.
    pub vendor: String,
    /// Serial number, as the device tells it.
    pub serial: Option<String>,
    /// World-wide id.
    pub wwid: Option<String>,
    /// A number that is another one for each new medium or device, until reboot.
    pub diskseq: Option<u64>,
    /// What the driver says of it: SCSI `running`, `offline`, …; `nvme` has `live`, ….
    pub state: Option<String>,
    /// The nearest NUMA nodes; through its parts for a stacked device. Empty where that is not known.
    pub numa: Vec<u32>,
    /// Names of devices that are stacked on it: LVM, MD, dm-crypt, multipath, bcache.
    pub holders: Vec<String>,
    /// Names of devices that it is stacked on.
    pub slaves: Vec<String>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Names in `/dev/disk/by-id` that lead to it.
    pub by_id: Vec<String>,
    /// What is on it, beside partitions that the kernel knows.
    pub usage: Usage,
    /// What could not be read of it, in words.
    pub unreadable: Vec<String>,
}

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name, as `sda1`.
    pub name: String,
    /// The node on the host.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Its number in the table.
    pub index: u32,
    /// Bytes.
    pub size: u64,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Names of devices that are stacked on it.
    pub holders: Vec<String>,
    /// Names in `/dev/disk/by-id` that lead to it.
    pub by_id: Vec<String>,
    /// What is on it.
    pub usage: Usage,
}

/// Evidence of what is done with a disk or partition, beside mounts and swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The file system that the kernel has mounted from it somewhere, also in another mount namespace: `/sys/fs/TYPE/DEVICE`.
    pub kernel_file_system: Option<String>,
    /// The signature that was found on it: a file system or partition table; none is an empty disk.
    pub signature: Seen<Option<String>>,
    /// Whether somebody has opened it exclusively.
    pub exclusive: Seen<bool>,
}

impl Default for Usage {
    fn default() -> Self {
        let missing = || "not looked at".to_owned();
        Self { kernel_file_system: None, signature: Seen::Missing(missing()), exclusive: Seen::Missing(missing()) }
    }
}

/// One mount of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Of the file system; of some, as btrfs, it is no device's.
    pub number: DeviceNumber,
    /// What was mounted, as `/dev/sda1`.
    pub source: String,
    /// Where.
    pub target: String,
    /// Type of the file system.
    pub file_system: String,
}

/// One swap area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The device or file.
    pub path: String,
    /// Its number, where it is a device that could be looked at.
    pub number: Option<DeviceNumber>,
}

/// A USB device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbDevice {
    /// Bus and port, as `1-2.3`: what stays over a re-plug into the same port.
    pub name: String,
    /// The bus node, as `/dev/bus/usb/001/004`.
    pub node: String,
    /// The node's number, where sysfs tells it.
    pub number: Option<DeviceNumber>,
    /// Bus, decimal.
    pub bus: u32,
    /// Device number on the bus: another one after each plug.
    pub device: u32,
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// Serial number, as the device tells it.
    pub serial: Option<String>,
    /// Manufacturer, as the device tells it.
    pub manufacturer: Option<String>,
    /// Product, as the device tells it.
    pub product_name: Option<String>,
    /// Class of the device; 0 is "see the interfaces".
    pub class: u8,
    /// Number and class of each interface.
    pub interfaces: Vec<(u8, u8)>,
    /// Whether it may be used.
    pub authorized: Option<bool>,
    /// The nearest NUMA nodes.
    pub numa: Vec<u32>,
}

/// A node of a class that rules select on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNode {
    /// Which class.
    pub class: Child,
    /// The kernel's name, as `ttyUSB0`.
    pub name: String,
    /// The node on the host.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Where it is on the bus: the resolved path of its device below `/sys/devices`.
    pub position: String,
    /// The name of the USB device that it belongs to.
    pub usb: Option<String>,
    /// The number of the USB interface that it belongs to.
    pub interface: Option<u8>,
    /// Which of several nodes of one camera: 0 is the main one.
    pub index: Option<u32>,
    /// Whether there is hardware behind it: the kernel has nodes for serial ports that no machine has.
    pub is_present: bool,
    /// Names in the directories of links that lead to it, as of `/dev/serial/by-id`.
    pub by_id: Vec<String>,
    /// The nearest NUMA nodes.
    pub numa: Vec<u32>,
}

/// A whole device that a node belongs to: the disk of `/dev/sg0`, the USB device of `/dev/usb/lp0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Above {
    /// Its node: a disk has a block device's, a USB device a character device's.
    pub node: Node,
    /// The kernel's name, as `sda` or `1-2.3`.
    pub name: String,
}

/// A path that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatch {
    /// As it matched: links are not resolved.
    pub path: String,
    /// What it leads to.
    pub resolved: String,
    /// What is there.
    pub kind: NodeKind,
}

/// What is at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// A character device.
    Character(DeviceNumber),
    /// A block device.
    Block(DeviceNumber),
    /// A directory.
    Directory,
    /// A file, socket or pipe.
    Other,
    /// A link that leads nowhere, or nothing any more.
    Nothing,
}
