//! The simulated machine: what is plugged where and what is done with it, as files below a root.
//!
//! ```text
//! slots 0 to 3   bays for disks: sda to sdd, each at a port of its own
//! slots 4 and 5  USB ports for radios: the node is the lowest ttyUSB that is free
//! ```
//!
//! What it does not do: it tells nobody of a change. Files of sysfs send no uevents, so the agent sees them when it looks.

use std::fs;

use outrigger_device_core::ids::{Kind, short};
use outrigger_host_tree::HostTree;

/// How many bays there are; the slots after them are USB ports.
pub const BAYS: usize = 4;

/// Bays and ports.
pub const SLOTS: usize = 6;

/// A physical thing that can be plugged: a disk or a radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thing {
    /// What a failure calls it.
    pub name: &'static str,
    /// What it tells of itself.
    pub tells: Tells,
    /// Whether another thing tells the same.
    pub is_twin: bool,
}

/// What a thing tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// A disk's world-wide id.
    Wwid(&'static str),
    /// A disk's serial number.
    Serial(&'static str),
    /// A disk that tells nothing.
    DiskOnly,
    /// A radio with a serial number.
    Radio(&'static str),
    /// A radio without.
    RadioOnly,
}

/// Everything that can be plugged. What comes after [`TWINS`] is in a world only where that says so.
pub const THINGS: &[Thing] = &[
    thing("disk a", Tells::Wwid("naa.50014ee20c0ffee1")),
    thing("disk b", Tells::Wwid("naa.50014ee20c0ffee2")),
    thing("disk c", Tells::Serial("WD-WCC4E0000003")),
    thing("disk d", Tells::DiskOnly),
    thing("disk e", Tells::DiskOnly),
    thing("radio a", Tells::Radio("0001")),
    thing("radio b", Tells::Radio("0002")),
    thing("radio c", Tells::RadioOnly),
    twin("disk f", Tells::Wwid("naa.50014ee20c0ffeef")),
    twin("disk g", Tells::Wwid("naa.50014ee20c0ffeef")),
    twin("radio f", Tells::Radio("9999")),
    twin("radio g", Tells::Radio("9999")),
];

/// From here on things are one of two that tell the same.
pub const TWINS: usize = 8;

const fn thing(name: &'static str, tells: Tells) -> Thing {
    Thing { name, tells, is_twin: false }
}

const fn twin(name: &'static str, tells: Tells) -> Thing {
    Thing { name, tells, is_twin: true }
}

impl Thing {
    /// Whether it fits into a slot.
    pub fn fits(&self, slot: usize) -> bool {
        matches!(self.tells, Tells::Radio(_) | Tells::RadioOnly) == (slot >= BAYS)
    }

    /// The id that it has wherever it is plugged; none for one that tells nothing, or nothing of its own.
    pub fn id(&self) -> Option<String> {
        match self.tells {
            _ if self.is_twin => None,
            Tells::Wwid(text) | Tells::Serial(text) => Some(short(Kind::Block, text)),
            Tells::Radio(serial) => Some(short(Kind::Node, &format!("10c4:ea60:{serial}/Tty"))),
            Tells::DiskOnly | Tells::RadioOnly => None,
        }
    }

    /// Whether all that tells it from another is where it is plugged.
    pub fn is_nameless(&self) -> bool {
        matches!(self.tells, Tells::DiskOnly | Tells::RadioOnly)
    }
}

/// What somebody does with a disk beside our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Mounted on the host.
    Mounted,
    /// Mounted in another mount namespace: only sysfs shows it.
    MountedElsewhere,
    /// A swap area.
    Swap,
    /// Part of a volume.
    Held,
}

/// The ways to use a disk.
pub const USES: [Use; 4] = [Use::Mounted, Use::MountedElsewhere, Use::Swap, Use::Held];

/// What is in a slot.
#[derive(Clone, Debug)]
pub struct Plugged {
    /// Which of [`THINGS`].
    pub thing: usize,
    /// Its node.
    pub node: String,
    /// How many things were plugged with it; the same thing that is plugged again has other numbers.
    pub plug: u64,
    /// What is done with it.
    pub used: Option<Use>,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// Its files.
    pub tree: HostTree,
    /// What is plugged.
    pub slots: [Option<Plugged>; SLOTS],
    /// How many things were plugged so far.
    plugs: u64,
}

impl Machine {
    /// Without any thing.
    pub fn new() -> Self {
        let tree = HostTree::of("sys/block\nsys/class/block\nsys/class/tty\nsys/bus/usb/devices\nsys/bus/scsi\ndev\n");
        Self { tree, slots: Default::default(), plugs: 0 }
    }

    /// Where a thing is plugged.
    pub fn slot_of(&self, thing: usize) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|plugged| plugged.thing == thing))
    }

    /// The slot that has this node now.
    pub fn slot_at(&self, node: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|plugged| plugged.node == node))
    }

    /// Plugs a thing into a slot that is free.
    pub fn plug(&mut self, slot: usize, thing: usize) {
        self.plugs += 1;
        let node = if slot < BAYS { self.lay_disk(slot, thing) } else { self.lay_radio(slot, thing) };
        self.slots[slot] = Some(Plugged { thing, node, plug: self.plugs, used: None });
    }

    /// Pulls what is in a slot, whoever uses it.
    pub fn unplug(&mut self, slot: usize) {
        let Some(Plugged { node, .. }) = self.slots[slot].clone() else { return };
        self.leave(slot);
        let name = node.trim_start_matches("/dev/");
        let links: &[&str] = if slot < BAYS { &["sys/block", "sys/class/block"] } else { &["sys/class/tty"] };
        for link in links {
            fs::remove_file(self.tree.path(link).join(name)).unwrap();
        }
        if slot >= BAYS {
            fs::remove_file(self.tree.path("sys/bus/usb/devices").join(port(slot))).unwrap();
        }
        fs::remove_dir_all(self.tree.path(&place(slot))).unwrap();
        fs::remove_file(self.tree.path(&node)).unwrap();
        self.slots[slot] = None;
    }

    /// Somebody begins to use a disk.
    pub fn employ(&mut self, slot: usize, how: Use) {
        let Some(plugged) = &mut self.slots[slot] else { return };
        plugged.used = Some(how);
        let name = disk_name(slot);
        match how {
            Use::MountedElsewhere => self.tree.add(&format!("sys/fs/xfs/{name}\n")),
            Use::Held => self.tree.add(&format!("{}/block/{name}/holders/dm-0\n", place(slot))),
            Use::Mounted | Use::Swap => self.write_tables(),
        }
    }

    /// Whoever used it does so no longer.
    pub fn leave(&mut self, slot: usize) {
        let Some(how) = self.slots[slot].as_mut().and_then(|plugged| plugged.used.take()) else { return };
        let name = disk_name(slot);
        match how {
            Use::MountedElsewhere => fs::remove_dir(self.tree.path(&format!("sys/fs/xfs/{name}"))).unwrap(),
            Use::Held => {
                fs::remove_dir(self.tree.path(&format!("{}/block/{name}/holders/dm-0", place(slot)))).unwrap();
            }
            Use::Mounted | Use::Swap => self.write_tables(),
        }
    }

    /// The tables of mounts and swap areas.
    fn write_tables(&self) {
        let (mut mounts, mut swaps) = (String::new(), "Filename\tType\tSize\tUsed\tPriority\n".to_owned());
        for (slot, plugged) in self.slots.iter().enumerate() {
            let Some(Plugged { node, used: Some(how), .. }) = plugged else { continue };
            match how {
                Use::Mounted => {
                    mounts += &format!("{} 22 8:{} / /mnt/{slot} rw shared:1 - vfat {node} rw\n", 30 + slot, 16 * slot);
                }
                Use::Swap => swaps += &format!("{node} partition 4096 0 -2\n"),
                Use::MountedElsewhere | Use::Held => (),
            }
        }
        self.tree.write("proc/1/mountinfo", mounts);
        self.tree.write("proc/swaps", swaps);
    }

    fn lay_disk(&self, slot: usize, thing: usize) -> String {
        let (name, directory) = (disk_name(slot), place(slot));
        let told = match THINGS[thing].tells {
            Tells::Wwid(wwid) => format!("  wwid = {wwid}\n"),
            Tells::Serial(serial) => format!("  serial = {serial}\n"),
            _ => String::new(),
        };
        self.tree.add(&format!(
            "{directory}\n  state = running\n{told}  subsystem -> ../../../../../../../bus/scsi\n  block/{name}\n    :block\n    \
             dev = 8:{}\n    size = 8192\n    ro = 0\n    removable = 0\n    hidden = 0\n    diskseq = {}\n    uevent = DEVNAME={name}\n    \
             holders\n    slaves\ndev/{name} =\n",
            16 * slot,
            self.plugs,
        ));
        format!("/dev/{name}")
    }

    fn lay_radio(&self, slot: usize, thing: usize) -> String {
        let is_free = |number: &usize| self.slot_at(&format!("/dev/ttyUSB{number}")).is_none();
        let number = (0..SLOTS).find(is_free).expect("there are more numbers than ports");
        let (port, directory, plugs) = (port(slot), place(slot), self.plugs);
        let told = match THINGS[thing].tells {
            Tells::Radio(serial) => format!("  serial = {serial}\n"),
            _ => String::new(),
        };
        self.tree.add(&format!(
            "{directory}\n  :bus usb\n  idVendor = 10c4\n  idProduct = ea60\n{told}  busnum = 1\n  devnum = {plugs}\n  dev = 189:{plugs}\n  \
             bDeviceClass = 00\n  authorized = 1\n  {port}:1.0\n    bInterfaceNumber = 00\n    bInterfaceClass = ff\n    \
             ttyUSB{number}/tty/ttyUSB{number}\n      :class tty\n      dev = 188:{number}\n      uevent = DEVNAME=ttyUSB{number}\n\
             dev/ttyUSB{number} =\n"
        ));
        format!("/dev/ttyUSB{number}")
    }
}

fn disk_name(slot: usize) -> &'static str {
    ["sda", "sdb", "sdc", "sdd"][slot]
}

fn port(slot: usize) -> String {
    format!("1-{}", slot - BAYS + 1)
}

/// Where the files of what is in a slot are.
fn place(slot: usize) -> String {
    if slot < BAYS {
        format!("sys/devices/pci0000:00/0000:00:17.0/ata{}/host{slot}/target{slot}:0:0/{slot}:0:0:0", slot + 1)
    } else {
        format!("sys/devices/pci0000:00/0000:00:14.0/usb1/{}", port(slot))
    }
}
