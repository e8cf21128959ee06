//! Disks and their partitions, from `/sys/block`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::attributes::{Attributes, Tree, bytes, names};
use super::{BlockDevice, Partition, Scope, Transport, Usage, probe};

/// Bytes of a sector in sysfs, whatever the disk's own are.
const SECTOR: u64 = 512;

/// How deep devices may be stacked.
const STACK: usize = 16;

/// What is read once for all disks.
struct Shared {
    by_id: BTreeMap<String, Vec<String>>,
    /// File systems that the kernel has mounted, by the device's name.
    file_systems: BTreeMap<String, String>,
}

pub(super) fn look(tree: &mut Tree<'_>, scope: &Scope) -> Vec<BlockDevice> {
    let directory = tree.roots.at("/sys/block");
    let names = match scope {
        Scope::All => tree.names(&directory),
        Scope::Only { disks, .. } => disks.clone(),
    };
    if names.is_empty() {
        return Vec::new();
    }
    let shared = Shared { by_id: tree.links("/dev/disk/by-id"), file_systems: file_systems(tree) };
    let mut disks: Vec<BlockDevice> = names.iter().filter_map(|name| disk(tree, name, &shared)).collect();
    numa_of_stacked(tree, &mut disks);
    disks
}

/// `/sys/fs/TYPE/DEVICE`, and for btrfs `/sys/fs/btrfs/UUID/devices/DEVICE`: whatever mount namespace it is mounted in.
fn file_systems(tree: &mut Tree<'_>) -> BTreeMap<String, String> {
    let root = tree.roots.at("/sys/fs");
    let mut found = BTreeMap::new();
    for kind in ["ext4", "xfs", "f2fs", "erofs", "nilfs2", "jfs"] {
        for device in names(&root.join(kind)).unwrap_or_default() {
            if device != "features" {
                found.insert(device, kind.to_owned());
            }
        }
    }
    let btrfs = root.join("btrfs");
    for uuid in names(&btrfs).unwrap_or_default() {
        for device in names(&btrfs.join(uuid).join("devices")).unwrap_or_default() {
            found.insert(device, "btrfs".to_owned());
        }
    }
    found
}

fn disk(tree: &mut Tree<'_>, name: &str, shared: &Shared) -> Option<BlockDevice> {
    let link = tree.roots.at("/sys/block").join(name);
    let real = tree.real(&link)?;
    let mut read = Attributes::of(&real);
    let Some(number) = read.device_number("dev") else {
        for why in read.unreadable {
            tree.skipped.push((real.join("dev"), why));
        }
        return None;
    };
    let node = read.node(name);
    let position = position(tree, &real);
    let transport = transport(name, &position, &real);
    let partitions = partitions(tree, &mut read, shared);
    let disk = BlockDevice {
        name: name.to_owned(),
        number,
        controller: controller(&position),
        transport,
        size: read.number::<u64>("size").unwrap_or(0).saturating_mul(SECTOR),
        read_only: read.flag("ro").unwrap_or(false),
        removable: read.flag("removable").unwrap_or(false),
        rotational: read.flag("queue/rotational").unwrap_or(false),
        hidden: read.flag("hidden").unwrap_or(false),
        model: read.first(&["device/model", "device/name", "dm/name"]).unwrap_or_default(),
        vendor: read.first(&["device/vendor"]).unwrap_or_default(),
        serial: read.first(&["serial", "device/serial"]).or_else(|| scsi_serial(&real)),
        wwid: wwid(&mut read),
        diskseq: read.number("diskseq"),
        state: if is_stateful(transport) { read.first(&["device/state"]) } else { None },
        numa: tree.numa(&real),
        holders: read.names("holders"),
        slaves: read.names("slaves"),
        partitions,
        by_id: shared.by_id.get(&node).cloned().unwrap_or_default(),
        usage: usage(tree, name, number, shared),
        unreadable: read.unreadable,
        node,
        position,
    };
    Some(disk)
}

fn usage(tree: &Tree<'_>, name: &str, number: super::DeviceNumber, shared: &Shared) -> Usage {
    let signature = probe::signature_of_udev(tree.roots, number);
    Usage { kernel_file_system: shared.file_systems.get(name).cloned(), signature }
}

/// What cannot be read of a partition is said of its disk, which is in doubt as a whole.
fn partitions(tree: &Tree<'_>, disk: &mut Attributes, shared: &Shared) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for name in disk.names(".") {
        let directory = disk.directory.join(&name);
        if !directory.join("partition").exists() {
            continue;
        }
        let mut read = Attributes::of(&directory);
        if let (Some(number), Some(index)) = (read.device_number("dev"), read.number("partition")) {
            let node = read.node(&name);
            partitions.push(Partition {
                number,
                index,
                size: read.number::<u64>("size").unwrap_or(0).saturating_mul(SECTOR),
                read_only: read.flag("ro").unwrap_or(false),
                holders: read.names("holders"),
                by_id: shared.by_id.get(&node).cloned().unwrap_or_default(),
                usage: usage(tree, &name, number, shared),
                node,
                name: name.clone(),
            });
        }
        disk.unreadable.extend(read.unreadable.into_iter().map(|why| format!("{name}/{why}")));
    }
    partitions.sort_by_key(|partition| partition.index);
    partitions
}

