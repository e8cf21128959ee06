//! What a group selects, by kind.

use std::fmt;

/// What a group selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// Nodes and directories by their paths. The *i*-th unit takes the *i*-th match of each.
    Paths(Vec<PathRule>),
    /// USB devices that any of these matches.
    Usb(Vec<UsbRule>),
    /// Disks or partitions.
    Block(BlockRule),
    /// Serial ports, on board and by USB.
    Serial(SerialRule),
    /// Cameras.
    Video(VideoRule),
    /// No device: numbered slots, or values.
    Counted(CountedRule),
}

/// Nodes or directories by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Which paths.
    pub path: PathPattern,
    /// Path in the container instead of the host's; a trailing `/` means a directory.
    pub mount_path: Option<String>,
    /// A subset of `rwm`.
    pub permissions: String,
    /// Whether it is handed out as node or as mount.
    pub kind: PathKind,
    /// For a mount: whether the container may not write to it.
    pub read_only: bool,
    /// How often one match may be used within the group; at least 1.
    pub limit: u32,
    /// Whether no match leaves it out instead of emptying the group.
    pub optional: bool,
}

impl PathRule {
    /// Device nodes by a glob, with generic-device-plugin's defaults.
    pub fn new(glob: impl Into<String>) -> Self {
        Self {
            path: PathPattern::Glob(glob.into()),
            mount_path: None,
            permissions: "mrw".to_owned(),
            kind: PathKind::Device,
            read_only: false,
            limit: 1,
            optional: false,
        }
    }
}

/// Which paths. Whoever looks at the host finds the matches: see [`Picture::found`](crate::picture::Picture::found).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathPattern {
    /// Absolute, in Go's `path.Match` syntax; see [`pattern`](crate::pattern).
    Glob(String),
    /// A regular expression over paths relative to `/dev`, not anchored.
    Regex(String),
}

/// How a path is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// As device node; of a directory, all nodes below it.
    Device,
    /// As bind mount.
    Mount,
}

/// A text to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPattern {
    /// Only this text.
    Exact(String),
    /// A glob in which `*` and `?` match every character.
    Glob(String),
}

/// USB devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbRule {
    /// `idVendor`.
    pub vendor: Option<u16>,
    /// `idProduct`.
    pub product: Option<u16>,
    /// The serial number as the device tells it. A device without one does not match.
    pub serial: Option<TextPattern>,
    /// Class of the device or of any of its interfaces.
    pub class: Option<u8>,
    /// Glob on the bus and port, as `1-2.3`.
    pub port: Option<String>,
    /// Only children of this interface number.
    pub interface: Option<u8>,
    /// What is handed out: `None` is the bus node.
    pub child: Option<Child>,
    /// What the id is made of.
    pub identity: UsbIdentity,
}

/// What of a USB device is handed out instead of its bus node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Child {
    /// Serial ports.
    Tty,
    /// Camera nodes.
    Video,
    /// Raw input reports.
    Hidraw,
    /// Sound nodes.
    Sound,
    /// Input events.
    Input,
    /// Disks.
    Block,
}

/// What the id of a USB device is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsbIdentity {
    /// The serial number where it tells the device from all others here, else the port too.
    #[default]
    Auto,
    /// The serial number alone: two equal ones are a duplicate.
    Serial,
    /// The port alone: whatever is plugged there.
    Port,
}

/// Disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockRule {
    /// Any of these; empty is any that is a real disk (not loop, zram, device mapper, …).
    pub transport: Vec<Transport>,
    /// Globs on the kernel's name, as `sd*`. Empty is any.
    pub names: Vec<String>,
    /// Glob on the model.
    pub model: Option<String>,
    /// Glob on the vendor.
    pub vendor: Option<String>,
    /// Glob on the serial number.
    pub serial: Option<String>,
    /// Glob on the world-wide id.
    pub wwid: Option<String>,
    /// Globs on the names in `/dev/disk/by-id`. Empty is any.
    pub by_id: Vec<String>,
    /// At least so many bytes.
    pub min_size: Option<u64>,
    /// At most so many bytes.
    pub max_size: Option<u64>,
    /// Whether it must spin, or must not.
    pub rotational: Option<bool>,
    /// Whether its medium must be removable, or must not.
    pub removable: Option<bool>,
    /// `None` and `false` withhold read-only disks; `true` selects only those.
    pub read_only: Option<bool>,
    /// The NUMA node it must be near to.
    pub numa_node: Option<u32>,
    /// Whether it must carry no signature of a file system or partition table.
    pub empty: bool,
    /// Partitions instead of whole disks.
    pub partitions: bool,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// SATA.
    Sata,
    /// SAS.
    Sas,
    /// Another SCSI host, as of a virtual machine.
    Scsi,
    /// `nvme` in this machine.
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
    /// Device mapper: LVM, dm-crypt, multipath.
    DeviceMapper,
    /// MD.
    Md,
    /// Network block device.
    Nbd,
    /// Memory.
    Ram,
    /// What none of these is.
    Other,
}

impl Transport {
    /// Whether it is a disk of its own, and not a view of other things.
    pub fn is_real(self) -> bool {
        !matches!(self, Self::Loop | Self::DeviceMapper | Self::Md | Self::Nbd | Self::Ram | Self::Other)
    }

    /// Every transport, with the word for it in a configuration.
    pub const ALL: [(Self, &str); 16] = [
        (Self::Sata, "sata"),
        (Self::Sas, "sas"),
        (Self::Scsi, "scsi"),
        (Self::Nvme, "nvme"),
        (Self::NvmeFabric, "nvme-fabric"),
        (Self::Virtio, "virtio"),
        (Self::Mmc, "mmc"),
        (Self::Usb, "usb"),
        (Self::Iscsi, "iscsi"),
        (Self::FibreChannel, "fc"),
        (Self::Loop, "loop"),
        (Self::DeviceMapper, "dm"),
        (Self::Md, "md"),
        (Self::Nbd, "nbd"),
        (Self::Ram, "ram"),
        (Self::Other, "other"),
    ];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(transport, _)| transport == self).map_or("", |(_, word)| word);
        f.write_str(word)
    }
}

/// Serial ports: tty nodes of USB devices and of ports on board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SerialRule {
    /// `idVendor`; a port on board does not match.
    pub vendor: Option<u16>,
    /// `idProduct`; a port on board does not match.
    pub product: Option<u16>,
    /// The serial number of the USB device.
    pub serial: Option<TextPattern>,
    /// Glob on the bus and port.
    pub port: Option<String>,
    /// Globs on the kernel's name, as `ttyUSB*`. Empty is any.
    pub names: Vec<String>,
    /// Globs on the names in `/dev/serial/by-id`. Empty is any.
    pub by_id: Vec<String>,
}

/// Cameras: the capture nodes of `/dev/video*`, one unit for each camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoRule {
    /// `idVendor`; a camera that is not on USB does not match.
    pub vendor: Option<u16>,
    /// `idProduct`; a camera that is not on USB does not match.
    pub product: Option<u16>,
    /// The serial number of the USB device.
    pub serial: Option<TextPattern>,
    /// Glob on the bus and port.
    pub port: Option<String>,
    /// Globs on the kernel's name, as `video*`. Empty is any.
    pub names: Vec<String>,
}

/// Slots without a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountedRule {
    /// So many, with the numbers from 0.
    Count {
        /// How many.
        count: u32,
        /// The variable that tells the container its numbers.
        env: Option<String>,
    },
    /// One for each value.
    Values {
        /// What the container is told.
        values: Vec<String>,
        /// The variable that tells it.
        env: Option<String>,
    },
}
