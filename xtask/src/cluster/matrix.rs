//! `cargo xtask cluster matrix`: the end-to-end tests on an older and the newest Kubernetes.
//!
//! Takes as long as building a Kubernetes where one is not there, so it is no part of CI.

use anyhow::{Result, bail};

use super::{build, parts};
use crate::project::Project;
use crate::step::{self, Found};
use crate::test::{self, RealArgs};

/// Tells the end-to-end tests which Kubernetes their clusters run.
const VERSION: &str = "OUTRIGGER_TEST_KUBERNETES";

/// `cargo xtask cluster matrix`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// These versions instead of the oldest and the newest
    #[arg(long, value_name = "VERSION", value_parser = super::version)]
    kubernetes: Vec<String>,
    /// Which test on real parts
    #[arg(default_value = "devices")]
    test: String,
    /// Only those of its tests whose names hold this
    filter: Option<String>,
}

/// Runs the tests on each version, all of them also where one fails.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    let both = [parts::OLDEST.to_owned(), parts::KUBERNETES.to_owned()];
    let versions = if args.kubernetes.is_empty() { &both[..] } else { &args.kubernetes };
    let mut failed = Vec::new();
    for version in versions {
        let result = step::timed(&format!("{} on Kubernetes {version}", args.test), || {
            build::build(&project.cache, version, &parts::cluster(version))?;
            let wanted = RealArgs { test: args.test.clone(), filter: args.filter.clone() };
            test::run_real(project, &wanted, &[(VERSION, version)])
        });
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed.push(version.as_str());
        }
    }
    if !failed.is_empty() {
        bail!(Found(format!("{} failed on Kubernetes {}", args.test, failed.join(" and "))));
    }
    Ok(())
}
