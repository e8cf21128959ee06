//! What of the machine a unit takes up, so that two resources never hand out the same thing.

use std::collections::BTreeSet;

use crate::picture::DeviceNumber;

/// Two units meet where they have a node in common, or where one has the whole of something and the other a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::decide) struct Footprint {
    /// Whether a block device, and its number.
    pub(in crate::decide) nodes: BTreeSet<(bool, DeviceNumber)>,
    /// A disk, a USB device, a directory.
    pub(in crate::decide) wholes: BTreeSet<String>,
    /// What it has a part of.
    pub(in crate::decide) parts: BTreeSet<String>,
    /// Paths that are reused within their group as its limit allows.
    pub(in crate::decide) is_limited: bool,
}

impl Footprint {
    /// Of a character device's node.
    pub(super) fn character(number: DeviceNumber) -> Self {
        Self { nodes: BTreeSet::from([(false, number)]), ..Self::default() }
    }

    /// Of a block device's node.
    pub(super) fn block(number: DeviceNumber) -> Self {
        Self { nodes: BTreeSet::from([(true, number)]), ..Self::default() }
    }

    /// The whole of this too.
    pub(super) fn and_whole(mut self, kind: &str, name: &str) -> Self {
        self.wholes.insert(format!("{kind} {name}"));
        self
    }

    /// A part of this too.
    pub(super) fn and_part(mut self, kind: &str, name: &str) -> Self {
        self.parts.insert(format!("{kind} {name}"));
        self
    }

    /// A part of every directory above this path.
    pub(super) fn and_directories(mut self, path: &str) -> Self {
        let slashes = path.char_indices().filter(|(place, character)| *character == '/' && *place > 0);
        self.parts.extend(slashes.map(|(place, _)| format!("directory {}", &path[..place])));
        self
    }

    /// Both together.
    pub(super) fn join(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.wholes.extend(other.wholes);
        self.parts.extend(other.parts);
        self.is_limited |= other.is_limited;
    }
}
