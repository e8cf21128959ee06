//! Whose processes hold a lock, and what these users may open.
//!
//! The kernel's list of locks names the process that took one; it may have ended and left the lock to its children, and its
//! number may be another process's by now. So every process that has the very open file is looked for.
//!
//! What it does not do: it does not judge. Where a process cannot be looked into, nothing is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::getxattr;

/// What decides whether a process may open something: its effective user, and all its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub uid: u32,
    /// The groups.
    pub gids: BTreeSet<u32>,
}

/// A file's device and inode.
pub(super) type FileId = (u64, u64);

/// Everybody whose process has one of these files open and locked; none where some process cannot be looked into, as by an
/// ordinary user, or by root without `CAP_SYS_PTRACE`.
pub(super) fn holding(files: &BTreeSet<FileId>) -> Option<BTreeMap<FileId, Vec<Credentials>>> {
    let mut users: BTreeMap<FileId, Vec<Credentials>> = files.iter().map(|file| (*file, Vec::new())).collect();
    for process in fs::read_dir("/proc").ok()? {
        let process = process.ok()?;
        if process.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        match held(&process.path(), files) {
            Ok(held) if held.is_empty() => (),
            Ok(held) => {
                let status = match fs::read_to_string(process.path().join("status")) {
                    Err(error) if is_over(&error) => continue,
                    status => status.ok()?,
                };
                let user = Credentials::of_process(&status)?;
                for file in held {
                    users.entry(file).or_default().push(user.clone());
                }
            }
            Err(error) if is_over(&error) => (),
            // The first process starts others and locks nothing; where it has more rights than we, it cannot be looked into.
            Err(_) if process.file_name() == "1" => (),
            Err(_) => return None,
        }
    }
    Some(users)
}

/// Which of the files a process has open and locked, by whatever descriptor.
fn held(process: &Path, files: &BTreeSet<FileId>) -> io::Result<BTreeSet<FileId>> {
    let mut held = BTreeSet::new();
    for descriptor in fs::read_dir(process.join("fd"))? {
        let descriptor = descriptor?;
        let open = match fs::metadata(descriptor.path()) {
            Ok(open) => (open.dev(), open.ino()),
            Err(error) if is_over(&error) => continue,
            Err(error) => return Err(error),
        };
        if files.contains(&open) && !held.contains(&open) {
            let told = match fs::read_to_string(process.join("fdinfo").join(descriptor.file_name())) {
                Err(error) if is_over(&error) => continue,
                told => told?,
            };
            // As `proc_pid_fdinfo(5)`: locks of this very open file.
            if told.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK")) {
                held.insert(open);
            }
        }
    }
    Ok(held)
}

/// The process or descriptor has gone meanwhile.
fn is_over(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

impl Credentials {
    /// By `/proc/PID/status` (`proc_pid_status(5)`).
    fn of_process(status: &str) -> Option<Self> {
        let numbers = |word: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(word))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let (uid, gid) = (*numbers("Uid:")?.get(1)?, *numbers("Gid:")?.get(1)?);
        Some(Self { uid, gids: numbers("Groups:")?.into_iter().chain([gid]).collect() })
    }

    /// Whether they may open a file or device, for reading or writing: by its mode and its access list (`acl(5)`). Yes also
    /// where that cannot be told; of the directories on the way nothing is asked.
    pub fn may_open(&self, path: &Path) -> bool {
        let Ok(there) = fs::metadata(path) else { return true };
        let entries = match access_list(path) {
            Ok(Some(entries)) => entries,
            Ok(None) => of_mode(there.mode()),
            Err(_) => return true,
        };
        self.uid == 0 || self.allowed(&entries, there.uid(), there.gid())
    }

    /// By the order of `acl(5)`, "Access check algorithm".
    fn allowed(&self, entries: &[Entry], owner: u32, group: u32) -> bool {
        let of = |tag: u16| entries.iter().filter(move |entry| entry.tag == tag);
        let mask = of(MASK).next().map_or(7, |entry| entry.permissions);
        let opens = |permissions: u16| permissions & 6 != 0;
        if self.uid == owner {
            return of(OWNER).any(|entry| opens(entry.permissions));
        }
        if let Some(named) = of(USER).find(|entry| entry.id == self.uid) {
            return opens(named.permissions & mask);
        }
        let owning = of(OWNING_GROUP).filter(|_| self.gids.contains(&group));
        let mut groups = owning.chain(of(GROUP).filter(|entry| self.gids.contains(&entry.id))).peekable();
        if groups.peek().is_some() {
            return groups.any(|entry| opens(entry.permissions & mask));
        }
        of(OTHERS).any(|entry| opens(entry.permissions))
    }
}

