//! The real parts that tests need, whether they are here, and what the tests are told about them.
//!
//! A test that needs a part is a file of `e2e/tests`, and names its parts in `e2e/Cargo.toml`:
//!
//! ```toml
//! [package.metadata.needs]
//! apptainer = ["sid-root"]      # tests/apptainer.rs
//! limits = ["cgroup-v2"]        # tests/limits.rs; runs in the virtual machine where this kernel has none
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Package, TargetKind};

use crate::cluster::parts;
use crate::project::Project;
use crate::step::Found;
use crate::{cluster, measure, sid, vm};

/// What a part gives its tests when it is here: environment variables.
pub type Environment = Vec<(&'static str, PathBuf)>;

/// A real part.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its name in `package.metadata.needs`.
    pub name: &'static str,
    /// What its tests are told; `None` where it is missing.
    pub present: fn(&Path) -> Option<Environment>,
    /// Who brings it.
    pub from: Source,
}

/// Who brings a part to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `cargo xtask setup`: on CI its absence is a failure.
    Setup,
    /// The kernel: tests that need another one run in the virtual machine.
    Kernel,
}

/// Where a test or a benchmark finds Kubernetes' sample device plugin.
const SAMPLE_DEVICE_PLUGIN: &str = "SAMPLE_DEVICE_PLUGIN_BIN";

/// All parts.
pub const PARTS: &[Part] = &[
    Part { name: "root", present: |_| is_root().then(Vec::new), from: Source::Setup },
    Part { name: "busybox", present: |_| file("OUTRIGGER_TEST_BUSYBOX", "/bin/busybox"), from: Source::Setup },
    Part {
        name: "podman",
        present: |_| measure::peer("podman").map(|path| vec![("PODMAN_BIN", path)]),
        from: Source::Setup,
    },
    Part { name: "helm", present: helm, from: Source::Setup },
    Part { name: "kubeconform", present: kubeconform, from: Source::Setup },
    Part { name: "sample-device-plugin", present: sample_device_plugin, from: Source::Setup },
    Part { name: "cluster", present: a_cluster, from: Source::Setup },
    Part { name: "sid-root", present: sid_root, from: Source::Setup },
    Part { name: "virtual-machine", present: |cache| vm::is_ready(cache).then(Vec::new), from: Source::Setup },
    Part {
        name: "cgroup-v2",
        present: |_| has_cgroup_v2(Path::new("/sys/fs/cgroup")).then(Vec::new),
        from: Source::Kernel,
    },
];

/// A test file of `e2e` and the parts it needs.
#[derive(Debug)]
pub struct RealTest {
    /// The name of its target: the file's name without `.rs`.
    pub name: String,
    /// What it needs.
    pub needs: Vec<Part>,
}

/// The package of the tests on real parts, where there is one.
pub fn end_to_end(project: &Project) -> Option<&Package> {
    project.packages().iter().find(|package| package.name.as_str() == "outrigger-e2e")
}

/// The test files of that package, with their needs.
pub fn real_tests(package: &Package) -> Result<Vec<RealTest>> {
    let needs = &package.metadata["needs"];
    let targets = package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Test));
    let tests = targets
        .map(|target| {
            let names = needs[&target.name].as_array().map(Vec::as_slice).unwrap_or_default();
            let needs = names.iter().map(|name| part(name.as_str().unwrap_or_default())).collect::<Result<_>>()?;
            Ok(RealTest { name: target.name.clone(), needs })
        })
        .collect::<Result<Vec<_>>>()
        .context("in package.metadata.needs of e2e/Cargo.toml")?;
    for named in needs.as_object().into_iter().flatten().map(|(name, _)| name) {
        if !tests.iter().any(|test| test.name == *named) {
            bail!(Found(format!(
                "package.metadata.needs of e2e/Cargo.toml names {named}, but e2e/tests has no such file"
            )));
        }
    }
    Ok(tests)
}

/// The part of this name, if there is one.
pub fn named(name: &str) -> impl Iterator<Item = Part> {
    PARTS.iter().filter(move |part| part.name == name).copied()
}

fn part(name: &str) -> Result<Part> {
    let known = named(name).next();
    known.with_context(|| {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        format!("no part is named \"{name}\": {} are", names.join(", "))
    })
}

fn helm(cache: &Path) -> Option<Environment> {
    parts::helm().program(cache, "helm").map(|program| vec![("HELM_BIN", program)])
}

/// With what the chart's kinds are that Kubernetes itself does not have.
fn kubeconform(cache: &Path) -> Option<Environment> {
    let kinds = parts::prometheus_operator();
    let program = parts::kubeconform().program(cache, "kubeconform").filter(|_| kinds.is_here(cache))?;
    let definition = kinds.directory(cache).join("podmonitors.yaml");
    Some(vec![("KUBECONFORM_BIN", program), ("POD_MONITOR_DEFINITION", definition)])
}

/// The one that `SAMPLE_DEVICE_PLUGIN_BIN` names already, else the one that was built.
fn sample_device_plugin(cache: &Path) -> Option<Environment> {
    let named = std::env::var_os(SAMPLE_DEVICE_PLUGIN).map(PathBuf::from);
    let built = || parts::sample_device_plugin().program(cache, "sample-device-plugin");
    named.or_else(built).map(|path| vec![(SAMPLE_DEVICE_PLUGIN, path)])
}

/// The programs of a cluster; tests start one by the program that runs them.
fn a_cluster(cache: &Path) -> Option<Environment> {
    cluster::is_built(cache)
        .then(|| std::env::current_exe().ok())
        .flatten()
        .map(|own| vec![("OUTRIGGER_TEST_XTASK", as_built_last(&own))])
}

/// The path of an executable that runs, also where `cargo test --workspace` has linked it anew since: the kernel then says
/// `(deleted)` behind it.
fn as_built_last(own: &Path) -> PathBuf {
    let text = own.to_string_lossy();
    PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
}

fn sid_root(cache: &Path) -> Option<Environment> {
    let enter = sid::enter(cache)?;
    let root = sid::directory(cache).join("root");
    Some(vec![("OUTRIGGER_TEST_SID_ENTER", enter), ("OUTRIGGER_TEST_SID_ROOT", root)])
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn file(variable: &'static str, path: &str) -> Option<Environment> {
    Path::new(path).is_file().then(|| vec![(variable, PathBuf::from(path))])
}

/// Whether the machine's main cgroup hierarchy is of version 2 and controls what limits need.
fn has_cgroup_v2(mount: &Path) -> bool {
    let controllers = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let has = |wanted| controllers.split_whitespace().any(|controller| controller == wanted);
    has("cpu") && has("memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_part_is_refused_with_the_known_ones() {
        let refusal = part("sid").unwrap_err().to_string();
        assert!(
            refusal.starts_with(
                "no part is named \"sid\": root, busybox, podman, helm, kubeconform, sample-device-plugin"
            ),
            "{refusal}"
        );
    }

    #[test]
    fn an_executable_that_was_linked_anew_is_found_where_it_was() {
        for own in ["/t/debug/xtask", "/t/debug/xtask (deleted)"] {
            assert_eq!(as_built_last(Path::new(own)), Path::new("/t/debug/xtask"));
        }
    }

    #[test]
    fn cgroup_v2_counts_only_with_its_controllers() {
        let tree = tempfile::tempdir().unwrap();
        assert!(!has_cgroup_v2(tree.path()));
        std::fs::write(tree.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        assert!(has_cgroup_v2(tree.path()));
        std::fs::write(tree.path().join("cgroup.controllers"), "\n").unwrap();
        assert!(!has_cgroup_v2(tree.path()));
    }
}
