//! `devices.yaml` as people write it: the types that are its schema, its flags and its variables.
//!
//! Nothing is decided here; what a rule means stands in `rules`.

use std::collections::BTreeMap;

use outrigger_config::{Address, ByteSize, Duration, Verbatim};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `devices.yaml`: which devices of this machine are handed out, under which resource names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(title = "Devices")]
pub struct DevicesFile {
    /// The prefix of every resource that is given by `name`: `example.com` makes `example.com/serial`.
    pub domain: Option<String>,
    /// How ids are made: `short` names the physical device, `gdp` keeps those of the generic-device-plugin. Default: short.
    pub ids: Option<IdScheme>,
    /// Where sockets for the kubelet are made, as this process sees it. Default: /var/lib/kubelet/device-plugins.
    pub plugin_directory: Option<String>,
    /// The kubelet's directory as the kubelet sees it. Default: /var/lib/kubelet.
    pub kubelet_directory: Option<String>,
    /// Where the machine's /sys, /proc, /dev and /run/udev are. Default: /.
    pub host_root: Option<String>,
    /// The machine's own mount table, below `hostRoot`. Default: /host/proc/1/mountinfo where it is there, else
    /// /proc/1/mountinfo outside of containers.
    pub host_mountinfo: Option<String>,
    /// Where machine-wide locks are. Default: /run/outrigger/lock.
    pub lock_directory: Option<String>,
    /// How often sockets, streams and claims are looked at although nothing told of a change; at least 10ms. Default: 30s.
    pub audit: Option<Duration>,
    /// The address of /metrics, /healthz and /readyz. Default: 127.0.0.1:9412.
    pub admin: Option<Address>,
    /// The resources.
    pub devices: Vec<Resource>,
    /// The same as `devices`.
    pub device: Vec<Resource>,
}

/// How ids are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IdScheme {
    /// Ten characters that name the physical device.
    #[default]
    Short,
    /// Those of the generic-device-plugin.
    Gdp,
}

/// One resource that pods can ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    /// The name below `domain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The full name, instead of `name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// A fixed name of the socket, for a drop-in; two processes cannot share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Where its devices come from.
    pub groups: Vec<Group>,
    /// Which devices the kubelet should prefer. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer: Option<Prefer>,
    /// What is checked before a container starts. Default: verify for `block`, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<PreStart>,
    /// Whether another resource may hand out the same devices. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<bool>,
    /// Whether each match of a path becomes a resource of its own, whose name may hold `{path}`. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_match: Option<bool>,
    /// When a device counts as unhealthy, healthy again, and gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Variables for the container; {id}, {path}, {serial}, {size} and {index} are filled in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Annotations for the container's runtime, filled in likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Directories and files for the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountRule>,
}

/// A directory or file of this machine in the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountRule {
    /// Where it is here.
    pub host_path: String,
    /// Where it is in the container.
    pub container_path: String,
    /// Whether the container may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// Which devices are chosen first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Prefer {
    /// As the kubelet likes.
    #[default]
    None,
    /// Near each other: the fewest NUMA nodes, controllers, devices.
    Packed,
    /// Far from each other.
    Spread,
}

/// What is checked before a container starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PreStart {
    /// Nothing.
    None,
    /// That the device is still the one that was assigned.
    Verify,
}

/// When a device counts as unhealthy, healthy again, and gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// After how many failed checks in a row. Default: 3.
    pub unhealthy_after: Option<u32>,
    /// After how long without a failed check it is healthy again. Default: 10s.
    pub healthy_after: Option<Duration>,
    /// How long a vanished device stays listed as unhealthy. Default: 5m.
    pub vanish_grace: Option<Duration>,
    /// How often is checked what nothing announces; at least 10ms. Default: 10s.
    pub every: Option<Duration>,
}

/// Devices of one kind; exactly one of `paths`, `usb`, `block`, `serial`, `video` and `counted`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Group {
    /// How many containers can hold each unit at once. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Nodes by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathRule>>,
    /// USB devices by what they say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb: Option<Vec<UsbRule>>,
    /// Disks and partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockRule>,
    /// Serial ports: of USB converters and of the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<PortRule>,
    /// Cameras: the capture node of each, one unit for a camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<PortRule>,
    /// Slots that are no device: licenses of a dongle, channels of a card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedRule>,
    /// The node's path in the container; with a `/` at its end, the directory it lies in. Default: as here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// What the container may do with the nodes: `r`, `w` and `m` (make the node). Default: rwm, for usb rw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// Whether each match is a unit, or all are one. Default: each; for `usb` without any key of ours, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitRule>,
}

