//! Mounts and swap areas of the host.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::attributes::device_number;
use super::{DeviceNumber, Mount, Roots, Seen, Swap};

/// Where a pod of ours has the host's mount table.
const MOUNTED_BY_US: &str = "/host/proc/1/mountinfo";

/// The initial process namespace (`PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`).
const INITIAL_PROCESSES: &str = "pid:[4026531836]";

pub(super) fn mountinfo(roots: &Roots) -> Result<PathBuf, String> {
    if let Some(given) = &roots.mountinfo {
        return Ok(roots.at(given));
    }
    let by_us = Path::new(MOUNTED_BY_US);
    if roots.root == Path::new("/") && by_us.exists() {
        return Ok(by_us.to_owned());
    }
    let first = roots.at("/proc/1/mountinfo");
    let namespace = fs::read_link(roots.at("/proc/self/ns/pid")).ok();
    let is_initial = namespace.is_some_and(|namespace| namespace == Path::new(INITIAL_PROCESSES));
    // Another machine's files have no processes, and its first one is what it says.
    if is_initial || roots.root != Path::new("/") {
        Ok(first)
    } else {
        Err("this is a container: mount /proc/1/mountinfo of the host, and name it as hostMountinfo".to_owned())
    }
}

pub(super) fn mounts(roots: &Roots) -> Seen<Vec<Mount>> {
    let path = match mountinfo(roots) {
        Ok(path) => path,
        Err(why) => return Seen::Missing(why),
    };
    match fs::read(&path) {
        Ok(table) => Seen::Known(table.split(|byte| *byte == b'\n').filter_map(mount).collect()),
        Err(error) => Seen::Missing(format!("{}: {error}", path.display())),
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` (`proc_pid_mountinfo(5)`).
fn mount(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let text = |word: &[u8]| String::from_utf8_lossy(&unescape(word)).into_owned();
    let dash = words.iter().position(|word| *word == b"-")?;
    Some(Mount {
        number: device_number(std::str::from_utf8(words.get(2)?).ok()?)?,
        source: text(words.get(dash + 2)?),
        target: text(words.get(4)?),
        file_system: text(words.get(dash + 1)?),
    })
}

pub(super) fn swaps(roots: &Roots) -> Seen<Vec<Swap>> {
    let path = roots.at("/proc/swaps");
    let table = match fs::read(&path) {
        Ok(table) => table,
        Err(error) => return Seen::Missing(format!("{}: {error}", path.display())),
    };
    let lines = table.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty());
    let areas = lines.filter_map(|line| line.split(u8::is_ascii_whitespace).next());
    Seen::Known(areas.map(|area| swap(roots, &unescape(area))).collect())
}

fn swap(roots: &Roots, area: &[u8]) -> Swap {
    let path = Path::new(std::ffi::OsStr::from_bytes(area));
    let there = fs::metadata(roots.at(path)).ok().filter(|there| there.file_type().is_block_device());
    Swap { path: path.to_string_lossy().into_owned(), number: there.map(|there| number_of(there.rdev())) }
}

/// The number of a node.
pub(super) fn number_of(rdev: u64) -> DeviceNumber {
    DeviceNumber { major: rustix::fs::major(rdev), minor: rustix::fs::minor(rdev) }
}

/// Spaces, tabs, newlines and backslashes are written as `\040` and the like.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_optional_fields_and_escapes() {
        let line = b"36 35 98:1 /a /mnt\\040two rw,noatime master:1 shared:2 - ext4 /dev/sda1 rw";
        let mount = mount(line).unwrap();
        assert_eq!((mount.number.major, mount.number.minor), (98, 1));
        assert_eq!((&*mount.source, &*mount.target, &*mount.file_system), ("/dev/sda1", "/mnt two", "ext4"));
        assert!(super::mount(b"").is_none() && super::mount(b"36 35 98:1 /a /b rw").is_none());
    }

    #[test]
    fn odd_escapes_stay_as_they_are() {
        assert_eq!(unescape(b"a\\134b\\9\\04"), b"a\\b\\9\\04");
    }
}
