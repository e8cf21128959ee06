//! A root of Debian sid with the real parts that Debian 12 lacks: Apptainer, Slurm with munge.
//!
//! It lies in the cache beside the target directory as `sid-KEY/root`, with the script `sid-KEY/enter` that runs a command
//! inside. The key is that of the package list, and a root older than 14 days is made anew, so that the tests meet the
//! versions that people install today. What it does not do: it starts nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

/// What the root holds beyond Debian's minimal base.
const PACKAGES: &[&str] =
    &["apptainer", "busybox-static", "ca-certificates", "munge", "slurm-wlm", "squashfs-tools", "util-linux"];

/// How old a root may be.
const FRESH: Duration = Duration::from_secs(14 * 24 * 3600);

/// The ordinary user inside (`tester`).
pub const TESTER: u32 = 1000;

/// Where the root lies for this package list.
pub fn directory(cache: &Path) -> PathBuf {
    cache.join(format!("sid-{}", crate::cache::key(PACKAGES)))
}

/// The script that enters the root; `None` where [`setup`] has not run.
pub fn enter(cache: &Path) -> Option<PathBuf> {
    let script = directory(cache).join("enter");
    script.exists().then_some(script)
}

/// Makes the root unless a fresh one is there. Needs root rights, `debootstrap` and a Debian mirror in apt's sources.
pub fn setup(cache: &Path) -> Result<String> {
    let directory = directory(cache);
    let script = directory.join("enter");
    if crate::cache::is_fresh(&script, FRESH, SystemTime::now()) {
        return Ok(format!("sid root: {} is fresh", directory.display()));
    }
    let partial = cache.join("sid-partial");
    for old in crate::cache::entries(cache, "sid-")? {
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove the old root {}", old.display()))?;
    }
    let root = partial.join("root");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let mirror = mirror()?;
    run(Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), "sid"])
        .arg(&root)
        .arg(&mirror))?;
    // Without CAP_SYS_RESOURCE root cannot raise what Apptainer asks for by default.
    let conf = root.join("etc/apptainer/apptainer.conf");
    let text = fs::read_to_string(&conf).with_context(|| format!("cannot read {}", conf.display()))?;
    fs::write(&conf, text.replace("root default capabilities = full", "root default capabilities = no"))?;
    run(Command::new("chroot").arg(&root).args(["useradd", "--create-home", "--uid", &TESTER.to_string(), "tester"]))?;
    let enter = partial.join("enter");
    fs::write(&enter, include_str!("sid-enter.sh"))?;
    crate::cache::make_executable(&enter)?;
    fs::rename(&partial, &directory)?;
    Ok(format!("sid root: made {}", directory.display()))
}

/// The Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"])
        .output()
        .context("cannot ask apt for its mirror")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find(|line| !line.contains("security")) {
        Some(uri) => Ok(uri.trim().to_owned()),
        None => bail!("apt knows no Debian mirror: add one to its sources and run `apt-get update`"),
    }
}

fn run(command: &mut Command) -> Result<()> {
    crate::cache::run_quietly(command)
}
