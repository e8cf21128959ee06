//! The project as cargo sees it: its packages, its root, and the directories beside it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// Names the directory of cached roots and images where it should be another.
const CACHE: &str = "OUTRIGGER_CACHE_DIR";

/// Where everything is.
#[derive(Debug)]
pub struct Project {
    /// The workspace's root.
    pub root: PathBuf,
    /// Roots and images that setting up makes: beside the target directory.
    pub cache: PathBuf,
    /// What `cargo metadata` says of the workspace's own packages.
    pub metadata: Metadata,
}

impl Project {
    /// The project that this program was built from.
    pub fn here() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
        let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
        let metadata = metadata.context("cannot read the workspace with `cargo metadata`")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let cache = cache(&root, metadata.target_directory.as_std_path(), |name| env::var_os(name))?;
        Ok(Self { root, cache, metadata })
    }

    /// The workspace's packages.
    pub fn packages(&self) -> &[Package] {
        &self.metadata.packages
    }

    /// Cargo, in the workspace's root.
    pub fn cargo(&self) -> Command {
        self.as_started_by(Command::new(program()))
    }

    /// Cargo for a step that may hang. On CI it is ended after so long, with exit code 124 of `timeout(1)`; its last lines
    /// name the test that still ran. At a terminal, where somebody watches, it has no limit.
    pub fn cargo_within(&self, limit: Duration) -> Command {
        if !is_ci() {
            return self.cargo();
        }
        let mut timeout = Command::new("timeout");
        timeout.arg("--verbose").arg("--kill-after=10").arg(limit.as_secs().to_string()).arg(program());
        self.as_started_by(timeout)
    }

    /// In the workspace's root, with the environment of whoever started us.
    fn as_started_by(&self, mut cargo: Command) -> Command {
        // Set by the cargo that runs us, for us; a build that sees them is built anew.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
                cargo.env_remove(name);
            }
        }
        cargo.current_dir(&self.root);
        cargo
    }
}

/// The cargo that runs us, else the one on the path.
fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether this run is CI's: there nothing may be missing.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Beside the target directory; where that lies in the workspace, in the user's cache, so that a checkout stays clean.
fn cache(root: &Path, target: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let named = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = named(CACHE) {
        return Ok(cache);
    }
    if let (false, Some(parent)) = (target.starts_with(root), target.parent()) {
        return Ok(parent.to_owned());
    }
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    Ok(cache.with_context(|| format!("no HOME, XDG_CACHE_HOME or {CACHE} says where to cache"))?.join("outrigger"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_lies_beside_the_target_directory_and_never_in_the_checkout() {
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/a"));
        let named = |name: &str| (name == CACHE).then(|| OsString::from("/big/disk"));
        for (target, variable, expected) in [
            ("/c/outrigger/target", &home as &dyn Fn(&str) -> Option<OsString>, "/c/outrigger"),
            ("/src/target", &home, "/home/a/.cache/outrigger"),
            ("/src/target", &named, "/big/disk"),
        ] {
            assert_eq!(cache(Path::new("/src"), Path::new(target), variable).unwrap(), Path::new(expected));
        }
        assert!(cache(Path::new("/src"), Path::new("/src/target"), |_| None).is_err());
    }
}
