//! Units and ids as generic-device-plugin makes them (reference §3.3 to §3.5), byte for byte: the kubelet's checkpoint
//! holds its ids, so that a switch with other ids would give a device that a pod still uses to a second pod.
//!
//! One difference is meant: the nodes of a USB unit are sorted, where generic-device-plugin takes them in the random order
//! of a parallel scan.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// One path of a group, with what it matches on the host.
#[derive(Clone, Copy, Debug)]
pub struct Matches<'p> {
    /// Sorted as text.
    pub paths: &'p [&'p str],
    /// How often one match may be used; 0 is 1.
    pub limit: u32,
    /// Whether no match leaves it out.
    pub optional: bool,
}

/// Which match of which path makes up a unit: `(path, match in the sorted list)`, in the order of the group.
pub type Parts = Vec<(usize, usize)>;

/// The units of a group of paths.
///
/// There are as many as the smaller of the largest number of matches and the smallest of matches times limit; optional
/// paths without a match take no part. The *i*-th unit takes the *i*-th element of each path's sorted matches, repeated
/// `limit` times.
pub fn units(group: &[Matches<'_>]) -> Vec<Parts> {
    let taking_part = || group.iter().enumerate().filter(|(_, matches)| !matches.optional || !matches.paths.is_empty());
    let usable = |matches: &Matches<'_>| matches.paths.len().saturating_mul(matches.limit.max(1) as usize);
    let most = taking_part().map(|(_, matches)| matches.paths.len()).max().unwrap_or(0);
    let least = taking_part().map(|(_, matches)| usable(matches)).min().unwrap_or(0);
    let part = |unit: usize| move |(path, matches): (usize, &Matches<'_>)| (path, unit % matches.paths.len());
    (0..most.min(least)).map(|unit| taking_part().map(part(unit)).collect()).collect()
}

/// The id of one of the `count` holders of a unit: `hex(SHA-1(number ‖ path ‖ path …))`, 40 characters.
pub fn id<'p>(number: u32, paths: impl IntoIterator<Item = &'p str>) -> String {
    let text = paths.into_iter().fold(number.to_string(), |text, path| text + path);
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bus node of a USB device.
pub fn usb_node(bus: u32, device: u32) -> String {
    format!("/dev/bus/usb/{bus:03}/{device:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One path of a group: pattern's matches, limit, whether optional.
    type Row<'p> = (&'p [&'p str], u32, bool);

    /// The paths of each unit.
    fn paths<'p>(group: &[Row<'p>]) -> Vec<Vec<&'p str>> {
        let group: Vec<Matches<'p>> = group
            .iter()
            .map(|(paths, limit, optional)| Matches { paths, limit: *limit, optional: *optional })
            .collect();
        let path = |(number, place): (usize, usize)| group[number].paths[place];
        units(&group).into_iter().map(|parts| parts.into_iter().map(path).collect()).collect()
    }

    fn ids(group: &[Row<'_>], count: u32) -> Vec<String> {
        let paths = paths(group);
        (0..count).flat_map(|number| paths.iter().map(move |paths| id(number, paths.iter().copied()))).collect()
    }

    #[test]
    fn ids_are_byte_equal() {
        let usb: Row<'_> = (&["/dev/ttyUSB0", "/dev/ttyUSB1"], 1, false);
        let (first, second) = ("244c4eb967dd5fcfdc3d774106a9b1a20992aa12", "3ad960f592ac6c2e3cf7bbaa81d0c0c01af40060");
        assert_eq!(ids(&[usb], 1), [first, second], "vector 1");
        let again = ["ec099ded7c33914c2c8146a7e7bff5b24eb166b8", "0ad30bcd3e8888d76755eb8084e2a6277442abb5"];
        assert_eq!(ids(&[usb], 2), [first, second, again[0], again[1]], "vector 2");
        let fuse = ids(&[(&["/dev/fuse"], 1, false)], 10);
        assert_eq!(fuse.len(), 10, "vector 3");
        assert_eq!(fuse[0], "a68db766f638034740111848aafee2d2dcd6b642");
        assert_eq!(fuse[9], "bd6ee27a4355ad16a10fab1ffbeb436b0d07000f");
        let capture: [Row<'_>; 2] = [(&["/dev/snd/controlC0"], 1, false), (&["/dev/snd/pcmC0D0c"], 1, false)];
        assert_eq!(ids(&capture, 1), ["8e312365c4c43caed695c0e3bad2b52cb3dd6fa4"], "vector 4");
        assert_eq!(id(0, [usb_node(1, 4).as_str()]), "2896e346db9677b8c2aa3f5b25a426ee4efeaa65", "the usb vector");
    }

    #[test]
    fn units_combine_as_in_the_vectors() {
        let videos: &[&str] = &["/dev/video0", "/dev/video1", "/dev/video2"];
        let one = paths(&[(videos, 1, false), (&["/dev/snd"], 1, false)]);
        assert_eq!(one, [["/dev/video0", "/dev/snd"]], "vector 5");
        let limited: [Row<'_>; 2] = [(videos, 1, false), (&["/dev/snd"], 10, false)];
        assert_eq!(paths(&limited).len(), 3, "vector 6");
        assert_eq!(ids(&limited, 1)[0], "0e33bb60a6e4160ffdae8fde0394ec3563844f87");
        assert_eq!(paths(&[(&["/dev/fuse"], 10, false)]).len(), 1, "vector 7: a limit alone multiplies nothing");
        let four = paths(&[(&["a0", "a1", "a2", "a3"], 1, false), (&["b0", "b1"], 3, false)]);
        assert_eq!(four, [["a0", "b0"], ["a1", "b1"], ["a2", "b0"], ["a3", "b1"]], "vector 8");
        let five: [Row<'_>; 2] = [(&["a0", "a1", "a2", "a3", "a4"], 1, false), (&["b0", "b1"], 2, false)];
        assert_eq!(paths(&five).len(), 4, "vector 9");
    }

    #[test]
    fn what_is_optional_takes_part_only_where_it_is() {
        let port: Row<'_> = (&["/dev/ttyS0"], 1, false);
        assert!(paths(&[port, (&[], 1, false)]).is_empty(), "vector 10");
        assert_eq!(ids(&[port, (&[], 1, true)], 1), ["aec998cdd92f8b6cafdc80889f24c8cd435500f5"], "vector 11");
        assert!(paths(&[(&[], 1, true), (&[], 1, true)]).is_empty(), "vector 12");
    }
}
