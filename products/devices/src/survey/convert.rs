//! What the host shell shows, in the words of the core: the two know nothing of each other.

use outrigger_device_core::picture as core;
use outrigger_device_core::rules::{Child, Transport};
use outrigger_host::devices as host;

/// All devices, without the paths that patterns match.
pub fn picture(devices: host::Devices) -> core::Picture {
    let host::Devices { block, usb, nodes, mounts, swaps, skipped: _ } = devices;
    core::Picture {
        block: block.into_iter().map(disk).collect(),
        usb: usb.into_iter().map(usb_device).collect(),
        nodes: nodes.into_iter().map(node).collect(),
        found: std::collections::BTreeMap::new(),
        above: std::collections::BTreeMap::new(),
        mounts: seen(mounts, |mounts| mounts.into_iter().map(mount).collect()),
        swaps: seen(swaps, |swaps| swaps.into_iter().map(swap).collect()),
    }
}

/// What is at a path.
pub fn path(found: host::PathMatch) -> core::PathMatch {
    let host::PathMatch { path, resolved, kind } = found;
    let kind = match kind {
        host::NodeKind::Character(at) => core::NodeKind::Character(number(at)),
        host::NodeKind::Block(at) => core::NodeKind::Block(number(at)),
        host::NodeKind::Directory => core::NodeKind::Directory,
        host::NodeKind::Other => core::NodeKind::Other,
        host::NodeKind::Nothing => core::NodeKind::Nothing,
    };
    core::PathMatch { path, resolved, kind }
}

/// What was or was not visible.
pub fn seen<A, B>(seen: host::Seen<A>, convert: impl FnOnce(A) -> B) -> core::Seen<B> {
    match seen {
        host::Seen::Known(value) => core::Seen::Known(convert(value)),
        host::Seen::Missing(why) => core::Seen::Missing(why),
    }
}

fn number(number: host::DeviceNumber) -> core::DeviceNumber {
    let host::DeviceNumber { major, minor } = number;
    core::DeviceNumber { major, minor }
}

fn disk(disk: host::BlockDevice) -> core::BlockDevice {
    core::BlockDevice {
        number: number(disk.number),
        transport: transport(disk.transport),
        partitions: disk.partitions.into_iter().map(partition).collect(),
        usage: usage(disk.usage),
        name: disk.name,
        node: disk.node,
        position: disk.position,
        controller: disk.controller,
        size: disk.size,
        read_only: disk.read_only,
        removable: disk.removable,
        rotational: disk.rotational,
        hidden: disk.hidden,
        model: disk.model,
        vendor: disk.vendor,
        serial: disk.serial,
        wwid: disk.wwid,
        diskseq: disk.diskseq,
        state: disk.state,
        numa: disk.numa,
        holders: disk.holders,
        slaves: disk.slaves,
        by_id: disk.by_id,
        unreadable: disk.unreadable,
    }
}

fn partition(partition: host::Partition) -> core::Partition {
    let host::Partition { name, node, number: at, index, size, read_only, holders, by_id, usage: used } = partition;
    core::Partition { name, node, number: number(at), index, size, read_only, holders, by_id, usage: usage(used) }
}

fn usage(used: host::Usage) -> core::Usage {
    let host::Usage { kernel_file_system, signature } = used;
    core::Usage { kernel_file_system, signature: seen(signature, |found| found), ..core::Usage::default() }
}

fn mount(mount: host::Mount) -> core::Mount {
    let host::Mount { number: at, source, target, file_system } = mount;
    core::Mount { number: number(at), source, target, file_system }
}

fn swap(swap: host::Swap) -> core::Swap {
    core::Swap { path: swap.path, number: swap.number.map(number) }
}

fn usb_device(usb: host::UsbDevice) -> core::UsbDevice {
    core::UsbDevice {
        number: usb.number.map(number),
        name: usb.name,
        node: usb.node,
        bus: usb.bus,
        device: usb.device,
        vendor: usb.vendor,
        product: usb.product,
        serial: usb.serial,
        manufacturer: usb.manufacturer,
        product_name: usb.product_name,
        class: usb.class,
        interfaces: usb.interfaces,
        authorized: usb.authorized,
        numa: usb.numa,
    }
}

fn node(node: host::ClassNode) -> core::ClassNode {
    let class = match node.class {
        host::Class::Tty => Child::Tty,
        host::Class::Video => Child::Video,
        host::Class::Hidraw => Child::Hidraw,
        host::Class::Sound => Child::Sound,
        host::Class::Input => Child::Input,
    };
    core::ClassNode {
        class,
        number: number(node.number),
        name: node.name,
        node: node.node,
        position: node.position,
        usb: node.usb,
        interface: node.interface,
        index: node.index,
        is_present: node.is_present,
        by_id: node.by_id,
        numa: node.numa,
    }
}

fn transport(transport: host::Transport) -> Transport {
    match transport {
        host::Transport::Sata => Transport::Sata,
        host::Transport::Sas => Transport::Sas,
        host::Transport::Scsi => Transport::Scsi,
        host::Transport::Nvme => Transport::Nvme,
        host::Transport::NvmeFabric => Transport::NvmeFabric,
        host::Transport::Virtio => Transport::Virtio,
        host::Transport::Mmc => Transport::Mmc,
        host::Transport::Usb => Transport::Usb,
        host::Transport::Iscsi => Transport::Iscsi,
        host::Transport::FibreChannel => Transport::FibreChannel,
        host::Transport::Loop => Transport::Loop,
        host::Transport::DeviceMapper => Transport::DeviceMapper,
        host::Transport::Md => Transport::Md,
        host::Transport::Nbd => Transport::Nbd,
        host::Transport::Ram => Transport::Ram,
        host::Transport::Other => Transport::Other,
    }
}
