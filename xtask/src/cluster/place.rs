//! Where a cluster's own things lie, and what it tells of itself there.
//!
//! ```text
//! CACHE/cluster/state/NAME/
//!   options.json    what it was started with
//!   init            its first process: id in the machine, start time
//!   record.json     its components, as the supervisor sees them
//!   port            where the machine finds its API server
//!   bin/            links to all programs
//!   certificates/   certificates and keys
//!   etc/            configuration of components; kubeconfig for the machine, inside.kubeconfig for `cluster shell`
//!   log/            what each component said
//!   var-lib, var-log   what its processes see as /var/lib and /var/log
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Options;

/// The place of one cluster.
#[derive(Debug, Clone)]
pub struct Place {
    /// The project's cache.
    pub cache: PathBuf,
    /// The cluster's name.
    pub name: String,
}

/// What the supervisor tells of the components.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is being waited for; empty when all components were started.
    pub waits_for: String,
    /// Whether all of them were started.
    pub is_complete: bool,
    /// In the order of their start.
    pub components: Vec<Started>,
}

/// A component that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its name.
    pub name: String,
    /// Its process inside.
    pub pid: u32,
    /// When it was started, as Kubernetes writes times: `2026-01-31T12:00:00Z`.
    pub since: String,
    /// How it ended.
    pub ended: Option<String>,
}

impl Record {
    /// The first component that ended.
    pub fn ended(&self) -> Option<(&Started, &str)> {
        self.components.iter().find_map(|started| Some((started, started.ended.as_deref()?)))
    }
}

/// A process of the machine: an id means it only together with the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start: u64,
}

impl Identity {
    /// Of the process with this id below `proc`, unless it has ended.
    pub fn of(proc: &Path, pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(proc.join(pid).join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid: stat.split_once(' ')?.0.parse().ok()?, start: fields.get(19)?.parse().ok()? })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(Path::new("/proc"), &self.pid.to_string()) == Some(self)
    }
}

impl Place {
    /// The directory of all that it has on disk.
    pub fn directory(&self) -> PathBuf {
        self.cache.join("cluster/state").join(&self.name)
    }

    /// A path below the directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory().join(below)
    }

    /// A program of this cluster.
    pub fn program(&self, name: &str) -> PathBuf {
        self.path("bin").join(name)
    }

    /// Where a component's output goes.
    pub fn log(&self, component: &str) -> PathBuf {
        self.path("log").join(format!("{component}.log"))
    }

    /// What it was started with; `None` where there is no such cluster.
    pub fn options(&self) -> Option<Options> {
        serde_json::from_str(&fs::read_to_string(self.path("options.json")).ok()?).ok()
    }

    /// Its first process, as long as it lives.
    pub fn init(&self) -> Option<Identity> {
        let text = fs::read_to_string(self.path("init")).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let init = Identity { pid: pid.parse().ok()?, start: start.parse().ok()? };
        init.is_alive().then_some(init)
    }

    /// What its supervisor last told.
    pub fn record(&self) -> Record {
        let text = fs::read_to_string(self.path("record.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Replaces a file whole: a reader sees the old one or the new one.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, partial) = (self.path(name), self.path(&format!("{name}.partial")));
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The last lines of a component's log.
    pub fn last_lines(&self, component: &str, count: usize) -> String {
        let text = fs::read(self.log(component)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = std::process::id().to_string();
        let me = Identity::of(Path::new("/proc"), &own).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start: me.start + 1, ..me }.is_alive());
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields_and_a_zombie_is_gone() {
        let tree = tempfile::tempdir().unwrap();
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 0";
        for (state, expected) in [("S", Some(Identity { pid: 7, start: 777 })), ("Z", None)] {
            fs::create_dir_all(tree.path().join("7")).unwrap();
            fs::write(tree.path().join("7/stat"), format!("7 (a) b (c) {state} {rest}\n")).unwrap();
            assert_eq!(Identity::of(tree.path(), "7"), expected);
        }
    }

    #[test]
    fn the_last_lines_of_a_log_are_told() {
        let cache = tempfile::tempdir().unwrap();
        let place = Place { cache: cache.path().into(), name: "a".into() };
        assert_eq!(place.last_lines("kubelet", 2), "");
        fs::create_dir_all(place.path("log")).unwrap();
        fs::write(place.log("kubelet"), "one\ntwo\nthree\n").unwrap();
        assert_eq!(place.last_lines("kubelet", 2), "two\nthree");
    }
}
