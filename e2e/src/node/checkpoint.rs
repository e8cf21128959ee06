//! The file that a kubelet writes after each list of a plugin, with the healthy devices of every resource, and its socket.
//!
//! Source: `pkg/kubelet/cm/devicemanager/manager.go` (`genericDeviceUpdateCallback`, `writeCheckpoint`). A kubelet that starts
//! reads it, and counts no device of it as healthy until a plugin lists it again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::devices::Served;

/// How often both are looked at.
const GLANCE: Duration = Duration::from_millis(1);
/// How long something may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// The inode of a file and when that was made, so that a new one is known.
pub type Made = (u64, i64, i64);

/// The files of one kubelet.
#[derive(Debug)]
pub struct Checkpoint {
    plugins: PathBuf,
}

impl Checkpoint {
    /// Those of the kubelet whose `/` is seen here.
    pub fn below(root: &Path) -> Self {
        Self { plugins: root.join("var/lib/kubelet/device-plugins") }
    }

    /// Which checkpoint it is.
    pub fn made(&self) -> Option<Made> {
        made(&self.file())
    }

    /// Which socket the kubelet listens at.
    pub fn socket(&self) -> Option<Made> {
        made(&self.plugins.join("kubelet.sock"))
    }

    /// Waits for another socket, and answers when it came.
    pub fn until_socket(&self, before: Option<Made>) -> Result<Instant> {
        until("the kubelet has a new socket", || self.socket().is_some_and(|now| Some(now) != before))
    }

    /// Waits for another checkpoint that has so many devices, and answers when it came.
    pub fn until(&self, served: &Served, before: Option<Made>) -> Result<Instant> {
        let mut seen = before;
        until("the kubelet has the list", || {
            let now = self.made();
            if now.is_none() || now == seen {
                return false;
            }
            seen = now;
            std::fs::read(self.file()).is_ok_and(|text| has(&text, served))
        })
    }

    fn file(&self) -> PathBuf {
        self.plugins.join("kubelet_internal_checkpoint")
    }
}

fn made(file: &Path) -> Option<Made> {
    std::fs::metadata(file).ok().map(|file| (file.ino(), file.ctime(), file.ctime_nsec()))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<Instant> {
    let begin = Instant::now();
    while !is_so() {
        if PATIENCE < begin.elapsed() {
            bail!("in vain was waited until {what}");
        }
        thread::sleep(GLANCE);
    }
    Ok(Instant::now())
}

/// Whether a checkpoint has so many devices of each resource.
fn has(text: &[u8], served: &Served) -> bool {
    let told: Value = serde_json::from_slice(text).unwrap_or_default();
    let count = |name: &String| told["Data"]["RegisteredDevices"][name].as_array().map_or(0, Vec::len);
    served.iter().all(|(name, wanted)| count(name) == *wanted)
}

#[test]
fn a_checkpoint_counts_the_healthy_devices_of_each_resource() {
    let text = br#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"a.b/c":["0","1"],"a.b/d":[]}},"Checksum":1}"#;
    assert!(has(text, &vec![("a.b/c".into(), 2)]));
    assert!(!has(text, &vec![("a.b/c".into(), 2), ("a.b/d".into(), 1)]));
    assert!(!has(b"", &vec![("a.b/c".into(), 1)]));
}

#[test]
fn another_file_of_the_same_name_is_known() -> Result<()> {
    let place = tempfile::tempdir()?;
    let checkpoint = Checkpoint::below(place.path());
    std::fs::create_dir_all(&checkpoint.plugins)?;
    assert_eq!(checkpoint.made(), None);
    std::fs::write(checkpoint.file(), "1")?;
    let first = checkpoint.made();
    std::fs::write(place.path().join("next"), "2")?;
    std::fs::rename(place.path().join("next"), checkpoint.file())?;
    assert!(first.is_some() && checkpoint.made() != first);
    Ok(())
}
