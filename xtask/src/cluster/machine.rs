//! Whether this machine can run a cluster, and what to do where it cannot: asked before anything is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::covers::COVERED;
use super::group::Cgroups;
use crate::step::CannotRunHere;

/// Programs that a cluster is started with, and the Debian package of each.
const TO_RUN: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("openssl", "openssl"),
    ("busybox", "busybox-static"),
];

/// Programs that its binaries are built with.
const TO_BUILD: &[(&str, &str)] = &[("gcc", "gcc"), ("pkg-config", "pkg-config")];

/// What the C parts are linked with.
const TO_LINK: &[(&str, &str)] = &[("/usr/include/seccomp.h", "libseccomp-dev"), ("/usr/include/stdio.h", "libc6-dev")];

const GIB: u64 = 1 << 30;

/// Whether a cluster can run here.
pub fn can_run(cache: &Path) -> Result<()> {
    if !rustix::process::getuid().is_root() {
        bail!(CannotRunHere("only root can start a cluster: run the command as root".into()));
    }
    installed(TO_RUN, &[])?;
    if let Some(covered) = COVERED.iter().find(|covered| cache.starts_with(covered)) {
        bail!(CannotRunHere(format!(
            "the cache {} lies below {covered}, which a cluster hides: set OUTRIGGER_CACHE_DIR to another directory",
            cache.display()
        )));
    }
    Cgroups::here()?;
    has_kernel()?;
    has_room(cache, GIB, "a cluster")
}

/// Whether its binaries can be built here.
pub fn can_build(cache: &Path) -> Result<()> {
    crate::go::toolchain::check()?;
    installed(TO_BUILD, TO_LINK)?;
    let is_cold = !cache.join("go/build").exists();
    has_room(cache, if is_cold { 10 * GIB } else { 2 * GIB }, "building a cluster")
}

fn installed(programs: &[(&str, &str)], files: &[(&str, &str)]) -> Result<()> {
    let programs = programs.iter().filter(|(program, _)| find(program).is_none());
    let files = files.iter().filter(|(file, _)| !Path::new(file).exists());
    let mut packages: Vec<&str> = programs.chain(files).map(|(_, package)| *package).collect();
    packages.dedup();
    if !packages.is_empty() {
        let names = packages.join(" ");
        bail!(CannotRunHere(format!("a cluster needs {names}: apt-get install --no-install-recommends {names}")));
    }
    Ok(())
}

/// On the path, or where root's programs lie.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Tries what a cluster's network needs, in a network that ends with the trial.
fn has_kernel() -> Result<()> {
    let known = fs::read_to_string("/proc/filesystems").context("cannot read /proc/filesystems")?;
    if !known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        bail!(CannotRunHere("this kernel has no overlay file system loaded: modprobe overlay".into()));
    }
    let tries = [
        ("bridges", "bridge", "ip link add name one type bridge"),
        ("pairs of links", "veth", "ip link add name one type veth peer name two"),
        (
            "packet rules",
            "nf_tables, nft_compat or ip_tables",
            "iptables -t nat -A OUTPUT -m comment --comment a -j RETURN",
        ),
    ];
    for (what, module, command) in tries {
        let mut unshare = Command::new("unshare");
        // The lock that packet rules take lies in `/run`: not in the machine's.
        let own_run = format!("mount -t tmpfs tmpfs /run && {command}");
        unshare.args(["--net", "--mount", "--", "sh", "-c", &own_run]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = unshare.stdin(Stdio::null()).output().context("cannot start unshare")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            bail!(CannotRunHere(format!(
                "this kernel makes no {what} in a network of our own ({said}): modprobe {module}"
            )));
        }
    }
    Ok(())
}

fn has_room(cache: &Path, needed: u64, what: &str) -> Result<()> {
    let there = cache.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there).with_context(|| format!("cannot ask how full {} is", there.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed {
        let (free, needed) = (free / (1 << 20), needed / (1 << 20));
        bail!(CannotRunHere(format!(
            "{what} needs {needed} MiB in {}, which has {free} MiB left: make room, or set OUTRIGGER_CACHE_DIR",
            there.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package_once() {
        let failure =
            installed(&[("no-such-a", "thing"), ("no-such-b", "thing"), ("sh", "dash")], &[("/no/such", "other")]);
        let failure = failure.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "a cluster needs thing other: apt-get install --no-install-recommends thing other"
        );
        assert!(failure.is::<CannotRunHere>());
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_needed() {
        let failure = has_room(Path::new("/proc/self/no/such"), u64::MAX, "it").unwrap_err().to_string();
        assert!(failure.contains("MiB left: make room"), "{failure}");
    }
}
