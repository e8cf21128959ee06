//! What of the machine a part of a unit takes up, and the locks by which everybody is told.
//!
//! ```text
//!   sdb             block-8:16 alone
//!   sdb1            block-8:17 alone, block-8:16 with others
//!   ttyUSB0         char-188:0 alone, char-189:3 with others, which is the USB device
//!   kvm, count: 3   char-10:232 with others, and alone one of char-10:232+0, char-10:232+1, char-10:232+2
//!   snd/seq         char-116:1 alone, directory-… with others, which is /dev/snd
//! ```
//!
//! Two rules, two files or two processes may know different things of one device, and each may call it by another name; the
//! number of its node is the same for all. What a device is, as far as that is known, is locked beside it: it keeps the lock
//! when it is plugged again and gets another number.
//!
//! A lock that is held with others shows nobody who has it. Therefore each of those has one of its own too, whose name
//! begins with that of the whole and a `+`. By these a decision also keeps those apart that have a part of something and
//! those that have the whole with others: the locks alone let them both in. Whoever has taken such a lock looks for them once
//! more.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::{Kind, short};
use crate::picture::{DeviceNumber, NodeKind};

/// A device node by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Whether it is a block device.
    pub is_block: bool,
    /// Its number.
    pub number: DeviceNumber,
}

impl Node {
    /// What is at a path, where that is a node.
    pub fn of(kind: NodeKind) -> Option<Self> {
        match kind {
            NodeKind::Character(number) => Some(Self { is_block: false, number }),
            NodeKind::Block(number) => Some(Self { is_block: true, number }),
            NodeKind::Directory | NodeKind::Other | NodeKind::Nothing => None,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", if self.is_block { "block" } else { "char" }, self.number)
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By nobody else.
    Alone,
    /// By each of several to whom the rule gives the whole.
    Several,
    /// By whoever has a part of it.
    Part,
}

impl Mode {
    /// Whether two may hold it so at once.
    pub fn goes_with(self, other: Self) -> bool {
        self == other && self != Self::Alone
    }

    /// The stronger of both.
    fn and(self, other: Self) -> Self {
        if self == Self::Part || other == Self::Alone { other } else { self }
    }

    /// Whether somebody is in the way who has `part` of a lock that is held so: a number for one of several, else the name of
    /// what is a part.
    pub fn meets(self, part: &str) -> bool {
        // What has no number is told by a digest, which may begin with a digit.
        let is_one_of_several = part.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Alone => true,
            Self::Several => !is_one_of_several,
            Self::Part => is_one_of_several,
        }
    }
}

/// What a part of a unit takes up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// What it is: a digest of the device's identity, whatever rule names it. None where only its number is known.
    pub identity: Option<String>,
    /// Its node.
    pub node: Option<Node>,
    /// The disk of a partition, the USB device of a port.
    pub of: Vec<Node>,
    /// The directories below `/dev` in which its node is: they can be handed out too.
    pub directories: Vec<String>,
    /// Which of how many uses this is that the limit of its path allows.
    pub turn: (u32, u32),
}

impl Hold {
    /// Of what has no node: a slot, a file, a mount.
    pub fn of_identity(identity: String) -> Self {
        Self { identity: Some(identity), turn: (0, 1), ..Self::default() }
    }

    /// Of a node at this path.
    pub fn of_node(node: Option<Node>, path: &str, identity: Option<String>) -> Self {
        Self { identity, node, directories: directories(path), turn: (0, 1), ..Self::default() }
    }

    /// Of a directory with all that is in it.
    pub fn of_directory(path: &str) -> Self {
        let identity = Some(directory(path));
        Self { identity, directories: directories(path), turn: (0, 1), ..Self::default() }
    }

    /// A part of this too.
    #[must_use]
    pub fn and_of(mut self, whole: Option<Node>) -> Self {
        self.of.extend(whole);
        self
    }

    /// What tells one device from the next: what it is, else where.
    pub fn device(&self) -> String {
        self.identity.clone().or_else(|| self.key()).unwrap_or_default()
    }

    /// The name under which its uses are told apart: its node is known to everybody.
    fn key(&self) -> Option<String> {
        self.node.map(|node| node.to_string()).or_else(|| self.identity.clone())
    }

