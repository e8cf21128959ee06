//! What `cargo xtask` can do, and who does it.

use anyhow::Result;
use clap::Parser;

use crate::project::Project;
use crate::{check, ci, cluster, image, measure, setup, step, test, tidy, vm};

/// The only door to checking, testing and measuring this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Door {
    /// Format, lints, tidy and documentation, all with warnings denied
    Check,
    /// All tests that can run here; with CI=true a missing part is a failure
    Test(test::Args),
    /// One test on real parts, such as cluster
    E2e(test::RealArgs),
    /// Install the real parts that tests need (as root, on Debian)
    Setup,
    /// Budgets, module docs, dependency edges, bans, manifests
    Tidy(tidy::Args),
    /// Setup, check and test, with the time of each
    Ci,
    /// Figures beside those of the program that a user would pick instead
    Bench(measure::BenchArgs),
    /// The tests' loops at full length
    Soak(measure::SoakArgs),
    /// A container image with the executable, as an OCI layout and an archive, without a daemon
    Image(image::Args),
    /// A small virtual machine with cgroup v2, more CPUs, NUMA nodes
    #[command(subcommand)]
    Vm(vm::Args),
    /// A real Kubernetes cluster of one node, apart from the machine
    #[command(subcommand)]
    Cluster(cluster::Args),
}

/// Does what the command line asks for.
pub fn open() -> Result<()> {
    let door = Door::parse();
    // In a cluster there may be no cargo to ask for the project.
    if let Door::Cluster(cluster::Args::Inside(args)) = &door {
        return cluster::inside::run(args);
    }
    let project = Project::here()?;
    match door {
        Door::Check => check::run(&project),
        Door::Test(args) => test::run(&project, &args),
        Door::E2e(args) => test::run_real(&project, &args, &[]),
        Door::Setup => setup::run(&project),
        Door::Tidy(args) => tidy::run(&project, &args),
        Door::Ci => ci::run(&project),
        Door::Bench(args) => measure::bench(&project, &args),
        Door::Soak(args) => measure::soak(&project, &args),
        Door::Image(args) => image::run(&project, &args),
        Door::Vm(vm::Args::Run(args)) => step::end_like(vm::run(&project.cache, &args)?),
        Door::Cluster(args) => cluster::run(&project, &args),
    }
}
