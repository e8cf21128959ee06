//! `cargo xtask bench` and `cargo xtask soak`: figures, and loops at full length.
//!
//! A benchmark is a program `bench-PRODUCT` of the package `outrigger-e2e`. It gets the path of the release executable.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Package, TargetKind};

use crate::project::Project;
use crate::step::{self, Found};
use crate::{parts, test};

/// Set to `1` where a test's loops should run at full length.
const SOAK: &str = "OUTRIGGER_SOAK";

/// How many cases a property is tried with that names no number itself.
const SOAK_CASES: &str = "100000";

/// `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Which product: pods
    product: String,
    /// Only this benchmark of it
    name: Option<String>,
    /// With the quickly built profile instead of the release one
    #[arg(long)]
    thin: bool,
}

/// `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub struct SoakArgs {
    /// Which product: pods
    product: String,
    /// Only tests whose names hold this
    filter: Option<String>,
}

/// Builds the executable as users get it, and runs the product's benchmarks on it.
pub fn bench(project: &Project, args: &BenchArgs) -> Result<()> {
    let package = parts::end_to_end(project).context("this workspace has no package outrigger-e2e")?;
    let program = format!("bench-{}", args.product);
    if !benches(package).contains(&program.as_str()) {
        let known = benches(package).join(", ");
        bail!(Found(format!("outrigger-e2e has no {program}, only {known}")));
    }
    let profile = if args.thin { "thin" } else { "release" };
    let executable = step::timed("build", || test::executable(project, profile))?;
    let mut run = project.cargo();
    run.args(["run", "--quiet", "--profile", profile, "--package", &package.name, "--bin", &program, "--"]);
    run.arg("--executable").arg(executable).args(&args.name);
    step::timed(&program, || step::command(&mut run))
}

/// Runs the tests of a product, and of what it stands on, with their loops at full length.
pub fn soak(project: &Project, args: &SoakArgs) -> Result<()> {
    let product = format!("outrigger-{}", args.product);
    let Some(package) = project.packages().iter().find(|package| package.name.as_str() == product) else {
        bail!(Found(format!("no product is named {}", args.product)));
    };
    let mut run = soak_command(project, package);
    run.env(SOAK, "1").env("PROPTEST_CASES", SOAK_CASES).args(&args.filter);
    step::timed(&format!("soak {}", args.product), || step::command(&mut run))
}

fn soak_command(project: &Project, product: &Package) -> Command {
    let mut run = project.cargo();
    run.args(["test", "--profile", "thin", "--package", &product.name]);
    for dependency in product.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        run.args(["--package", &dependency.name]);
    }
    run.arg("--");
    run
}

/// The names of the programs that measure.
fn benches(package: &Package) -> Vec<&str> {
    let programs = package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Bin));
    programs.map(|target| target.name.as_str()).filter(|name| name.starts_with("bench-")).collect()
}

/// Where a tool of the peer lies: `NAME_BIN`, else what is in the path.
pub fn peer(name: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os(format!("{}_BIN", name.to_uppercase())) {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}
