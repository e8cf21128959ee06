//! Disks for a test: loop devices over files of its own, and nodes in a directory of `/dev`. A cluster sees the machine's `/dev`,
//! so they are the machine's, and go with these values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tempfile::NamedTempFile;

use super::output;

/// A loop device over a file of its own.
#[derive(Debug)]
pub struct Disk {
    file: NamedTempFile,
    /// Its node, as in `/dev/loop0`.
    pub node: String,
}

impl Disk {
    /// Attaches an empty file, large enough for an xfs.
    pub fn attach() -> Result<Self> {
        let file = NamedTempFile::with_prefix("outrigger-disk-")?;
        file.as_file().set_len(320 << 20)?;
        let said = output(Command::new("losetup").args(["--find", "--show"]).arg(file.path()));
        let node = said.context("this machine gives no loop device")?.trim().to_owned();
        Ok(Self { file, node })
    }

    /// The kernel's name of it.
    pub fn name(&self) -> &str {
        self.node.trim_start_matches("/dev/")
    }

    /// Takes the file away, as if the disk were unplugged.
    pub fn unplug(&self) -> Result<()> {
        output(Command::new("losetup").args(["--detach", &self.node])).map(drop)
    }

    /// Puts the file back.
    pub fn plug(&self) -> Result<()> {
        output(Command::new("losetup").arg(&self.node).arg(self.file.path())).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unplug();
    }
}

/// A directory of `/dev` with nodes that can be unplugged while they are in use.
#[derive(Debug)]
pub struct Nodes(PathBuf);

/// Device numbers that do no harm and differ: null, zero, full.
const MINORS: [u32; 3] = [3, 5, 7];

impl Nodes {
    /// Makes the directory with a node for each number.
    pub fn make() -> Result<Self> {
        let nodes = Self(format!("/dev/outrigger-test-{}", std::process::id()).into());
        fs::create_dir(&nodes.0).with_context(|| format!("cannot make {}", nodes.0.display()))?;
        (0..MINORS.len()).try_for_each(|number| nodes.plug(number))?;
        Ok(nodes)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Where a node is.
    pub fn path(&self, number: usize) -> PathBuf {
        self.0.join(format!("node{number}"))
    }

    /// Makes a node.
    pub fn plug(&self, number: usize) -> Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, self.path(number), FileType::CharacterDevice, mode, makedev(1, MINORS[number]))
            .with_context(|| format!("cannot make {}", self.path(number).display()))
    }

    /// Removes a node.
    pub fn unplug(&self, number: usize) -> Result<()> {
        fs::remove_file(self.path(number)).with_context(|| format!("cannot remove {}", self.path(number).display()))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
