//! `cargo xtask cluster build`: the programs of a cluster, and the tools beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{images, machine, parts, simulated};
use crate::go::{self, Module};

/// `cargo xtask cluster build`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The version of Kubernetes
    #[arg(long, value_name = "VERSION", default_value = parts::KUBERNETES, value_parser = super::version)]
    kubernetes: String,
    /// Without Helm, kubeconform and kwok
    #[arg(long)]
    no_tools: bool,
}

/// Builds what is missing.
pub fn run(cache: &Path, args: &Args) -> Result<()> {
    let mut modules = parts::cluster(&args.kubernetes);
    if !args.no_tools {
        modules.extend(parts::tools());
    }
    let built = build(cache, &args.kubernetes, &modules)?;
    println!("{}", if built { "all is built" } else { "all was built before" });
    Ok(())
}

/// Builds what is missing of these modules, and the pause image's process; whether anything was.
pub fn build(cache: &Path, kubernetes: &str, modules: &[Module]) -> Result<bool> {
    if is_built(cache, kubernetes, modules) {
        return Ok(false);
    }
    machine::can_build(cache)?;
    go::build(cache, modules)?;
    let pause = pause(cache, kubernetes);
    if !pause.exists() {
        let source = format!("go/mod/k8s.io/kubernetes@v{kubernetes}/build/pause/linux/pause.c");
        images::build_pause(&cache.join(source), &pause)?;
    }
    if modules.iter().any(|module| module.name == "kwok") {
        let kubectl = parts::kubernetes(kubernetes, &[]).directory(cache).join("kubectl");
        simulated::make_stages(cache, &kubectl)?;
    }
    Ok(true)
}

/// Whether all programs of these modules are there.
pub fn is_built(cache: &Path, kubernetes: &str, modules: &[Module]) -> bool {
    let has_stages = || simulated::stages(cache).exists() || modules.iter().all(|module| module.name != "kwok");
    pause(cache, kubernetes).exists() && has_stages() && modules.iter().all(|module| module.is_here(cache))
}

/// Links every program that is there into one directory, to be put on a path.
pub fn link(cache: &Path, kubernetes: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    for module in parts::cluster(kubernetes).iter().chain(&parts::tools()) {
        for (name, _) in &module.programs {
            if let Some(program) = module.program(cache, name) {
                link_one(&program, &into.join(name))?;
            }
        }
    }
    link_one(&pause(cache, kubernetes), &into.join("pause"))
}

fn link_one(program: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(program, link).with_context(|| format!("cannot make the link {}", link.display()))
}

fn pause(cache: &Path, kubernetes: &str) -> PathBuf {
    parts::kubernetes(kubernetes, &[]).directory(cache).join("pause")
}
