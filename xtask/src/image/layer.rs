//! The one layer of the image, and the archives that it and the whole are: entries in order, all of one time, owned by root.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header};

use crate::step::CannotRunHere;

/// Where Debian's package `ca-certificates` has those of Mozilla, without what a machine has added for itself.
pub const MOZILLA: &str = "/usr/share/ca-certificates/mozilla";

const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("etc", 0o755),
    ("etc/outrigger", 0o755),
    ("etc/ssl", 0o755),
    ("etc/ssl/certs", 0o755),
    ("tmp", 0o1777),
];

/// Names by which the replaced projects' manifests and images call their programs.
const LINKS: &[(&str, &str)] = &[("bin/device-plugin", "../outrigger"), ("generic-device-plugin", "outrigger")];

const PASSWD: &str = "root:x:0:0:root:/:/\noutrigger:x:65532:65532:outrigger:/:/\n";
const GROUP: &str = "root:x:0:\noutrigger:x:65532:\n";

/// The layer with this executable.
pub fn bytes(executable: &Path, certificates: &[u8], seconds: u64) -> Result<Vec<u8>> {
    let program = fs::read(executable).with_context(|| format!("cannot read {}", executable.display()))?;
    let mut content = Vec::new();
    let mut archive = Archive::new(&mut content, seconds);
    for (name, mode) in DIRECTORIES {
        archive.directory(name, *mode)?;
    }
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.file("etc/ssl/certs/ca-certificates.crt", 0o644, certificates)?;
    archive.file("outrigger", 0o755, &program)?;
    for (name, target) in LINKS {
        archive.link(name, target)?;
    }
    archive.finish()?;
    Ok(content)
}

/// The certificates of a directory, in the order of their names.
pub fn certificates(directory: &Path) -> Result<Vec<u8>> {
    let files = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>());
    let Ok(mut files) = files else {
        bail!(CannotRunHere(format!(
            "{} cannot be read: install Debian's package ca-certificates (`cargo xtask setup` does)",
            directory.display()
        )));
    };
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(all)
}

/// An archive whose bytes depend on nothing but what is put into it.
pub struct Archive<W: Write> {
    tar: tar::Builder<W>,
    seconds: u64,
}

impl<W: Write> Archive<W> {
    /// An empty archive; all of its entries are of this time.
    pub fn new(to: W, seconds: u64) -> Self {
        Self { tar: tar::Builder::new(to), seconds }
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.add(EntryType::Regular, name, mode, content)
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        self.add(EntryType::Directory, name, mode, &[])
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = self.header(EntryType::Symlink, 0o777);
        self.tar.append_link(&mut header, name, target).with_context(|| format!("cannot add {name}"))
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.tar.finish()?;
        Ok(())
    }

    fn add(&mut self, kind: EntryType, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = self.header(kind, mode);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, name, content).with_context(|| format!("cannot add {name}"))
    }

    fn header(&self, kind: EntryType, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.seconds);
        header.set_size(0);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_certificates_the_package_is_named() {
        let failure = certificates(Path::new("/nothing/here")).unwrap_err();
        assert!(failure.is::<CannotRunHere>() && failure.to_string().contains("ca-certificates"), "{failure}");
    }

    #[test]
    fn certificates_come_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        assert_eq!(certificates(directory.path()).unwrap(), b"abc");
    }

    #[test]
    fn the_layer_is_roots_and_its_links_lead_to_the_executable() {
        let place = tempfile::tempdir().unwrap();
        let executable = place.path().join("executable");
        fs::write(&executable, "program").unwrap();
        let layer = bytes(&executable, b"certificates", 7).unwrap();
        let mut links = Vec::new();
        for entry in tar::Archive::new(&*layer).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 7));
            if let Some(target) = entry.link_name().unwrap() {
                let from = entry.path().unwrap().parent().unwrap().to_owned();
                links.push(place.path().join("root").join(from).join(target));
            }
        }
        tar::Archive::new(&*layer).unpack(place.path().join("root")).unwrap();
        assert_eq!(links.len(), LINKS.len());
        assert!(links.iter().all(|link| fs::read(link).unwrap() == b"program"));
    }
}