/// How matches become units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnitRule {
    /// Each match is one.
    Each,
    /// All matches are one.
    All,
}

/// One path of a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PathRule {
    /// A glob of absolute paths: `*`, `?` and `[a-z]` within one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its path in the container; with a `/` at its end, the directory it lies in. Default: as here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// What the container may do with the node: `r`, `w` and `m`. Default: mrw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// A device node, or a file or directory to mount. Default: Device.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<PathKind>,
    /// Whether a mount is read only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// How many units of the group may use one match. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Whether the unit does without it where nothing matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// What a path is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathKind {
    /// A device node, or a directory of such.
    #[default]
    Device,
    /// A file or directory to mount.
    Mount,
}

/// USB devices; all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UsbRule {
    /// The vendor's number, hexadecimal as `lsusb` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Verbatim>,
    /// The product's number, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Verbatim>,
    /// A glob of serial numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Verbatim>,
    /// The class of the device or of one of its interfaces, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Verbatim>,
    /// A glob of places, bus and ports: `1-2.4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Verbatim>,
    /// The number of the interface whose node is handed out, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Verbatim>,
    /// Which node below the device is handed out, instead of the one on the bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<Child>,
    /// What tells one device from another. Default: auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<UsbIdentity>,
}

/// A node below a USB device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Child {
    /// A serial port.
    Tty,
    /// A camera's capture node.
    Video,
    /// A raw input device.
    Hidraw,
    /// A sound card.
    Sound,
    /// Keys, pointers.
    Input,
    /// A disk.
    Block,
}

/// What tells one USB device from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UsbIdentity {
    /// Its serial number where it has one of its own, else also its port.
    #[default]
    Auto,
    /// Its serial number.
    Serial,
    /// The port it is plugged into.
    Port,
}

/// Disks; all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockRule {
    /// How they are attached. Without it any way of a real disk; not loop, dm, md, nbd, ram.
    pub transport: Vec<Transport>,
    /// Globs of kernel names: `sd*`.
    pub names: Vec<String>,
    /// A glob of models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Verbatim>,
    /// A glob of vendors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Verbatim>,
    /// A glob of serial numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Verbatim>,
    /// A glob of world-wide ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwid: Option<Verbatim>,
    /// Globs of names in /dev/disk/by-id.
    pub by_id: Vec<Verbatim>,
    /// At least this large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<ByteSize>,
    /// At most this large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<ByteSize>,
    /// Only spinning disks, or only others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// Only removable disks, or only others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    /// Only read-only disks. Without it, or with false, only writable ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only those of this NUMA node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// Only disks that are known to hold neither a file system nor a partition table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<bool>,
    /// Whole disks, or single partitions. Default: whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Partitions>,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// SATA, and ATA before it.
    Sata,
    /// SAS.
    Sas,
    /// Other SCSI: virtual controllers, RAID cards.
    Scsi,
    /// `NVMe` in this machine.
    Nvme,
    /// `NVMe` over a fabric.
    #[serde(rename = "nvme-fabric")]
    NvmeFabric,
    /// virtio.
    Virtio,
    /// SD cards and eMMC.
    Mmc,
    /// USB.
    Usb,
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    Fc,
    /// A file as a disk.
    Loop,
    /// Device mapper: LVM, dm-crypt, multipath.
    Dm,
    /// MD.
    Md,
    /// Network block devices.
    Nbd,
    /// Memory.
    Ram,
}

/// Whole disks, or single partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Partitions {
    /// Whole disks.
    #[default]
    Whole,
    /// Each partition.
    Partition,
}

/// Serial ports or cameras; all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortRule {
    /// The USB vendor's number, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Verbatim>,
    /// The USB product's number, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Verbatim>,
    /// A glob of USB serial numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Verbatim>,
    /// A glob of places, bus and ports: `1-2.4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Verbatim>,
    /// Globs of kernel names: `ttyUSB*`.
    pub names: Vec<String>,
    /// Globs of names in /dev/serial/by-id; not for cameras.
    pub by_id: Vec<Verbatim>,
}

/// Slots that are no device of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CountedRule {
    /// How many, numbered from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Or which: a slot for each value.
    pub values: Vec<Verbatim>,
    /// The variable that tells the container its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}
