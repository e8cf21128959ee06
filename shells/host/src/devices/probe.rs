//! What is on a disk, and whether somebody has it open: from udev's notes, and by opening it where that is asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::attributes::text;
use super::{DeviceNumber, Roots, Seen};

/// What is read of each end of a disk: every file system, partition table and volume manager has its signature there.
const ENDS: usize = 1024 * 1024;

/// What opening a disk tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether somebody has opened it exclusively: a mount, a volume on it, a program.
    pub exclusive: Seen<bool>,
    /// Whether anything is at its ends: none is nothing.
    pub signature: Seen<Option<String>>,
}

/// What udev has noted of a disk (`/run/udev/data/bMAJOR:MINOR`, once it has a line `I:`).
pub(super) fn signature_of_udev(roots: &Roots, number: DeviceNumber) -> Seen<Option<String>> {
    let directory = roots.at("/run/udev/data");
    if !directory.is_dir() {
        return Seen::Missing("there is no /run/udev/data".to_owned());
    }
    let DeviceNumber { major, minor } = number;
    let notes = match text(&directory.join(format!("b{major}:{minor}"))) {
        Ok(Some(notes)) => notes,
        Ok(None) => return Seen::Missing("udev has no notes of it".to_owned()),
        Err(error) => return Seen::Missing(format!("udev's notes of it: {error}")),
    };
    if !notes.lines().any(|line| line.starts_with("I:")) {
        return Seen::Missing("udev has not finished with it".to_owned());
    }
    let value =
        |key: &str| notes.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='));
    let found = value("ID_FS_TYPE").or_else(|| value("ID_PART_TABLE_TYPE").filter(|table| !table.is_empty()));
    Seen::Known(found.filter(|found| !found.is_empty()).map(str::to_owned))
}

/// Opens a disk for itself for a moment, and reads its ends if that is wanted. Somebody who mounts it in this moment is
/// refused, so this is for when it is about to be handed out.
pub fn probe(roots: &Roots, node: &str, reads_ends: bool) -> Probe {
    let path = roots.at(node);
    let open = |flags: OFlags| {
        let flags = (flags | OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        let is_block = file.metadata()?.file_type().is_block_device();
        if is_block { Ok(file) } else { Err(io::Error::other("it is no block device")) }
    };
    let alone = open(OFlags::EXCL);
    let is_busy = |error: &io::Error| error.raw_os_error() == Some(Errno::BUSY.raw_os_error());
    let exclusive = match &alone {
        Ok(_) => Seen::Known(false),
        Err(error) if is_busy(error) => Seen::Known(true),
        Err(error) => Seen::Missing(error.to_string()),
    };
    let signature = if reads_ends {
        match alone.or_else(|_| open(OFlags::empty())).and_then(|mut disk| ends(&mut disk)) {
            Ok(true) => Seen::Known(None),
            Ok(false) => Seen::Known(Some("data".to_owned())),
            Err(error) => Seen::Missing(error.to_string()),
        }
    } else {
        Seen::Missing("not looked at".to_owned())
    };
    Probe { exclusive, signature }
}

/// Whether both ends hold only zeros.
fn ends(disk: &mut File) -> io::Result<bool> {
    let size = disk.seek(SeekFrom::End(0))?;
    let mut buffer = Vec::with_capacity(ENDS);
    for from in [0, size.saturating_sub(ENDS as u64)] {
        buffer.clear();
        disk.seek(SeekFrom::Start(from))?;
        disk.take(ENDS as u64).read_to_end(&mut buffer)?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
