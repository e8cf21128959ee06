//! Programs built from Go modules by the Go toolchain, kept in the cache beside the target directory.
//!
//! ```text
//! go/mod, go/build       Go's own caches, shared by all that is built here
//! go/scratch/NAME-1.2.3  the module that requires what is built
//! cluster/NAME-1.2.3     the programs
//! ```
//!
//! What is there is not built again. A program is built under another name and renamed, so that a build that is killed
//! leaves nothing that looks whole; a file of a module's tree is taken likewise. What it does not do: it pulls nothing but Go
//! modules.

pub mod toolchain;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, step};

/// A Go module whose programs are wanted, and how they are built.
#[derive(Debug, Clone)]
pub struct Module {
    /// Names its directories.
    pub name: &'static str,
    /// The module's path.
    pub path: &'static str,
    /// Its version, without the `v`.
    pub version: String,
    /// Further modules of the same version.
    pub beside: &'static [&'static str],
    /// Whether it replaces modules by folders of its own tree, as Kubernetes does: each of them is served as v0.MINOR.PATCH.
    pub is_staged: bool,
    /// Build tags.
    pub tags: &'static str,
    /// What the linker sets, as in `-X`: variables and their values.
    pub values: Vec<(String, String)>,
    /// Whether it needs a C compiler.
    pub uses_c: bool,
    /// Its programs: the name of each and the package that makes it.
    pub programs: Vec<(&'static str, String)>,
    /// What else is wanted of its tree: the name of each file, and its path there.
    pub files: &'static [(&'static str, &'static str)],
}

impl Module {
    /// Where its programs lie.
    pub fn directory(&self, cache: &Path) -> PathBuf {
        cache.join("cluster").join(self.label())
    }

    /// Where this program lies; `None` where it is not built.
    pub fn program(&self, cache: &Path, name: &str) -> Option<PathBuf> {
        Some(self.directory(cache).join(name)).filter(|program| program.is_file())
    }

    /// The programs that are not built.
    pub fn missing(&self, cache: &Path) -> Vec<&(&'static str, String)> {
        self.programs.iter().filter(|(name, _)| self.program(cache, name).is_none()).collect()
    }

    /// Whether its programs and files are there.
    pub fn is_here(&self, cache: &Path) -> bool {
        let directory = self.directory(cache);
        self.missing(cache).is_empty() && self.files.iter().all(|(name, _)| directory.join(name).is_file())
    }

    /// Its name and version.
    pub fn label(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn linker_flags(&self) -> String {
        let values = self.values.iter().map(|(variable, value)| format!(" -X {variable}={value}"));
        format!("-s -w{}", values.collect::<String>())
    }
}

/// Builds what is missing of these modules. One build runs at a time in a cache; a second waits for it.
pub fn build(cache: &Path, modules: &[Module]) -> Result<()> {
    if modules.iter().all(|module| module.is_here(cache)) {
        return Ok(());
    }
    toolchain::check()?;
    fs::create_dir_all(cache.join("go")).with_context(|| format!("cannot make {}/go", cache.display()))?;
    let lock = File::create(cache.join("go/lock")).context("cannot make the lock of the Go caches")?;
    if lock.try_lock().is_err() {
        println!("another build runs in {}: waiting for its end", cache.display());
        lock.lock().context("cannot lock the Go caches")?;
    }
    let go = Go { program: toolchain::find(cache)?, cache };
    for module in modules {
        go.build(module)?;
        go.take_files(module)?;
    }
    Ok(())
}

/// The toolchain with the caches of the project.
struct Go<'c> {
    program: PathBuf,
    cache: &'c Path,
}