/// An entry of an access list.
struct Entry {
    tag: u16,
    permissions: u16,
    /// Of a named user or group.
    id: u32,
}

/// Tags, as in the kernel's `include/uapi/linux/posix_acl.h`.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// What the mode alone says.
fn of_mode(mode: u32) -> Vec<Entry> {
    let entry = |(tag, shift): (u16, u32)| Entry { tag, permissions: (mode >> shift & 7) as u16, id: 0 };
    [(OWNER, 6), (OWNING_GROUP, 3), (OTHERS, 0)].map(entry).into()
}

/// The access list of a file; none where it has only its mode (`include/uapi/linux/posix_acl_xattr.h`: version 2, then tag,
/// permissions and id of each entry, little endian).
fn access_list(path: &Path) -> io::Result<Option<Vec<Entry>>> {
    let mut bytes = vec![0; 4096];
    let length = match getxattr(path, "system.posix_acl_access", &mut bytes[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let unknown = || io::Error::from(ErrorKind::InvalidData);
    let entries = bytes[..length].strip_prefix(&[2, 0, 0, 0]).ok_or_else(unknown)?;
    let entry = |bytes: &[u8]| Entry {
        tag: u16::from_le_bytes([bytes[0], bytes[1]]),
        permissions: u16::from_le_bytes([bytes[2], bytes[3]]),
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Ok(Some(entries.chunks_exact(8).map(entry).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, gids: &[u32]) -> Credentials {
        Credentials { uid, gids: gids.iter().copied().collect() }
    }

    #[test]
    fn credentials_are_the_effective_ones() {
        let status = "Name:\ta\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n";
        assert_eq!(Credentials::of_process(status), Some(user(2, &[6, 9, 10])));
        assert_eq!(Credentials::of_process("Uid:\t1\t2\n"), None);
    }

    #[test]
    fn a_user_may_open_what_mode_and_list_say() {
        let of = |text: &[(u16, u16, u32)]| -> Vec<Entry> {
            text.iter().map(|&(tag, permissions, id)| Entry { tag, permissions, id }).collect()
        };
        let disk = of_mode(0o660);
        assert!(user(7, &[6]).allowed(&disk, 0, 6) && !user(7, &[7]).allowed(&disk, 0, 6));
        assert!(!user(7, &[6]).allowed(&of_mode(0o606), 0, 6), "the group's bits hold for its members");
        assert!(!user(7, &[]).allowed(&of_mode(0o077), 7, 6), "the owner's for the owner");
        let seat =
            of(&[(OWNER, 6, 0), (USER, 6, 7), (OWNING_GROUP, 6, 0), (GROUP, 6, 9), (MASK, 6, 0), (OTHERS, 0, 0)]);
        assert!(user(7, &[]).allowed(&seat, 0, 6) && user(8, &[9]).allowed(&seat, 0, 6));
        assert!(!user(8, &[8]).allowed(&seat, 0, 6));
        let masked = of(&[(USER, 6, 7), (MASK, 0, 0), (OTHERS, 6, 0)]);
        assert!(!user(7, &[]).allowed(&masked, 0, 6));
    }

    #[test]
    fn what_cannot_be_told_may_be_opened() {
        assert!(user(7, &[]).may_open(Path::new("/nothing/here")));
    }

    /// Modes as the kernel writes an access list; where the file system has none, there is nothing to read.
    #[test]
    fn an_access_list_is_read_as_the_kernel_stores_it() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("node");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let entries: [(u16, u16, u32); 5] = [
            (OWNER, 6, u32::MAX),
            (USER, 4, 7),
            (OWNING_GROUP, 0, u32::MAX),
            (MASK, 4, u32::MAX),
            (OTHERS, 0, u32::MAX),
        ];
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            bytes.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
        }
        assert!(!user(7, &[]).may_open(&file));
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&file, "system.posix_acl_access", &bytes, flags).is_ok() {
            assert!(user(7, &[]).may_open(&file) && !user(8, &[]).may_open(&file));
        }
    }
}
