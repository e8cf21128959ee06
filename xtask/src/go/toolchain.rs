//! Which Go builds: the one that is installed, or where that is too old the one that it fetches.
//!
//! ```text
//! a Go that is new enough ────────────────────────────► builds
//! an older one ──golang.org/toolchain──► CACHE/go/toolchain-1.26.5 ──► builds
//! ```
//!
//! Debian 12 has Go 1.19, which cannot fetch a newer Go by itself (Go can since 1.21) but can fetch its module. What it does
//! not do: it installs no Go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{self, CannotRunHere};
use crate::{cache, measure};

/// The oldest that builds all of it.
pub const OLDEST: (u32, u32) = (1, 26);
/// The one that is fetched.
const FETCHED: &str = "1.26.5";

/// Where Go lies that is not on the path: its own installation's place, and Debian's.
const PLACES: &[&str] = &["/usr/local/go/bin/go", "/usr/lib/go/bin/go"];

/// Go, of whatever version: `GO_BIN`, the path, or where it is installed by hand.
pub fn installed() -> Option<PathBuf> {
    measure::peer("go").or_else(|| PLACES.iter().map(PathBuf::from).find(|place| place.is_file()))
}

/// Whether there is one at all.
pub fn check() -> Result<PathBuf> {
    installed().with_context(|| {
        CannotRunHere("no `go` here, and Kubernetes is built with it: install golang-go or https://go.dev/dl".into())
    })
}

/// One that is new enough.
pub fn find(cache: &Path) -> Result<PathBuf> {
    let go = check()?;
    if OLDEST <= version(&go)? {
        return Ok(go);
    }
    let folder = cache.join("go").join(format!("toolchain-{FETCHED}"));
    if !folder.exists() {
        let partial = cache.join("go/toolchain-partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        step::timed(&format!("fetch Go {FETCHED}"), || fetch(&go, &partial))?;
        fs::rename(&partial, &folder)?;
    }
    Ok(folder.join(root()?).join("bin/go"))
}

/// Go as it is there, with these flags and none of the user's.
pub fn alone(go: &Path, flags: &str) -> Command {
    let mut command = Command::new(go);
    command.env_remove("GOROOT").env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", flags);
    command
}

/// Fetches it as the module that it also is; Go's database of sums vouches for it.
fn fetch(go: &Path, folder: &Path) -> Result<()> {
    let root = root()?;
    let mut download = alone(go, "-modcacherw");
    download.args(["mod", "download", &root]).current_dir(folder).env("GOPATH", folder).env("GOMODCACHE", folder);
    cache::run_quietly(&mut download).context("cannot fetch a newer Go")?;
    let root = folder.join(root);
    // What a module cannot hold is put right as Go itself does it (cmd/go/internal/toolchain, 1.26).
    fs::copy(root.join("src/_go.mod"), root.join("src/go.mod"))?;
    for programs in ["bin".to_owned(), format!("pkg/tool/linux_{}", architecture()?)] {
        for program in fs::read_dir(root.join(programs))? {
            cache::make_executable(&program?.path())?;
        }
    }
    Ok(())
}

/// The module with its version, which is also its folder in a cache of modules.
fn root() -> Result<String> {
    Ok(format!("golang.org/toolchain@v0.0.1-go{FETCHED}.linux-{}", architecture()?))
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!(CannotRunHere(format!(
            "no Go is fetched for {other}: install one of at least {}.{}",
            OLDEST.0, OLDEST.1
        ))),
    }
}

/// Major and minor version of a Go.
fn version(go: &Path) -> Result<(u32, u32)> {
    let said = step::output(alone(go, "").args(["env", "GOVERSION"]).current_dir("/"))?;
    number(said.trim().trim_start_matches("go")).with_context(|| format!("{} has the version {said}", go.display()))
}

/// `1.26.5` and `1.27rc1` begin with two numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_that_is_fetched_is_new_enough() {
        assert!(OLDEST <= number(FETCHED).unwrap());
        assert!(number("1.19.8").unwrap() < OLDEST);
        assert_eq!((number("1.27rc1"), number("1.26-devel"), number("tip")), (Some((1, 27)), Some((1, 26)), None));
    }
}
