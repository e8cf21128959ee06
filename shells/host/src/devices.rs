//! What a Linux machine shows of its devices: disks, USB devices, serial ports, cameras and other nodes, and what is done
//! with the disks, below a root that is given.
//!
//! Everything is read from files: no program is started and no device is opened, save by [`probe`], which is asked for it.
//! A device that goes while it is read is left out; an attribute that cannot be read is named in what it belongs to; a
//! table that is not visible is [`Seen::Missing`] with the reason. Nothing ends the look.
//!
//! What it does not do: it judges nothing, and does not wait for changes ([`events`](crate::events) does).

mod attributes;
mod block;
mod nodes;
mod paths;
mod probe;
mod tables;
mod usb;

use std::path::{Path, PathBuf};

pub use paths::{NodeKind, PathMatch};
pub use probe::{Probe, probe};

use attributes::Tree;

/// Where the parts of a machine's picture are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Put before every path: `/` for the machine itself.
    pub root: PathBuf,
    /// The host's mount table, below the root; `None` finds it.
    pub mountinfo: Option<PathBuf>,
}

impl Roots {
    /// Those of the machine below this root.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), mountinfo: None }
    }

    /// A path of the host, as it is reached from here.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The host's mount table, or why it is not visible. That of a container is none: `/proc/1/mountinfo` is the host's only
    /// where the first process is.
    pub fn mountinfo(&self) -> Result<PathBuf, String> {
        tables::mountinfo(self)
    }
}

/// What a machine shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Whole disks, with their partitions, by name.
    pub block: Vec<BlockDevice>,
    /// USB devices, by name.
    pub usb: Vec<UsbDevice>,
    /// Nodes of the classes tty, video4linux, hidraw, sound and input, by name.
    pub nodes: Vec<ClassNode>,
    /// Mounts of the host.
    pub mounts: Seen<Vec<Mount>>,
    /// Swap areas.
    pub swaps: Seen<Vec<Swap>>,
    /// What could not be looked at: path and reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// These disks, by the names of whole disks, with mounts and swaps; these USB devices; these nodes.
    Only {
        /// As `sda`.
        disks: Vec<String>,
        /// As `1-2.3`.
        usb: Vec<String>,
        /// As `ttyUSB0`.
        nodes: Vec<String>,
    },
}

/// Something that may not have been visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was.
    Known(T),
    /// It was not, for this reason.
    Missing(String),
}

impl<T: Default> Default for Seen<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

/// Major and minor number of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver's.
    pub major: u32,
    /// The device's.
    pub minor: u32,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// SATA.
    Sata,
    /// SAS.
    Sas,
    /// Another SCSI host.
    Scsi,
    /// `nvme` on the PCI bus.
    Nvme,
    /// `nvme` over a fabric.
    NvmeFabric,
    /// virtio-blk.
    Virtio,
    /// SD cards and eMMC.
    Mmc,
    /// USB.
    Usb,
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    FibreChannel,
    /// A file.
    Loop,
    /// Device mapper.
    DeviceMapper,
    /// MD.
    Md,
    /// Network block device.
    Nbd,
    /// Memory: zram, brd.
    Ram,
    /// What none of these is.
    Other,
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name.
    pub name: String,
    /// The node, as a path of the host.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Where it is on the bus: the path below `/sys`, of the device that the disk is of.
    pub position: String,
    /// The PCI device that it hangs on; empty where it hangs on none.
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
    /// Whether the kernel hides it.
    pub hidden: bool,
    /// Model, without the spaces around it.
    pub model: String,
    /// Vendor, without the spaces around it.
    pub vendor: String,
    /// Serial number.
    pub serial: Option<String>,
    /// World-wide id, or what stands for it: `dm` and `md` have ids of their own, a loop device its file.
    pub wwid: Option<String>,
    /// Another number for each new medium or device, until reboot.
    pub diskseq: Option<u64>,
    /// What the driver says of it.
    pub state: Option<String>,
    /// The nearest NUMA nodes.
    pub numa: Vec<u32>,
    /// Names of what is stacked on it.
    pub holders: Vec<String>,
    /// Names of what it is stacked on.
    pub slaves: Vec<String>,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// Names in `/dev/disk/by-id`.
    pub by_id: Vec<String>,
    /// Evidence of use.
    pub usage: Usage,
    /// What could not be read of it.
    pub unreadable: Vec<String>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name.
    pub name: String,
    /// The node, as a path of the host.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Its number in the table.
    pub index: u32,
    /// Bytes.
    pub size: u64,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Names of what is stacked on it.
    pub holders: Vec<String>,
    /// Names in `/dev/disk/by-id`.
    pub by_id: Vec<String>,
    /// Evidence of use.
    pub usage: Usage,
}