/// The path of what the disk is of. A disk that is of nothing has only its own.
fn position(tree: &Tree<'_>, real: &Path) -> String {
    let whole = tree.position(real);
    if whole.starts_with("/devices/virtual/") {
        return whole;
    }
    // The namespaces of an nvme have no such directory, and are told apart by their own.
    let of = real.parent().filter(|parent| parent.ends_with("block")).and_then(Path::parent);
    of.map_or(whole, |of| tree.position(of))
}

/// The innermost PCI device on the way.
fn controller(position: &str) -> String {
    let is_pci = |step: &&str| {
        let bytes = step.as_bytes();
        bytes.len() == 12 && bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.'
    };
    position.split('/').rfind(is_pci).unwrap_or("").to_owned()
}

/// Whether its driver has a state of the disk, and not of something else.
fn is_stateful(transport: Transport) -> bool {
    use Transport::{FibreChannel, Iscsi, Nvme, NvmeFabric, Sas, Sata, Scsi, Usb};
    matches!(transport, Sata | Sas | Scsi | Usb | Iscsi | FibreChannel | Nvme | NvmeFabric)
}

/// By name, by the bus on the way, else by the subsystem of what it is of.
fn transport(name: &str, position: &str, real: &Path) -> Transport {
    let by_name = [
        ("loop", Transport::Loop),
        ("zram", Transport::Ram),
        ("ram", Transport::Ram),
        ("dm-", Transport::DeviceMapper),
        ("md", Transport::Md),
        ("nbd", Transport::Nbd),
        ("mmcblk", Transport::Mmc),
        ("sr", Transport::Other),
        ("fd", Transport::Other),
    ];
    if let Some((_, transport)) = by_name.iter().find(|(begin, _)| name.starts_with(begin)) {
        return *transport;
    }
    if name.starts_with("nvme") {
        return nvme_transport(real);
    }
    let step = |begin: &str, digits: bool| {
        let rest = |step: &str| step.strip_prefix(begin).map(str::to_owned);
        let fits = |rest: String| !digits || (!rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
        position.split('/').filter_map(rest).any(fits)
    };
    let subsystem = std::fs::read_link(real.join("device/subsystem")).ok();
    let subsystem = subsystem.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    match subsystem {
        Some("virtio") => Transport::Virtio,
        _ if step("usb", true) => Transport::Usb,
        _ if step("ata", true) => Transport::Sata,
        _ if step("end_device-", false) => Transport::Sas,
        _ if step("session", true) => Transport::Iscsi,
        _ if step("rport-", false) => Transport::FibreChannel,
        Some("scsi") => Transport::Scsi,
        _ => Transport::Other,
    }
}

/// That of its controller; of a multipath disk, that of any path.
fn nvme_transport(real: &Path) -> Transport {
    let own = Attributes::of(real).first(&["device/transport"]);
    let subsystem = real.join("device");
    let of_path = || {
        let controllers = names(&subsystem).unwrap_or_default().into_iter().filter(|name| name.starts_with("nvme"));
        controllers.map(|name| subsystem.join(name)).find_map(|path| Attributes::of(&path).first(&["transport"]))
    };
    match own.or_else(of_path).as_deref() {
        Some("pcie") | None => Transport::Nvme,
        Some(_) => Transport::NvmeFabric,
    }
}

fn wwid(read: &mut Attributes) -> Option<String> {
    let file = |read: &mut Attributes| read.first(&["loop/backing_file"]).map(|file| format!("loop.{file}"));
    read.first(&["wwid", "device/wwid", "dm/uuid", "md/uuid", "device/cid"]).or_else(|| file(read))
}

/// The unit serial number page: a header of four bytes, of which the last two are the length (SPC-5, 7.7.18).
fn scsi_serial(real: &Path) -> Option<String> {
    let page = bytes(&real.join("device/vpd_pg80")).ok()??;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let serial = String::from_utf8_lossy(page.get(4..)?.get(..length)?).trim().to_owned();
    Some(serial).filter(|serial| !serial.is_empty())
}

/// A stacked disk is near to all that it is stacked on.
fn numa_of_stacked(tree: &mut Tree<'_>, disks: &mut [BlockDevice]) {
    let known: BTreeMap<String, (Vec<u32>, Vec<String>)> =
        disks.iter().map(|disk| (disk.name.clone(), (disk.numa.clone(), disk.slaves.clone()))).collect();
    for disk in disks.iter_mut().filter(|disk| !disk.slaves.is_empty()) {
        let mut numa: BTreeSet<u32> = BTreeSet::new();
        let mut below = disk.slaves.clone();
        for _ in 0..STACK {
            let mut next = Vec::new();
            for name in &below {
                if let Some((nodes, slaves)) = known.get(name) {
                    numa.extend(nodes);
                    next.extend(slaves.iter().cloned());
                } else {
                    // A partition, or a disk that was not asked for.
                    let link = tree.roots.at("/sys/class/block").join(name);
                    numa.extend(tree.real(&link).map(|real| tree.numa(&real)).unwrap_or_default());
                }
            }
            below = next;
        }
        disk.numa = numa.into_iter().collect();
    }
}
