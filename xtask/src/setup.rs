//! `cargo xtask setup`: installs the real parts that tests need. It says what it does, and is fast when all is there.
//!
//! Debian packages are installed on this machine; the sid root, the virtual machine's kernel and what is built with Go, a
//! whole Kubernetes, go to the cache beside the target directory. What it does not do: it starts no service, and it installs
//! no kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::step::{self, CannotRunHere};
use crate::{cluster, go, sid, vm};

/// Makes a part in the cache unless a fresh one is there, and answers what it did.
type Part = fn(&Path) -> Result<String>;

/// What goes to the cache.
const CACHED: &[(&str, Part)] = &[("virtual machine", vm::setup), ("sid root", sid::setup)];

/// Debian packages, each with the reason why it is here.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox-static", "the image of test pods, and the virtual machine's userland"),
    ("ca-certificates", "lets Go trust the module proxy, and the image's programs others"),
    ("catatonit", "the pause container of podman"),
    ("debootstrap", "makes the sid root"),
    ("gcc", "builds runc and the pause container of a cluster"),
    (GO, "builds a cluster, Helm, and the sample device plugin, a peer of benchmarks and tests"),
    ("iproute2", "makes the network of a cluster"),
    ("iptables", "a cluster's services"),
    ("libc6-dev", "builds runc and the pause container of a cluster"),
    ("libseccomp-dev", "builds runc"),
    ("openssl", "makes the certificates of a cluster"),
    ("pkg-config", "builds runc"),
    ("podman", "the peer of the benchmarks"),
    ("qemu-system-x86", "runs the virtual machine"),
    ("xfsprogs", "makes a file system that a disk is not given with"),
];

/// Any Go will do, also one that is no package.
const GO: &str = "golang-go";

/// Installs what is missing.
pub fn run(project: &Project) -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).filter(|name| !is_here(name)).collect();
    if missing.is_empty() {
        println!("Debian packages: all {} are here", PACKAGES.len());
    } else {
        for (name, reason) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
            println!("Debian package {name} is missing: {reason}");
        }
        install(&missing)?;
    }
    fs::create_dir_all(&project.cache)?;
    for (name, part) in CACHED {
        println!("{}", step::timed(name, || make(*part, &project.cache))?);
    }
    step::timed("cluster", || cluster::setup(&project.cache)).map(|done| println!("{done}"))
}

/// Makes a part; where that fails, once more with fresh package lists, since old ones name packages that are gone.
fn make(part: Part, cache: &Path) -> Result<String> {
    part(cache).or_else(|failure| {
        if !is_root()? {
            return Err(
                failure.context(CannotRunHere("only root can make this: run `cargo xtask setup` as root".into()))
            );
        }
        println!("{failure:#}\nonce more, with fresh package lists");
        update()?;
        part(cache)
    })
}

/// Whether a package is installed, or what it is for has come another way.
fn is_here(package: &str) -> bool {
    is_installed(package) || (package == GO && go::toolchain::installed().is_some())
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]).output();
    query.is_ok_and(|query| query.stdout == b"install ok installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !is_root()? {
        bail!(CannotRunHere(format!("only root can install {names}: run `cargo xtask setup` as root")));
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(CannotRunHere(format!("no apt-get here: install {names} as your system does")));
    }
    update()?;
    step::timed(&format!("apt-get install {names}"), || {
        let options = ["install", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"];
        step::command(apt_get(&options).args(packages))
    })
}

fn update() -> Result<()> {
    step::timed("apt-get update", || step::command(&mut apt_get(&["update"])))
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--quiet"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}