/// Evidence of what is done with a disk or partition, beside mounts and swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The file system that the kernel has mounted from it, in whatever mount namespace.
    pub kernel_file_system: Option<String>,
    /// What udev has found on it: none is nothing.
    pub signature: Seen<Option<String>>,
}

impl Default for Usage {
    fn default() -> Self {
        Self { kernel_file_system: None, signature: Seen::Missing("not looked at".to_owned()) }
    }
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Of the file system.
    pub number: DeviceNumber,
    /// What was mounted.
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
    /// Its number, where it is a block device that can be seen.
    pub number: Option<DeviceNumber>,
}

/// A USB device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbDevice {
    /// Bus and port, as `1-2.3`.
    pub name: String,
    /// The bus node, as a path of the host.
    pub node: String,
    /// The node's number.
    pub number: Option<DeviceNumber>,
    /// Bus.
    pub bus: u32,
    /// Device number on the bus.
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
    /// Class of the device.
    pub class: u8,
    /// Number and class of each interface.
    pub interfaces: Vec<(u8, u8)>,
    /// Whether it may be used.
    pub authorized: Option<bool>,
    /// The nearest NUMA nodes.
    pub numa: Vec<u32>,
}

/// A class of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Serial ports and terminals.
    Tty,
    /// Cameras.
    Video,
    /// Raw input reports.
    Hidraw,
    /// Sound.
    Sound,
    /// Input events.
    Input,
}

/// A node of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNode {
    /// Which class.
    pub class: Class,
    /// The kernel's name.
    pub name: String,
    /// The node, as a path of the host.
    pub node: String,
    /// The node's number.
    pub number: DeviceNumber,
    /// Where its device is on the bus: the path below `/sys`.
    pub position: String,
    /// The USB device that it belongs to.
    pub usb: Option<String>,
    /// The number of the USB interface that it belongs to.
    pub interface: Option<u8>,
    /// Which of several nodes of one device: 0 is the main one.
    pub index: Option<u32>,
    /// Whether there is hardware behind it.
    pub is_present: bool,
    /// Names in the directories of links that lead to it.
    pub by_id: Vec<String>,
    /// The nearest NUMA nodes.
    pub numa: Vec<u32>,
}

/// Looks.
pub fn look(roots: &Roots, scope: &Scope) -> Devices {
    let mut tree = Tree::new(roots);
    let (block, usb, nodes) =
        (block::look(&mut tree, scope), usb::look(&mut tree, scope), nodes::look(&mut tree, scope));
    let (mounts, swaps) = (tables::mounts(roots), tables::swaps(roots));
    Devices { block, usb, nodes, mounts, swaps, skipped: tree.skipped }
}

/// The paths below `/` that a glob matches, sorted. `matches` tells whether one step of the pattern matches a name.
pub fn expand(roots: &Roots, glob: &str, matches: &dyn Fn(&str, &str) -> bool) -> Vec<PathMatch> {
    paths::expand(roots, glob, matches)
}

/// The paths below `/dev`, at most 10 steps deep, whose relative form is wanted, sorted.
pub fn search(roots: &Roots, wants: &dyn Fn(&str) -> bool) -> Vec<PathMatch> {
    paths::search(roots, wants)
}

/// What is at a path of the host now.
pub fn path(roots: &Roots, path: &str) -> PathMatch {
    paths::at(roots, path)
}
