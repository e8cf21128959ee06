//! Real parts that are written in Go: built from the module proxy, at the versions and sums that stand beside this file.
//!
//! ```text
//! a Go that is new enough ────────────────────────────┐
//! an older one ──golang.org/toolchain──► the one asked for ──build──► cache: sample-device-plugin-KEY/
//! ```
//!
//! Debian 12 has Go 1.19, which cannot fetch a newer Go by itself (Go can since 1.21) but can fetch its module. What it does
//! not do: it installs no Go. Modules and compiled packages go where Go keeps them (`go env GOMODCACHE GOCACHE`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{self, CannotRunHere};
use crate::{cache, measure};

/// The executable's name, and the name of its folder in the cache before the key.
const NAME: &str = "sample-device-plugin";

/// What it is built from.
const PACKAGE: &str = "k8s.io/kubernetes/test/images/sample-device-plugin";
const GO_MOD: &str = include_str!("sample-device-plugin/go.mod");
const GO_SUM: &str = include_str!("sample-device-plugin/go.sum");

/// Where Go lies that is not on the path: its own installation's place, and Debian's.
const PLACES: &[&str] = &["/usr/local/go/bin/go", "/usr/lib/go/bin/go"];

/// Kubernetes' sample device plugin; `None` where [`setup`] has not run.
pub fn sample_device_plugin(cache: &Path) -> Option<PathBuf> {
    let executable = directory(cache).join(NAME);
    executable.is_file().then_some(executable)
}

/// Go, of whatever version: `GO_BIN`, the path, or where it is installed by hand.
pub fn installed() -> Option<PathBuf> {
    measure::peer("go").or_else(|| PLACES.iter().map(PathBuf::from).find(|place| place.is_file()))
}

/// Builds the sample device plugin unless it is there. Needs Go and its module proxy, no root rights.
pub fn setup(cache: &Path) -> Result<String> {
    if let Some(executable) = sample_device_plugin(cache) {
        return Ok(format!("sample device plugin: {} is there", executable.display()));
    }
    let Some(go) = installed() else {
        bail!(CannotRunHere(
            "no `go` here, and the sample device plugin is built with it: install golang-go or https://go.dev/dl"
                .into()
        ));
    };
    for old in cache::entries(cache, NAME)? {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove the old {}", old.display()))?;
    }
    let partial = cache.join(format!("{NAME}-partial"));
    let made = partial.join("made");
    fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    let go = if version(&go)? >= needed() { go } else { fetch(&go, &partial)? };
    build(&go, &partial.join("source"), &made.join(NAME))?;
    fs::rename(&made, directory(cache))?;
    fs::remove_dir_all(&partial)?;
    Ok(format!("sample device plugin: built {}", directory(cache).join(NAME).display()))
}

fn directory(cache: &Path) -> PathBuf {
    cache.join(format!("{NAME}-{}", cache::key(&[GO_MOD, GO_SUM])))
}

/// Builds the package in a module of its own, with these versions and sums or not at all.
fn build(go: &Path, source: &Path, executable: &Path) -> Result<()> {
    fs::create_dir(source)?;
    fs::write(source.join("go.mod"), GO_MOD)?;
    fs::write(source.join("go.sum"), GO_SUM)?;
    let mut build = alone(go, "-mod=readonly");
    build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(executable).arg(PACKAGE);
    build.current_dir(source).env("CGO_ENABLED", "0");
    cache::run_quietly(&mut build).with_context(|| format!("cannot build {PACKAGE}; its modules come from GOPROXY"))
}

/// Fetches the Go of `go.mod` as the module that it also is; Go's database of sums vouches for it.
fn fetch(go: &Path, folder: &Path) -> Result<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => {
            bail!(CannotRunHere(format!("no Go is fetched for {other}: install one of at least {}", directive("go"))))
        }
    };
    let version = format!("v0.0.1-{}.linux-{architecture}", directive("toolchain"));
    let mut download = alone(go, "-modcacherw");
    download.args(["mod", "download", &format!("golang.org/toolchain@{version}")]);
    let modules = folder.join("modules");
    download.current_dir(folder).env("GOPATH", folder).env("GOMODCACHE", &modules);
    cache::run_quietly(&mut download).context("cannot fetch a newer Go")?;
    let root = modules.join(format!("golang.org/toolchain@{version}"));
    // What a module cannot hold is put right as Go itself does it (cmd/go/internal/toolchain, 1.26).
    fs::copy(root.join("src/_go.mod"), root.join("src/go.mod"))?;
    for programs in ["bin".to_owned(), format!("pkg/tool/linux_{architecture}")] {
        for program in fs::read_dir(root.join(programs))? {
            cache::make_executable(&program?.path())?;
        }
    }
    Ok(root.join("bin/go"))
}

/// Go as it is there, with these flags and none of the user's.
fn alone(go: &Path, flags: &str) -> Command {
    let mut command = Command::new(go);
    command.env_remove("GOROOT").env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", flags);
    command
}

/// Major and minor version of a Go.
fn version(go: &Path) -> Result<(u32, u32)> {
    let said = step::output(alone(go, "").args(["env", "GOVERSION"]).current_dir("/"))?;
    number(said.trim().trim_start_matches("go")).with_context(|| format!("{} has the version {said}", go.display()))
}

fn needed() -> (u32, u32) {
    number(directive("go")).expect("go.mod names its Go")
}

/// `1.26.5` and `1.27rc1` begin with two numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What a line of `go.mod` says.
fn directive(name: &str) -> &'static str {
    let mut lines = GO_MOD.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.next().expect("go.mod has this line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_names_the_go_that_builds_and_the_one_that_is_fetched() {
        assert_eq!(needed(), number(directive("toolchain").trim_start_matches("go")).unwrap());
        assert!(number("1.19.8").unwrap() < needed());
        assert_eq!((number("1.27rc1"), number("1.26-devel"), number("tip")), (Some((1, 27)), Some((1, 26)), None));
    }

    #[test]
    fn every_module_that_is_replaced_has_the_version_of_kubernetes() {
        let kubernetes = GO_MOD.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes v1.")).unwrap();
        let replaced: Vec<&str> =
            GO_MOD.lines().filter_map(|line| line.split_once(" => ").map(|(_, new)| new)).collect();
        let is_same = |new: &&str| new.ends_with(&format!(" v0.{kubernetes}"));
        assert!(!replaced.is_empty() && replaced.iter().all(is_same), "{replaced:?}");
    }

    #[test]
    fn what_was_built_is_not_built_again() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(sample_device_plugin(cache.path()), None);
        let executable = directory(cache.path()).join(NAME);
        fs::create_dir(directory(cache.path())).unwrap();
        fs::write(&executable, "").unwrap();
        assert_eq!(sample_device_plugin(cache.path()).as_deref(), Some(executable.as_path()));
        assert!(setup(cache.path()).unwrap().ends_with("is there"));
    }
}
