//! What a pod gets for one id: one or more parts of the host, handed out together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::hold::{Hold, Mode};
use crate::ids::Kind;
use crate::picture::DeviceNumber;
use crate::rules::{Child, Owner};

/// One unit of a resource, as it stands in the kubelet's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The kubelet's id of it.
    pub id: Arc<str>,
    /// Which of several holders of the same parts; from 0.
    pub replica: u32,
    /// What it is; all replicas share it.
    pub body: Arc<Body>,
}

/// What a unit is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The resource's full name.
    pub resource: Arc<str>,
    /// Which of the rules' resources it is from.
    pub rule: usize,
    /// Which of its groups.
    pub group: usize,
    /// How many may hold it at once.
    pub count: u32,
    /// At least one.
    pub parts: Vec<Part>,
    /// All NUMA nodes of all parts, sorted; empty where that is not known.
    pub numa: Vec<u32>,
    /// Owner and mode of its nodes in the container.
    pub owner: Option<Owner>,
    /// Further groups of the container's processes.
    pub additional_gids: Vec<u32>,
}

impl Unit {
    /// The names of the machine's locks that whoever uses this unit holds, sorted. Whatever rule names a device, two units
    /// of it have one in common.
    pub fn locks(&self) -> impl Iterator<Item = String> + use<> {
        self.modes().into_keys()
    }

    /// Whether one of its locks is held with others: one that is not is this unit's alone.
    pub fn shares(&self, lock: &str) -> bool {
        self.modes().get(lock).is_some_and(|mode| *mode != Mode::Alone)
    }

    /// The names of those that are this unit's alone, in whatever combination its parts stand: without those of paths that
    /// several units use in turn.
    pub fn exclusive(&self) -> impl Iterator<Item = String> + use<> {
        let mut locks = BTreeMap::new();
        for hold in self.holds().filter(|hold| hold.turn.1 <= 1) {
            hold.lock(self.replica, self.body.count, &mut locks);
        }
        locks.into_iter().filter(|(_, mode)| *mode == Mode::Alone).map(|(name, _)| name)
    }

    /// The parts that a lock is for.
    pub fn parts_of<'u>(&'u self, lock: &'u str) -> impl Iterator<Item = &'u Part> {
        let is_of = move |part: &&Part| {
            let mut locks = BTreeMap::new();
            part.hold.lock(self.replica, self.body.count, &mut locks);
            locks.contains_key(lock)
        };
        self.body.parts.iter().filter(is_of)
    }

    /// What each of its parts takes up. Another one for a device that is plugged again: its locks are others then.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.body.parts.iter().map(|part| &part.hold)
    }

    /// Its locks, and how each is held.
    pub fn modes(&self) -> BTreeMap<String, Mode> {
        let mut locks = BTreeMap::new();
        for part in &self.body.parts {
            part.hold.lock(self.replica, self.body.count, &mut locks);
        }
        locks
    }

    /// Where its parts are on the host.
    pub fn host_paths(&self) -> impl Iterator<Item = &str> {
        self.body.parts.iter().filter_map(|part| part.give.host_path())
    }

    /// What it is called in a sentence: the names of its parts.
    pub fn name(&self) -> String {
        self.body.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// One part of a unit: a device, a path, a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What kind of thing it is.
    pub kind: Kind,
    /// `sdb`, `1-2.3`, `ttyUSB0`, `/dev/fuse`, or a slot's value.
    pub name: String,
    /// What the id is made of.
    pub identity: String,
    /// Whether the identity is only a position or name, and another device could come to have it.
    pub is_weak: bool,
    /// What of the machine it takes up.
    pub hold: Hold,
    /// What the container gets.
    pub give: Give,
    /// What must still hold when it is handed out.
    pub expected: Expected,
    /// Serial number.
    pub serial: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The controller or hub that it hangs on; empty where that is not known.
    pub controller: String,
}

/// What a container gets of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Give {
    /// A device node, or all nodes below a directory.
    Node {
        /// On the host, with links resolved: runtimes differ in what they make of a link.
        host_path: String,
        /// In the container.
        container_path: String,
        /// A subset of `rwm`.
        permissions: String,
    },
    /// A bind mount.
    Mount {
        /// On the host.
        host_path: String,
        /// In the container.
        container_path: String,
        /// Whether the container may not write to it.
        read_only: bool,
    },
    /// A variable, where there is a name for it.
    Value {
        /// Its name.
        env: Option<String>,
        /// Its value.
        value: String,
    },
}

impl Give {
    /// The path on the host.
    pub fn host_path(&self) -> Option<&str> {
        match self {
            Self::Node { host_path, .. } | Self::Mount { host_path, .. } => Some(host_path),
            Self::Value { .. } => None,
        }
    }
}

/// What must still hold when a part is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: it is only a number.
    Nothing,
    /// Something of this sort at this path, whatever device it is: the path is what was asked for.
    Path {
        /// As it matched.
        path: String,
        /// What was there.
        sort: Sort,
    },
    /// This very disk.
    Block(BlockIdentity),
    /// This very USB device, plugged in as it was.
    Usb(UsbIdentity),
    /// This very node.
    Node {
        /// Its class.
        class: Child,
        /// Its number.
        number: DeviceNumber,
        /// The USB device behind it.
        usb: Option<UsbIdentity>,
    },
}

/// A sort of thing at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "a character device",
            Self::Block => "a block device",
            Self::Directory => "a directory",
            Self::Other => "a file",
        })
    }
}

/// What tells a disk from another one at the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIdentity {
    /// The node's number.
    pub number: DeviceNumber,
    /// World-wide id.
    pub wwid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Another one for each new medium or device.
    pub diskseq: Option<u64>,
}

/// What tells a USB device from another one in the same port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbIdentity {
    /// Bus and port.
    pub name: String,
    /// Device number on the bus: another one after each plugging.
    pub device: u32,
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// Serial number.
    pub serial: Option<String>,
}
