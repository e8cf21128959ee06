//! `cargo xtask setup`: installs the real parts that tests need. It says what it does, and is fast when all is there.
//!
//! Debian packages are installed on this machine; the sid root and the virtual machine's kernel go to the cache beside the
//! target directory. What it does not do: it starts no service, and it installs no kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::step::{self, CannotRunHere};
use crate::{sid, vm};

/// Debian packages, each with the reason why it is here.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox-static", "the image of test pods, and the virtual machine's userland"),
    ("debootstrap", "makes the sid root"),
    ("podman", "the peer of the benchmarks"),
    ("qemu-system-x86", "runs the virtual machine"),
];

/// Installs what is missing.
pub fn run(project: &Project) -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        println!("Debian packages: all {} are installed", PACKAGES.len());
    } else {
        for (name, reason) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
            println!("Debian package {name} is missing: {reason}");
        }
        install(&missing)?;
    }
    fs::create_dir_all(&project.cache)?;
    for (name, part) in
        [("virtual machine", vm::setup as fn(&std::path::Path) -> Result<String>), ("sid root", sid::setup)]
    {
        step::timed(name, || part(&project.cache).map(|said| println!("{said}")))?;
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]).output();
    query.is_ok_and(|query| query.stdout == b"install ok installed")
}

fn install(packages: &[&str]) -> Result<()> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        bail!(CannotRunHere(format!("only root can install {}: run `cargo xtask setup` as root", packages.join(", "))));
    }
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        bail!(CannotRunHere(format!("no apt-get here: install {} as your system does", packages.join(", "))));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "--quiet"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step::timed("apt-get update", || step::command(&mut apt(&["update"])))?;
    step::timed(&format!("apt-get install {}", packages.join(" ")), || {
        step::command(apt(&["install", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]).args(packages))
    })
}
