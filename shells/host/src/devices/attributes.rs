//! Small files of sysfs, read so that nothing in them ends the look.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{DeviceNumber, Roots, paths};

/// A file of sysfs has at most a page; some binary ones have a few.
const MOST: u64 = 64 * 1024;

/// How far up a NUMA node is looked for.
const DEPTH: usize = 64;

/// The machine's files while it is looked at.
pub(super) struct Tree<'r> {
    pub(super) roots: &'r Roots,
    /// Whole resolved path of `/sys`.
    sys: PathBuf,
    pub(super) skipped: Vec<(PathBuf, String)>,
    numa: BTreeMap<PathBuf, Option<u32>>,
}

impl<'r> Tree<'r> {
    pub(super) fn new(roots: &'r Roots) -> Self {
        let sys = fs::canonicalize(roots.at("/sys")).unwrap_or_else(|_| roots.at("/sys"));
        Self { roots, sys, skipped: Vec::new(), numa: BTreeMap::new() }
    }

    pub(super) fn skip(&mut self, path: &Path, error: &io::Error) {
        if !has_gone(error) {
            self.skipped.push((path.to_owned(), error.to_string()));
        }
    }

    /// Names in a directory of the host, sorted. One that is not there is empty.
    pub(super) fn names(&mut self, directory: &Path) -> Vec<String> {
        match names(directory) {
            Ok(names) => names,
            Err(error) => {
                self.skip(directory, &error);
                Vec::new()
            }
        }
    }

    /// The directory that a link of sysfs leads to, if it is below `/sys`: a link that leads out, or around, is none.
    pub(super) fn real(&mut self, path: &Path) -> Option<PathBuf> {
        match fs::canonicalize(path) {
            Ok(real) if real.starts_with(&self.sys) => Some(real),
            Ok(real) => {
                self.skipped.push((path.to_owned(), format!("leads out of /sys, to {}", real.display())));
                None
            }
            Err(error) => {
                self.skip(path, &error);
                None
            }
        }
    }

    /// A resolved path as it is below `/sys`: `/devices/pci0000:00/…`.
    pub(super) fn position(&self, real: &Path) -> String {
        let below = real.strip_prefix(&self.sys).unwrap_or(real);
        format!("/{}", below.to_string_lossy())
    }

    /// The NUMA node of the nearest ancestor that tells one.
    pub(super) fn numa(&mut self, real: &Path) -> Vec<u32> {
        let ancestors: Vec<PathBuf> = real.ancestors().take(DEPTH).map(Path::to_owned).collect();
        let ancestors = ancestors.into_iter().take_while(|ancestor| ancestor.starts_with(&self.sys));
        let mut found = None;
        for ancestor in ancestors.collect::<Vec<_>>() {
            let told = *self.numa.entry(ancestor).or_insert_with_key(|ancestor| {
                // A device that is near to none says -1, and no ancestor of it knows better.
                let text = text(&ancestor.join("numa_node")).ok()??;
                Some(text.trim().parse().unwrap_or(u32::MAX))
            });
            if told.is_some() {
                found = told;
                break;
            }
        }
        found.into_iter().filter(|node| *node != u32::MAX).collect()
    }

    /// Names of links in a directory by the node that they lead to, as a path of the host.
    pub(super) fn links(&mut self, directory: &str) -> BTreeMap<String, Vec<String>> {
        let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names(&self.roots.at(directory)).unwrap_or_default() {
            let target = paths::resolve(self.roots, &format!("{directory}/{name}"));
            links.entry(target).or_default().push(name);
        }
        links
    }
}

/// Whether an error only says that the thing is not there, or has gone meanwhile.
pub(super) fn has_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::NOTDIR];
    error.raw_os_error().is_some_and(|code| gone.contains(&Errno::from_raw_os_error(code)))
}

/// Names in a directory, sorted. A name that is not UTF-8 is no device's.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The bytes of a small file; `None` where it is not there.
pub(super) fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if has_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a small file as it is written, without the newline after it. What is not UTF-8 is replaced by U+FFFD.
pub(super) fn text(path: &Path) -> io::Result<Option<String>> {
    let text = bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(text.map(|text| text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)))
}

/// Attributes of one directory, and what could not be read of them.
pub(super) struct Attributes {
    pub(super) directory: PathBuf,
    pub(super) unreadable: Vec<String>,
}

impl Attributes {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), unreadable: Vec::new() }
    }

    /// As it is written.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        text(&self.directory.join(name)).unwrap_or_else(|error| {
            self.unreadable.push(format!("{name}: {error}"));
            None
        })
    }

    /// Names in a directory of it, sorted; none where it is not there.
    pub(super) fn names(&mut self, name: &str) -> Vec<String> {
        names(&self.directory.join(name)).unwrap_or_else(|error| {
            if !has_gone(&error) {
                self.unreadable.push(format!("{name}: {error}"));
            }
            Vec::new()
        })
    }

    /// The first of these that is there and not empty, without the spaces around it.
    pub(super) fn first(&mut self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// A decimal number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.text(name)?.trim().parse().ok()
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.number::<u8>(name).map(|number| number != 0)
    }

    /// `major:minor`.
    pub(super) fn device_number(&mut self, name: &str) -> Option<DeviceNumber> {
        device_number(self.text(name)?.trim())
    }

    /// A name of a device's node: `DEVNAME` of `uevent`, else this one.
    pub(super) fn node(&mut self, otherwise: &str) -> String {
        let uevent = self.text("uevent").unwrap_or_default();
        let named = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        format!("/dev/{}", named.unwrap_or(otherwise).replace('!', "/"))
    }
}

/// `major:minor`.
pub(super) fn device_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}
