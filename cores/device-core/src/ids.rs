//! Short ids: the same for a device over restarts, reboots, and whatever else is plugged.

use ring::digest::{SHA256, digest};

/// Characters of an id without its replica.
pub const SHORT: usize = 10;

/// Lower-case base32 of RFC 4648, section 6, without padding.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What kind of thing an identity names, so that a path never has the id of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A path, whatever is there.
    Path,
    /// A USB device.
    Usb,
    /// A disk or partition.
    Block,
    /// A node of a class, as of a serial port.
    Node,
    /// A numbered slot or value.
    Counted,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Usb => "usb",
            Self::Block => "block",
            Self::Node => "node",
            Self::Counted => "counted",
        }
    }
}

/// The first 10 characters of base32 of SHA-256 over `kind NUL identity`.
///
/// ```
/// # use outrigger_device_core::ids::{short, Kind};
/// assert_eq!(short(Kind::Block, "naa.5000c500a1b2c3d4").len(), 10);
/// assert_ne!(short(Kind::Path, "a"), short(Kind::Usb, "a"));
/// ```
pub fn short(kind: Kind, identity: &str) -> String {
    let text = format!("{}\0{identity}", kind.text());
    base32(digest(&SHA256, text.as_bytes()).as_ref(), SHORT)
}

/// The id of one of several that may hold a device at once: `-0`, `-1`, … is appended where there are more than one.
pub fn replica(id: &str, number: u32, count: u32) -> String {
    if count > 1 { format!("{id}-{number}") } else { id.to_owned() }
}

/// So many characters of five bits each.
fn base32(bytes: &[u8], characters: usize) -> String {
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    let index = |number: usize| (0..5).fold(0, |index, place| index << 1 | usize::from(bit(number * 5 + place)));
    (0..characters).map(|number| char::from(ALPHABET[index(number)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        assert_eq!(base32(b"foobar", 10), "mzxw6ytboi");
        assert_eq!(base32(b"fooba", 8), "mzxw6ytb");
    }

    #[test]
    fn ids_of_released_versions_stay() {
        // The kubelet's checkpoint holds ids: one that changed would free a device that a pod still uses.
        assert_eq!(short(Kind::Block, "naa.5000c500a1b2c3d4"), "jvgknwmvod");
        assert_eq!(short(Kind::Path, "/dev/ttyUSB0"), "5meruti6qm");
        assert_eq!(replica("k7q2m4x9ab", 1, 2), "k7q2m4x9ab-1");
        assert_eq!(replica("k7q2m4x9ab", 0, 1), "k7q2m4x9ab");
    }
}
