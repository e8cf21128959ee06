//! Paths that a glob matches below the machine's root, and the directories in which a match can come or go.
//!
//! Links are followed as the machine itself would follow them: an absolute one begins at the machine's root, not at ours.
//!
//! Source of the matching: Go's `path/filepath.Glob`, which the generic-device-plugin calls. What cannot be read matches
//! nothing, as there.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use outrigger_device_core::pattern::Pattern;
use outrigger_device_core::picture::{DeviceNumber, NodeKind, PathMatch};
use rustix::fs::{major, minor};

/// The kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// What a glob matches, sorted as text.
pub fn matches(root: &Path, glob: &str) -> Vec<PathMatch> {
    found(root, glob).paths.into_iter().map(|path| look(root, &path)).collect()
}

/// The directories, as the machine calls them, whose entries decide what a glob matches.
pub fn directories(root: &Path, glob: &str) -> BTreeSet<String> {
    found(root, glob).directories
}

/// What is at a path now.
pub fn look(root: &Path, path: &str) -> PathMatch {
    let (resolved, kind) = match resolve(root, path) {
        Some(resolved) => {
            let kind = kind_of(root, &resolved);
            (resolved, kind)
        }
        None => (path.to_owned(), NodeKind::Nothing),
    };
    PathMatch { path: path.to_owned(), resolved, kind }
}

/// A path of the machine as we reach it.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

struct Found {
    paths: Vec<String>,
    directories: BTreeSet<String>,
}

fn found(root: &Path, glob: &str) -> Found {
    let mut found = Found { paths: vec![String::new()], directories: BTreeSet::new() };
    let mut was_marked = false;
    let parts: Vec<&str> = glob.split('/').filter(|part| !part.is_empty()).collect();
    for (place, part) in parts.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        let has_marks = part.contains(['*', '?', '[', '\\']);
        if is_last || has_marks {
            found.directories.extend(found.paths.iter().map(|path| as_directory(path)));
        }
        let next = found.paths.iter().flat_map(|path| {
            if has_marks { entries(root, path, part) } else { entry(root, path, part, is_last || was_marked) }
        });
        found.paths = next.collect();
        // What has no marks before it is watched for even where it is not there yet.
        was_marked |= has_marks;
        if was_marked && !is_last {
            found.paths.retain(|path| look(root, path).kind == NodeKind::Directory);
        }
    }
    found.paths.sort();
    if parts.is_empty() {
        found.paths.clear();
    }
    found
}