    /// Notes the locks for one of `count` holders.
    pub(crate) fn lock(&self, replica: u32, count: u32, locks: &mut BTreeMap<String, Mode>) {
        let mut note = |name: String, mode: Mode| {
            let both = locks.entry(name).or_insert(mode);
            *both = both.and(mode);
        };
        let Some(key) = self.key() else { return };
        let (turn, turns) = self.turn;
        let is_for_several = u64::from(count) * u64::from(turns) > 1;
        let mode = if is_for_several { Mode::Several } else { Mode::Alone };
        let place = u64::from(turn) * u64::from(count) + u64::from(replica);
        let own = |name: &str| if is_for_several { format!("{name}+{place}") } else { name.to_owned() };
        for name in self.identity.iter().chain([&key]) {
            note(name.clone(), mode);
            note(own(name), Mode::Alone);
        }
        let own = own(&key);
        for whole in &self.of {
            note(whole.to_string(), Mode::Part);
            note(format!("{whole}+{own}"), Mode::Alone);
        }
        for directory in self.directories.iter().map(|path| directory(path)) {
            note(format!("{directory}+{own}"), Mode::Alone);
            note(directory, Mode::Part);
        }
    }
}

/// Of what is held alone, by lock, all that keeps away whoever needs a lock so.
pub(crate) fn in_the_way<'h, T>(
    held: &'h BTreeMap<String, T>,
    name: &str,
    mode: Mode,
) -> impl Iterator<Item = &'h T> + use<'h, T> {
    let begin = format!("{name}+");
    let parts = held.range(begin.clone()..).map_while(move |(part, it)| Some((part.strip_prefix(&begin)?, it)));
    held.get(name).into_iter().chain(parts.filter(move |(part, _)| mode.meets(part)).map(|(_, it)| it))
}

fn directory(path: &str) -> String {
    format!("directory-{}", short(Kind::Path, path))
}

/// Every directory between `/dev` and this path. Nobody is kept from a device because another one has all of `/dev`.
fn directories(path: &str) -> Vec<String> {
    let Some(below) = path.strip_prefix("/dev/") else { return Vec::new() };
    below.match_indices('/').map(|(place, _)| format!("/dev/{}", &below[..place])).collect()
}

#[cfg(test)]
mod tests {
    use super::Mode::{Alone, Part, Several};
    use super::*;

    fn of(hold: &Hold, replica: u32, count: u32) -> Vec<(String, Mode)> {
        let mut locks = BTreeMap::new();
        hold.lock(replica, count, &mut locks);
        locks.into_iter().collect()
    }

    fn named(locks: &[(&str, Mode)]) -> Vec<(String, Mode)> {
        locks.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect()
    }

    #[test]
    fn locks_are_those_of_the_drawing() {
        let node = |is_block, major, minor| Node { is_block, number: DeviceNumber { major, minor } };
        let disk = Hold::of_node(Some(node(true, 8, 16)), "/dev/sdb", Some("wwid".into()));
        assert_eq!(of(&disk, 0, 1), named(&[("block-8:16", Alone), ("wwid", Alone)]));
        let partition = Hold::of_node(Some(node(true, 8, 17)), "/dev/sdb1", None).and_of(disk.node);
        let expected = [("block-8:16", Part), ("block-8:16+block-8:17", Alone), ("block-8:17", Alone)];
        assert_eq!(of(&partition, 0, 1), named(&expected));
        let kvm = Hold::of_node(Some(node(false, 10, 232)), "/dev/kvm", None);
        assert_eq!(of(&kvm, 2, 3), named(&[("char-10:232", Several), ("char-10:232+2", Alone)]));
        let limited = Hold { turn: (1, 4), ..kvm };
        assert_eq!(of(&limited, 2, 3), named(&[("char-10:232", Several), ("char-10:232+5", Alone)]));
    }

    #[test]
    fn a_part_is_told_from_one_of_several_also_where_it_has_no_number() {
        for part in ["char-10:232", "char-10:232+1", "2gqx7mbl5a", "234567abcd"] {
            assert!(Several.meets(part) && !Part.meets(part) && Alone.meets(part), "{part}");
        }
        assert!(!Several.meets("12") && Part.meets("12") && Alone.meets("12"));
    }

    #[test]
    fn a_directory_and_what_is_in_it_have_a_lock_in_common() {
        let inside = Hold::of_node(Some(Node::default()), "/dev/bus/usb/001/004", None);
        assert_eq!(inside.directories, ["/dev/bus", "/dev/bus/usb", "/dev/bus/usb/001"]);
        let whole = of(&Hold::of_directory("/dev/bus/usb"), 0, 1);
        let common = of(&inside, 0, 1).into_iter().filter(|(name, _)| whole.contains(&(name.clone(), Alone)));
        assert_eq!(common.map(|(_, mode)| mode).collect::<Vec<_>>(), [Part]);
        assert!(directories("/opt/x/y").is_empty());
    }
}
