//! Machines that are not here, as trees of files: `/sys`, `/proc`, `/dev` and `/run/udev`, written as text and laid out in a
//! directory.
//!
//! ```text
//! # A comment.
//! sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0
//!   state = running                  a file of the directory above, with a newline after it
//!   block/sda                        a directory in it
//!     :block                         links to it from /sys/block and /sys/class/block, and `device` back
//!     dev = 8:0
//! sys/devices/…/tty/ttyUSB0
//!   :class tty                       a link to it from /sys/class/tty, and `device` back
//! sys/devices/…/1-2
//!   :bus usb                         a link to it from /sys/bus/usb/devices
//! dev/disk/by-id/ata-X -> ../../sda  a link
//! proc/1/mountinfo                   a file of lines
//!   | 22 1 8:2 / / rw - ext4 /dev/sda2 rw
//! ```
//!
//! `\xNN` in a value is that byte. Device nodes cannot be made by everybody, and sysfs tells their numbers: in `dev` a plain
//! file stands for each.
//!
//! What it does not do: a tree does not change by itself; a test changes files in it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test's peer fails as its tests do"
)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Every tree of this crate: its name, and its text, which begins with what it was modeled on.
pub const TREES: &[(&str, &str)] = &[
    ("sata", include_str!("../trees/sata.tree")),
    ("sas", include_str!("../trees/sas.tree")),
    ("nvme", include_str!("../trees/nvme.tree")),
    ("virtio", include_str!("../trees/virtio.tree")),
    ("usb-stick", include_str!("../trees/usb-stick.tree")),
    ("remote-disks", include_str!("../trees/remote-disks.tree")),
    ("multipath", include_str!("../trees/multipath.tree")),
    ("lvm", include_str!("../trees/lvm.tree")),
    ("md", include_str!("../trees/md.tree")),
    ("serial-twins", include_str!("../trees/serial-twins.tree")),
    ("composite-radio", include_str!("../trees/composite-radio.tree")),
    ("camera", include_str!("../trees/camera.tree")),
    ("hub-before", include_str!("../trees/hub-before.tree")),
    ("hub-after", include_str!("../trees/hub-after.tree")),
    ("two-sockets", include_str!("../trees/two-sockets.tree")),
    ("odd-names", include_str!("../trees/odd-names.tree")),
];

/// A machine, laid out in a directory that goes with it.
#[derive(Debug)]
pub struct HostTree {
    root: TempDir,
}

impl HostTree {
    /// One of [`TREES`].
    pub fn named(name: &str) -> Self {
        let text = TREES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        Self::of(text.unwrap_or_else(|| panic!("there is no tree {name:?}")))
    }

    /// A machine with empty tables of mounts and swap areas, and what the text adds.
    pub fn of(text: &str) -> Self {
        // In memory where that is possible: a large machine is many small files.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let tree = Self { root };
        for (path, text) in [("proc/1/mountinfo", ""), ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")] {
            tree.write(path, text);
        }
        tree.add(text);
        tree
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path of it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Writes a file of it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Lays out more.
    pub fn add(&self, text: &str) {
        // The directories that the present line lies in, with their indents.
        let mut inside: Vec<(usize, PathBuf)> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
            let indent = line.len() - line.trim_start().len();
            inside.retain(|(outer, _)| *outer < indent);
            let base = inside.last().map_or_else(|| self.root().to_owned(), |(_, base)| base.clone());
            if let Some(made) = self.line(&base, line.trim_start()) {
                inside.push((indent, made));
            }
        }
    }

    /// One line; the path that further indented lines are in.
    fn line(&self, base: &Path, line: &str) -> Option<PathBuf> {
        if let Some(text) = line.strip_prefix('|') {
            let mut lines = if base.is_dir() { Vec::new() } else { fs::read(base).unwrap_or_default() };
            if base.is_dir() {
                fs::remove_dir(base).unwrap();
            }
            lines.extend([text.trim_start().as_bytes(), b"\n"].concat());
            fs::write(base, lines).unwrap();
            return None;
        }
        if let Some(directive) = line.strip_prefix(':') {
            self.directive(base, directive.trim_end());
            return None;
        }
        if let Some((path, target)) = line.split_once(" -> ") {
            let path = base.join(path.trim());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target.trim(), path).unwrap();
            return None;
        }
        if let Some((path, value)) = line.split_once('=').filter(|(path, _)| path.is_empty() || path.ends_with(' ')) {
            let path = base.join(path.trim());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [unescape(value.strip_prefix(' ').unwrap_or(value)), b"\n".to_vec()].concat()).unwrap();
            return None;
        }
        let path = base.join(line.trim_end());
        // A file that is there takes further lines anew.
        if path.is_file() {
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Some(path)
    }

    fn directive(&self, directory: &Path, directive: &str) {
        let name = directory.file_name().unwrap();
        let links = match directive.split_once(' ') {
            None if directive == "block" => vec!["sys/block".to_owned(), "sys/class/block".to_owned()],
            None if directive == "partition" => vec!["sys/class/block".to_owned()],
            Some(("class", class)) => vec![format!("sys/class/{class}")],
            Some(("bus", bus)) => vec![format!("sys/bus/{bus}/devices")],
            _ => panic!("no directive: {directive}"),
        };
        for link in links {
            let link = self.path(&link);
            fs::create_dir_all(&link).unwrap();
            symlink(relative(&link, directory), link.join(name)).unwrap();
        }
        // `…/0:0:0:0/block/sda` is of `…/0:0:0:0`; what is of nothing, as a loop device, has no such link.
        let is_of_something = directory.parent().and_then(Path::file_name).is_some_and(|kind| {
            ["block", "tty", "video4linux", "hidraw", "sound", "input"].iter().any(|known| kind == *known)
        });
        let is_virtual = directory.strip_prefix(self.root()).is_ok_and(|path| path.starts_with("sys/devices/virtual"));
        if is_of_something && !is_virtual && !directive.starts_with("bus") {
            symlink("../..", directory.join("device")).unwrap();
        }
    }
}

/// The way from one directory to another.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| PathBuf::from(".."));
    up.chain(to.components().skip(common).map(|step| PathBuf::from(step.as_os_str()))).collect()
}

/// `\xNN` is a byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(std::ffi::OsStr::new(rest).as_bytes());
    }
    bytes
}