fn as_directory(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// A part without marks, which may have to be there, be it only as a link.
fn entry(root: &Path, parent: &str, name: &str, must_be: bool) -> Vec<String> {
    let path = format!("{parent}/{name}");
    let is_there = !must_be
        || resolve(root, parent).is_some_and(|parent| fs::symlink_metadata(below(root, &parent).join(name)).is_ok());
    if is_there { vec![path] } else { Vec::new() }
}

fn entries(root: &Path, parent: &str, part: &str) -> Vec<String> {
    let Ok(pattern) = Pattern::parse(part) else { return Vec::new() };
    let Some(directory) = resolve(root, &as_directory(parent)) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(below(root, &directory)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| pattern.matches(name)).map(|name| format!("{parent}/{name}")).collect()
}

/// Where a path leads, links followed below the root; nothing where it leads nowhere.
fn resolve(root: &Path, path: &str) -> Option<String> {
    let mut rest: VecDeque<String> = parts(Path::new(path)).into();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(part);
        let here = below(root, &done.join("/"));
        let metadata = fs::symlink_metadata(&here).ok()?;
        if metadata.is_symlink() {
            links += 1;
            let target = fs::read_link(&here).ok().filter(|_| links <= MAX_LINKS)?;
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
    }
    Some(format!("/{}", done.join("/")))
}

fn parts(path: &Path) -> Vec<String> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

fn kind_of(root: &Path, resolved: &str) -> NodeKind {
    let Ok(metadata) = fs::symlink_metadata(below(root, resolved)) else { return NodeKind::Nothing };
    let number = DeviceNumber { major: major(metadata.rdev()), minor: minor(metadata.rdev()) };
    match metadata.file_type() {
        kind if kind.is_char_device() => NodeKind::Character(number),
        kind if kind.is_block_device() => NodeKind::Block(number),
        kind if kind.is_dir() => NodeKind::Directory,
        _ => NodeKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine() -> tempfile::TempDir {
        let machine = tempfile::tempdir().unwrap();
        let dev = machine.path().join("dev");
        fs::create_dir_all(dev.join("serial/by-id")).unwrap();
        for name in ["ttyUSB1", "ttyUSB0", "ttyS0", "a*b"] {
            fs::write(dev.join(name), "").unwrap();
        }
        symlink("../../ttyUSB1", dev.join("serial/by-id/radio")).unwrap();
        symlink("/dev/ttyUSB0", dev.join("radio")).unwrap();
        symlink("loop", dev.join("loop")).unwrap();
        symlink("serial", dev.join("lines")).unwrap();
        machine
    }

    #[test]
    fn a_glob_matches_below_the_root_and_is_sorted() {
        let machine = machine();
        for (glob, expected) in [
            ("/dev/ttyUSB*", vec!["/dev/ttyUSB0", "/dev/ttyUSB1"]),
            ("/dev/ttyS0", vec!["/dev/ttyS0"]),
            ("/dev/none", vec![]),
            ("/dev/*/by-id/r*", vec!["/dev/lines/by-id/radio", "/dev/serial/by-id/radio"]),
            ("/dev/serial/by-id/radio", vec!["/dev/serial/by-id/radio"]),
            ("/dev/serial", vec!["/dev/serial"]),
            ("//dev//ttyS?", vec!["/dev/ttyS0"]),
            ("/dev/a\\*b", vec!["/dev/a*b"]),
            ("/dev/loop", vec!["/dev/loop"]),
            ("/dev/ttyS0/*", vec![]),
            ("/", vec![]),
        ] {
            let found: Vec<String> = matches(machine.path(), glob).into_iter().map(|found| found.path).collect();
            assert_eq!(found, expected, "{glob}");
        }
    }

    #[test]
    fn links_lead_where_the_machine_says() {
        let machine = machine();
        for (path, resolved, kind) in [
            ("/dev/radio", "/dev/ttyUSB0", NodeKind::Other),
            ("/dev/serial/by-id/radio", "/dev/ttyUSB1", NodeKind::Other),
            ("/dev/lines/by-id", "/dev/serial/by-id", NodeKind::Directory),
            ("/dev/loop", "/dev/loop", NodeKind::Nothing),
            ("/../../dev/ttyS0", "/dev/ttyS0", NodeKind::Other),
            ("/dev/gone", "/dev/gone", NodeKind::Nothing),
        ] {
            let found = look(machine.path(), path);
            assert_eq!((found.resolved.as_str(), found.kind), (resolved, kind), "{path}");
        }
        let null = look(Path::new("/"), "/dev/null");
        assert_eq!(null.kind, NodeKind::Character(DeviceNumber { major: 1, minor: 3 }));
    }

    #[test]
    fn the_directories_are_those_in_which_a_match_can_come() {
        let machine = machine();
        for (glob, expected) in [
            ("/dev/ttyUSB*", vec!["/dev"]),
            ("/dev/fuse", vec!["/dev"]),
            ("/dev/v4l/by-id/*", vec!["/dev/v4l/by-id"]),
            ("/dev/*/by-id/*", vec!["/dev", "/dev/lines/by-id", "/dev/serial/by-id"]),
            ("/*", vec!["/"]),
        ] {
            let found: Vec<String> = directories(machine.path(), glob).into_iter().collect();
            assert_eq!(found, expected, "{glob}");
        }
    }
}
