//! Paths by glob and search, and what links on the host lead to, below a root.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::attributes::names;
use super::tables::number_of;
use super::{DeviceNumber, Roots};

/// Links that are followed on one way, as in the kernel (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// Paths that one pattern may match.
const MOST: usize = 100_000;

/// Steps below `/dev` that a search goes down.
const DEPTH: usize = 10;

/// A path that matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathMatch {
    /// As it matched.
    pub path: String,
    /// What it leads to, as a path of the host.
    pub resolved: String,
    /// What is there.
    pub kind: NodeKind,
}

/// What is at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// A character device.
    Character(DeviceNumber),
    /// A block device.
    Block(DeviceNumber),
    /// A directory.
    Directory,
    /// A file, socket or pipe.
    Other,
    /// A link that leads nowhere, or nothing any more.
    Nothing,
}

pub(super) fn expand(roots: &Roots, glob: &str, matches: &dyn Fn(&str, &str) -> bool) -> Vec<PathMatch> {
    let mut found = vec![String::new()];
    for step in glob.split('/').filter(|step| !step.is_empty()) {
        let mut next = Vec::new();
        for directory in found {
            if step.contains(['*', '?', '[', '\\']) {
                let here = roots.at(resolve(roots, &format!("{directory}/")));
                let names = names(&here).unwrap_or_default().into_iter().filter(|name| matches(step, name));
                next.extend(names.map(|name| format!("{directory}/{name}")));
            } else {
                next.push(format!("{directory}/{step}"));
            }
            if next.len() > MOST {
                break;
            }
        }
        next.truncate(MOST);
        found = next;
    }
    found.retain(|path| is_there(roots, path));
    found.sort();
    found.into_iter().map(|path| at(roots, &path)).collect()
}

/// Whether the last step is there, be it a link that leads nowhere.
fn is_there(roots: &Roots, path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    let directory = roots.at(resolve(roots, &format!("{directory}/")));
    !name.is_empty() && fs::symlink_metadata(directory.join(name)).is_ok()
}

pub(super) fn search(roots: &Roots, wants: &dyn Fn(&str) -> bool) -> Vec<PathMatch> {
    let (mut found, mut level) = (Vec::new(), vec![String::new()]);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for directory in level {
            for name in names(&roots.at("/dev").join(&directory)).unwrap_or_default() {
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                // Links are not walked: what they lead to is found where it is.
                let there = fs::symlink_metadata(roots.at("/dev").join(&path));
                if wants(&path) {
                    found.push(format!("/dev/{path}"));
                }
                if there.is_ok_and(|there| there.is_dir()) {
                    next.push(path);
                }
            }
            if found.len() > MOST {
                break;
            }
        }
        level = next;
    }
    found.truncate(MOST);
    found.sort();
    found.into_iter().map(|path| at(roots, &path)).collect()
}

pub(super) fn at(roots: &Roots, path: &str) -> PathMatch {
    let resolved = resolve(roots, path);
    let kind = fs::symlink_metadata(roots.at(&resolved)).map_or(NodeKind::Nothing, |there| {
        let kind = there.file_type();
        match () {
            () if kind.is_char_device() => NodeKind::Character(number_of(there.rdev())),
            () if kind.is_block_device() => NodeKind::Block(number_of(there.rdev())),
            () if kind.is_dir() => NodeKind::Directory,
            () if kind.is_symlink() => NodeKind::Nothing,
            () => NodeKind::Other,
        }
    });
    PathMatch { path: path.to_owned(), resolved, kind }
}

/// Follows links as the host would, where `/` is the host's. One that goes around stays as it is.
pub(super) fn resolve(roots: &Roots, path: &str) -> String {
    let mut left: Vec<String> = steps(path);
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(step) = left.pop() {
        if step == ".." {
            done.pop();
            continue;
        }
        done.push(step);
        let Ok(target) = fs::read_link(roots.at(Path::new("/").join(done.join("/")))) else { continue };
        links += 1;
        if links > LINKS {
            return path.to_owned();
        }
        let target = target.to_string_lossy();
        if target.starts_with('/') {
            done.clear();
        } else {
            done.pop();
        }
        left.extend(steps(&target));
    }
    format!("/{}", done.join("/"))
}

/// The steps of a path, the first one last.
fn steps(path: &str) -> Vec<String> {
    let steps = path.split('/').filter(|step| !step.is_empty() && *step != ".");
    steps.rev().map(str::to_owned).collect()
}