impl Go<'_> {
    fn build(&self, module: &Module) -> Result<()> {
        let missing = module.missing(self.cache);
        if missing.is_empty() {
            return Ok(());
        }
        let scratch = self.scratch(module)?;
        let directory = module.directory(self.cache);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        for (name, package) in missing {
            let partial = directory.join(format!(".{name}.partial"));
            step::timed(&format!("build {} {name}", module.label()), || {
                let mut go = self.command(&scratch);
                go.env("CGO_ENABLED", if module.uses_c { "1" } else { "0" });
                go.args(["build", "-tags", module.tags, "-ldflags", &module.linker_flags(), "-o"]);
                cache::run_quietly(go.arg(&partial).arg(package)).with_context(|| self.remedy(module))
            })?;
            fs::rename(&partial, directory.join(name))?;
        }
        Ok(())
    }

    fn take_files(&self, module: &Module) -> Result<()> {
        if module.is_here(self.cache) {
            return Ok(());
        }
        let directory = module.directory(self.cache);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let tree = PathBuf::from(self.downloaded(&directory, module, "Dir")?);
        for (name, path) in module.files {
            let (from, partial) = (tree.join(path), directory.join(format!(".{name}.partial")));
            let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            fs::write(&partial, content).with_context(|| format!("cannot write {}", partial.display()))?;
            fs::rename(&partial, directory.join(name))?;
        }
        Ok(())
    }

    /// Makes the module that requires it. A module's own `replace` lines count only where it is the main one, so those that
    /// matter are repeated.
    fn scratch(&self, module: &Module) -> Result<PathBuf> {
        let scratch = self.cache.join("go/scratch").join(module.label());
        fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let mut text = format!("module scratch\n\ngo {}.{}.0\n", toolchain::OLDEST.0, toolchain::OLDEST.1);
        for path in std::iter::once(&module.path).chain(module.beside) {
            text += &format!("require {path} v{}\n", module.version);
        }
        if module.is_staged {
            let own = self.own_manifest(&scratch, module)?;
            let staged = staged_version(&module.version);
            text += &replaced(&own).map(|path| format!("replace {path} => {path} {staged}\n")).collect::<String>();
        }
        fs::write(scratch.join("go.mod"), text)?;
        let _ = fs::remove_file(scratch.join("go.sum"));
        Ok(scratch)
    }

    /// The module's own `go.mod`.
    fn own_manifest(&self, scratch: &Path, module: &Module) -> Result<String> {
        let path = self.downloaded(scratch, module, "GoMod")?;
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// Downloads a module, and answers where this part of it lies, as `go mod download` names it.
    fn downloaded(&self, directory: &Path, module: &Module, part: &str) -> Result<String> {
        let named = format!("{}@v{}", module.path, module.version);
        let output = self.command(directory).args(["mod", "download", "-json", &named]).output();
        let output = output.context("cannot start go")?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let Some(path) = told[part].as_str() else {
            let reason = told["Error"].as_str().map_or_else(|| String::from_utf8_lossy(&output.stderr), Into::into);
            bail!("{}: the Go module {named} cannot be had: {reason}", self.remedy(module));
        };
        Ok(path.to_owned())
    }

    /// What a build that failed is told with. It fails where modules cannot be had, or the disk is full.
    fn remedy(&self, module: &Module) -> String {
        let said = step::output(self.command(&self.cache.join("go")).args(["env", "GOPROXY"])).unwrap_or_default();
        format!(
            "{} is not built (GOPROXY names {} for its modules; what is built stays, and the same command goes on from there)",
            module.label(),
            said.trim()
        )
    }

    fn command(&self, directory: &Path) -> Command {
        let mut go = toolchain::alone(&self.program, "-trimpath -buildvcs=false -mod=mod");
        go.env("GOMODCACHE", self.cache.join("go/mod")).env("GOCACHE", self.cache.join("go/build"));
        go.current_dir(directory);
        go
    }
}

/// The modules that a manifest replaces by folders of `./staging`.
fn replaced(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| {
        let (path, target) = line.trim().trim_start_matches("replace ").split_once(" => ")?;
        target.starts_with("./staging/").then_some(path)
    })
}

/// `v0.36.3` for `1.36.3`.
fn staged_version(version: &str) -> String {
    format!("v0.{}", version.split_once('.').map_or(version, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(programs: &[&'static str]) -> Module {
        Module {
            name: "thing",
            path: "example.com/thing",
            version: "1.2.3".into(),
            beside: &[],
            is_staged: false,
            tags: "",
            values: vec![("example.com/thing.version".into(), "1.2.3".into())],
            uses_c: false,
            programs: programs.iter().map(|name| (*name, format!("example.com/thing/{name}"))).collect(),
            files: &[],
        }
    }

    #[test]
    fn a_program_that_is_there_is_not_built_again() {
        let cache = tempfile::tempdir().unwrap();
        let both = module(&["one", "two"]);
        let directory = both.directory(cache.path());
        assert_eq!(directory, cache.path().join("cluster/thing-1.2.3"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("one"), "").unwrap();
        fs::write(directory.join(".two.partial"), "").unwrap();
        let missing: Vec<&str> = both.missing(cache.path()).into_iter().map(|(name, _)| *name).collect();
        assert_eq!(missing, ["two"]);
        build(cache.path(), &[module(&["one"])]).unwrap();
        assert!(!cache.path().join("go").exists());
        let with_file = Module { files: &[("three", "folder/three.yaml")], ..module(&["one"]) };
        assert!(!with_file.is_here(cache.path()));
        fs::write(directory.join("three"), "").unwrap();
        assert!(with_file.is_here(cache.path()));
    }

    #[test]
    fn only_what_lies_in_the_staging_folder_is_replaced() {
        let manifest = "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\ta.b/c => a.b/d v1\n)\nreplace k8s.io/kms => ./staging/src/k8s.io/kms\n";
        assert_eq!(replaced(manifest).collect::<Vec<_>>(), ["k8s.io/api", "k8s.io/kms"]);
        assert_eq!(staged_version("1.36.3"), "v0.36.3");
    }

    #[test]
    fn the_linker_sets_what_a_program_tells_of_itself() {
        assert_eq!(module(&[]).linker_flags(), "-s -w -X example.com/thing.version=1.2.3");
    }
}
