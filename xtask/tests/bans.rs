//! The bans of each core do their work: clippy fails on a crate with a core's `clippy.toml` that gains a clock, a file, or
//! anything else that a core must not touch.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a core may gain by accident, and the reason that clippy must give.
const ACCIDENTS: &[(&str, &str)] = &[
    ("pub fn now() -> std::time::SystemTime { std::time::SystemTime::now() }", "time is an argument"),
    ("pub fn since() -> std::time::Instant { std::time::Instant::now() }", "time is an argument"),
    ("pub fn text() -> Option<String> { std::fs::read_to_string(\"/etc/hosts\").ok() }", "a core has no files"),
    (
        "pub fn file() -> std::io::Result<std::fs::File> { Err(std::io::ErrorKind::NotFound.into()) }",
        "a core has no files",
    ),
    ("pub fn home() -> Option<std::ffi::OsString> { std::env::var_os(\"HOME\") }", "a core reads no environment"),
    ("pub fn home() -> Option<std::path::PathBuf> { std::env::home_dir() }", "crashes in a static glibc executable"),
];

fn cores() -> Vec<PathBuf> {
    let cores = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("cores");
    fs::read_dir(cores).unwrap().map(|core| core.unwrap().path()).collect()
}

/// Runs clippy on a crate of one source file under a core's bans.
fn clippy(core: &Path, source: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"a-core\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(core.join("clippy.toml"), directory.path().join("clippy.toml")).unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    fs::write(directory.path().join("src/lib.rs"), source).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo set for this test must not reach the one that it starts.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO")) {
        if name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(&directory).env("CARGO_TARGET_DIR", directory.path().join("target"));
    cargo.args(["clippy", "--quiet", "--offline", "--", "-D", "warnings"]).output().unwrap()
}

#[test]
fn clippy_passes_a_core_that_touches_nothing() {
    for core in cores() {
        let output = clippy(&core, "//! A core.\npub fn one() -> u8 { 1 }\n");
        assert!(output.status.success(), "{}: {}", core.display(), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn clippy_fails_a_core_that_gains_a_clock_a_file_or_the_environment() {
    for core in cores() {
        for (source, reason) in ACCIDENTS {
            let output = clippy(&core, source);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(reason), "{}: {source}: {said}", core.display());
        }
    }
}
