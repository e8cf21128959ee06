//! `cargo xtask bench` and `cargo xtask soak`: figures, and loops at full length.
//!
//! A benchmark is a program `bench-PRODUCT` of the package `outrigger-e2e`. It gets the path of the release executable.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Package, TargetKind};

use crate::project::Project;
use crate::step::{self, Found};
use crate::{cluster, parts, test};

/// Set to `1` where a test's loops should run at full length.
const SOAK: &str = "OUTRIGGER_SOAK";

/// Tells a test of two versions which the older is.
const OLDEST: &str = "OUTRIGGER_TEST_OLDEST";

/// How many cases each property of a core is tried with: four of a pod's life make 1,000,000 lives.
const SOAK_CASES: &str = "250000";

/// As [`SOAK_CASES`], of everything that is no core: its properties write files and start processes.
const SOAK_CASES_OUTSIDE: &str = "5000";

/// `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Which product, pods or devices, or devices on a cluster; or one benchmark of it, as in devices-restart
    product: String,
    /// Only this benchmark of the product
    name: Option<String>,
    /// With the quickly built profile instead of the release one
    #[arg(long)]
    thin: bool,
}

/// `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub struct SoakArgs {
    /// Which product, pods or devices; or cluster, the end-to-end tests on real ones
    product: String,
    /// Pods: for how many minutes runners are killed again and again
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only properties whose names hold this
    filter: Option<String>,
}

/// Builds the executable as users get it, and runs the product's benchmarks on it.
pub fn bench(project: &Project, args: &BenchArgs) -> Result<()> {
    let package = parts::end_to_end(project).context("this workspace has no package outrigger-e2e")?;
    let (product, name) = match args.product.split_once('-') {
        Some((product, name)) => (product, Some(name)),
        None => (args.product.as_str(), args.name.as_deref()),
    };
    let program = format!("bench-{product}");
    if !benches(package).contains(&program.as_str()) {
        let known = benches(package).join(", ");
        bail!(Found(format!("outrigger-e2e has no {program}, only {known}")));
    }
    let profile = if args.thin { "thin" } else { "release" };
    let executable = step::timed("build", || test::executable(project, profile))?;
    let mut run = project.cargo();
    run.args(["run", "--quiet", "--profile", profile, "--package", &package.name, "--bin", &program, "--"]);
    run.arg("--executable").arg(executable).args(name);
    // A peer that is not there is said by the benchmark.
    let parts = ["sample-device-plugin", "cluster"].into_iter().flat_map(parts::named);
    run.envs(parts.filter_map(|part| (part.present)(&project.cache)).flatten());
    step::timed(&program, || step::command(&mut run))
}

/// The loops of a product's tests at full length: its properties, rounds of kills, and what is large on real parts.
pub fn soak(project: &Project, args: &SoakArgs) -> Result<()> {
    if args.product == "cluster" {
        return soak_cluster(project, args.filter.as_deref());
    }
    let product = format!("outrigger-{}", args.product);
    let Some(package) = project.packages().iter().find(|package| package.name.as_str() == product) else {
        bail!(Found(format!("no product is named {}", args.product)));
    };
    let cores = project.root.join("cores");
    let (cores, others): (Vec<_>, Vec<_>) =
        of_product(project, package).into_iter().partition(|one| one.manifest_path.starts_with(&cores));
    for (packages, cases) in [(cores, SOAK_CASES), (others, SOAK_CASES_OUTSIDE)] {
        let names = packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>();
        step::timed(&format!("soak {}: {cases} cases of each property of {}", args.product, names.join(", ")), || {
            let which: Vec<String> = names.iter().flat_map(|name| ["--package", name]).map(str::to_owned).collect();
            step::command(soak_test(project, args.filter.as_deref(), &which).env("PROPTEST_CASES", cases))
        })?;
    }
    match (args.product.as_str(), &args.filter) {
        ("pods", None) => soak_pods(project, args),
        ("devices", None) => soak_devices(project),
        _ => Ok(()),
    }
}

/// The end-to-end tests at full length, and what is too much for CI: clusters of two versions at once.
fn soak_cluster(project: &Project, filter: Option<&str>) -> Result<()> {
    let tests = [("devices", filter), ("cluster", Some("side_by_side"))];
    let wanted = tests.into_iter().filter(|(test, _)| filter.is_none() || *test == "devices");
    for (test, filter) in wanted {
        let wanted = test::RealArgs { test: test.to_owned(), filter: filter.map(str::to_owned) };
        let told = [(SOAK, "1"), (OLDEST, cluster::parts::OLDEST)];
        step::timed(&format!("soak cluster: {test}"), || test::run_real(project, &wanted, &told))?;
    }
    Ok(())
}

/// What only devices have: the life of the node agent beside a kubelet, and the fight for disks, tests of the executable.
fn soak_devices(project: &Project) -> Result<()> {
    step::timed("soak devices: the node agent's life", || {
        let which = ["--package", "outrigger", "--test", "devices_life", "--test", "devices_fight"].map(str::to_owned);
        step::command(soak_test(project, None, &which).arg("--nocapture"))
    })
}

/// What only pods have: runners that are killed, and a thousand containers.
fn soak_pods(project: &Project, args: &SoakArgs) -> Result<()> {
    let executable = step::timed("build", || test::executable(project, "thin"))?;
    step::timed("soak pods: 1,000 containers", || {
        let which = ["--package", "outrigger-e2e", "--test", "host"].map(str::to_owned);
        let mut run = soak_test(project, None, &which);
        step::command(run.args(["many::", "--nocapture"]).env("OUTRIGGER_BIN", &executable))
    })?;
    let (begin, limit) = (Instant::now(), Duration::from_secs(60 * args.minutes));
    let mut rounds = 0;
    step::timed("soak pods: kill -9", || {
        while begin.elapsed() < limit {
            let which = ["--package", "outrigger", "--test", "crash"].map(str::to_owned);
            step::command(soak_test(project, None, &which).arg("--nocapture"))?;
            rounds += 1;
        }
        Ok(())
    })?;
    println!("soak pods: {rounds} rounds of kills in {} minutes, each at every step of a life", args.minutes);
    Ok(())
}

/// `cargo test` of these targets with the loops at full length; what is added to it goes to the tests.
fn soak_test(project: &Project, filter: Option<&str>, which: &[String]) -> Command {
    let mut run = project.cargo();
    run.args(["test", "--profile", "thin"]).args(which).arg("--").args(filter).env(SOAK, "1");
    run
}

/// The product, and what it stands on.
fn of_product<'a>(project: &'a Project, product: &'a Package) -> Vec<&'a Package> {
    let own = |name: &str| product.dependencies.iter().any(|one| one.path.is_some() && one.name == name);
    project.packages().iter().filter(|one| one.id == product.id || own(&one.name)).collect()
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
