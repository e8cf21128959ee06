//! `cargo xtask test`: every test that can run here, and `cargo xtask e2e`: one on real parts. Neither installs anything.
//!
//! First the workspace's own tests and the examples of its documentation, then those of `e2e` on real parts. One that
//! needs a missing part is left out by name, and with CI=true it is a failure. One that needs another kernel runs in the
//! virtual machine, where that is set up.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cargo_metadata::Package;
use clap::Parser;

use crate::parts::{self, Environment, Part, RealTest, Source};
use crate::project::{self, Project};
use crate::step::{self, Found};
use crate::{image, leftovers, tidy, vm};

/// Tests of the workspace that run once more in the virtual machine, since what they prove is the kernel's: cgroup v2.
/// With the tests of each that are left out there.
const ALSO_IN_MACHINE: &[(&str, &[&str])] =
    &[("outrigger-host-launcher:host", &["all_of_this_holds_for_an_ordinary_user"])];

/// A test that hangs must not take CI's whole time: these are several times what a build with cold caches takes.
const WORKSPACE_LIMIT: Duration = Duration::from_secs(40 * 60);
const REAL_PART_LIMIT: Duration = Duration::from_secs(10 * 60);

/// `cargo xtask test`.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Only tests whose names hold this
    filter: Option<String>,
}

/// `cargo xtask e2e`.
#[derive(clap::Args, Debug)]
pub struct RealArgs {
    /// Which test on real parts: a file or folder of e2e/tests, such as cluster
    pub test: String,
    /// Only those of its tests whose names hold this
    pub filter: Option<String>,
}

/// Where a test on real parts can run.
#[derive(Debug)]
enum Place {
    Here(Environment),
    VirtualMachine,
    Nowhere { missing: Vec<Part> },
}

/// A test that was left out, and the parts it misses.
#[derive(Debug)]
struct LeftOut {
    test: String,
    missing: Vec<Part>,
}

/// Runs the tests, and tells which were left out.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    let (mut failed, before) = (Vec::new(), leftovers::groups());
    step::timed("tests of the workspace", || {
        let mut cargo = project.cargo_within(WORKSPACE_LIMIT);
        cargo.args(["test", "--workspace", "--exclude", "outrigger-e2e", "--no-fail-fast"]);
        note(&mut failed, step::command(cargo.args(&args.filter)))
    })?;
    let mut left_out = Vec::new();
    if let Some(package) = parts::end_to_end(project) {
        let (executable, image) = build(project, &mut failed)?;
        step::timed("tests on real parts", || {
            let mut cargo = project.cargo();
            cargo.args(["test", "--package", &package.name, "--lib", "--bins"]);
            note(&mut failed, step::command(cargo.args(&args.filter)))?;
            let here = RealParts { project, package, executable, image, args, told: &[] };
            for test in parts::real_tests(package)? {
                match here.run(&test) {
                    Ok(outcome) => left_out.extend(outcome),
                    Err(failure) => note(&mut failed, Err(failure))?,
                }
            }
            for (test, skipped) in ALSO_IN_MACHINE {
                match here.once_more(test, skipped) {
                    Ok(outcome) => left_out.extend(outcome),
                    Err(failure) => note(&mut failed, Err(failure))?,
                }
            }
            Ok(())
        })?;
    }
    // Elsewhere somebody else's pods may run beside.
    if project::is_ci() {
        let left: Vec<_> = leftovers::groups().difference(&before).map(|group| group.display().to_string()).collect();
        if !left.is_empty() {
            failed.push(format!("the tests left these cgroups: {}", left.join(", ")));
        }
    }
    end(&left_out, failed)
}

/// Runs one test on real parts, where it can run here. What it is told besides, a longer run, is a matter of no time limit.
pub fn run_real(project: &Project, args: &RealArgs, told: &[(&str, &str)]) -> Result<()> {
    let package = parts::end_to_end(project).context("this workspace has no package outrigger-e2e")?;
    let tests = parts::real_tests(package)?;
    let Some(test) = tests.iter().find(|test| test.name == args.test) else {
        let known: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        bail!(Found(format!("e2e/tests has no {}, only {}", args.test, known.join(", "))));
    };
    let mut failed = Vec::new();
    let (executable, image) = build(project, &mut failed)?;
    let args = Args { filter: args.filter.clone() };
    let left_out = RealParts { project, package, executable, image, args: &args, told }.run(test)?;
    end(left_out.as_slice(), failed)
}

/// The executable, and the image with it.
fn build(project: &Project, failed: &mut Vec<String>) -> Result<(PathBuf, PathBuf)> {
    step::timed("the executable, and the image with it", || {
        let executable = executable(project, "thin")?;
        note(failed, tidy::symbols::check(&executable))?;
        let image = image::of(project, &executable)?;
        Ok((executable, image))
    })
}

/// Tells what was left out and what failed.
fn end(left_out: &[LeftOut], mut failed: Vec<String>) -> Result<()> {
    tell(left_out, &mut failed);
    if !failed.is_empty() {
        bail!(Found(format!("{} of the tests' steps failed:\n  {}", failed.len(), failed.join("\n  "))));
    }
    Ok(())
}

/// Notes what a step found, and goes on: the next may find more.
fn note(failed: &mut Vec<String>, result: Result<()>) -> Result<()> {
    match result {
        Err(failure) if failure.is::<Found>() => {
            eprintln!("error: {failure:#}");
            failed.push(failure.to_string());
            Ok(())
        }
        other => other,
    }
}

/// Builds the executable, static as users get it, and answers its path.
pub fn executable(project: &Project, profile: &str) -> Result<PathBuf> {
    let mut cargo = project.cargo();
    cargo.args(["build", "--profile", profile, "--package", "outrigger", "--bin", "outrigger"]);
    let said =
        step::output(cargo.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit()))?;
    let artifacts = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let path = artifacts.filter_map(|artifact| Some(PathBuf::from(artifact["executable"].as_str()?))).next_back();
    path.context("cargo built no executable `outrigger`")
}

/// What every test on real parts is run with.
struct RealParts<'p> {
    project: &'p Project,
    package: &'p Package,
    executable: PathBuf,
    image: PathBuf,
    args: &'p Args,
    told: &'p [(&'p str, &'p str)],
}

impl RealParts<'_> {
    fn run(&self, test: &RealTest) -> Result<Option<LeftOut>> {
        match self.place(test) {
            Place::Here(environment) => {
                let is_short = self.told.is_empty();
                let mut cargo =
                    if is_short { self.project.cargo_within(REAL_PART_LIMIT) } else { self.project.cargo() };
                cargo.envs(self.told.iter().copied());
                cargo.args(["test", "--package", &self.package.name, "--test", &test.name]).args(&self.args.filter);
                cargo.envs(environment).env("OUTRIGGER_BIN", &self.executable).env("OUTRIGGER_IMAGE", &self.image);
                step::timed(&test.name, || step::command(&mut cargo))?;
                Ok(None)
            }
            Place::VirtualMachine => {
                self.in_machine(&format!("{}:{}", self.package.name, test.name), &[])?;
                Ok(None)
            }
            Place::Nowhere { missing } => Ok(Some(LeftOut { test: test.name.clone(), missing })),
        }
    }

    fn place(&self, test: &RealTest) -> Place {
        let mut environment = Vec::new();
        let mut missing = Vec::new();
        for part in &test.needs {
            match (part.present)(&self.project.cache) {
                Some(told) => environment.extend(told),
                None => missing.push(*part),
            }
        }
        if missing.is_empty() {
            return Place::Here(environment);
        }
        let only_kernel = missing.iter().all(|part| part.from == Source::Kernel);
        if only_kernel && vm::is_ready(&self.project.cache) {
            return Place::VirtualMachine;
        }
        // The machine would bring the kernel, so its absence is as much a fault as that of any other part.
        Place::Nowhere { missing }
    }

    /// Runs a test of the workspace, which has run here, in the machine too, where that has what this kernel lacks.
    fn once_more(&self, test: &str, skipped: &[&str]) -> Result<Option<LeftOut>> {
        let kernel = RealTest { name: test.to_owned(), needs: parts::named("cgroup-v2").collect() };
        match self.place(&kernel) {
            Place::Here(_) => Ok(None),
            Place::VirtualMachine => self.in_machine(test, skipped).map(|()| None),
            Place::Nowhere { missing } => Ok(Some(LeftOut { test: test.to_owned(), missing })),
        }
    }

    /// Runs one test in the machine, with the executable inside.
    fn in_machine(&self, name: &str, skipped: &[&str]) -> Result<()> {
        #[derive(Parser)]
        struct Machine {
            #[command(flatten)]
            run: vm::RunArgs,
        }
        println!("{name} needs another kernel: it runs in the virtual machine");
        for test in skipped {
            println!("  without {test}, which takes long there");
        }
        let machine = Machine::try_parse_from(["vm", "--cpus", "2", name])?;
        let environment = vec![format!("OUTRIGGER_BIN={}", self.executable.display())];
        let mut args: Vec<String> = self.args.filter.iter().cloned().collect();
        args.extend(skipped.iter().flat_map(|test| ["--skip".to_owned(), (*test).to_owned()]));
        let args = vm::RunArgs { with: vec![self.executable.clone()], environment, args, ..machine.run };
        match step::timed(name, || vm::run(&self.project.cache, &args))? {
            0 => Ok(()),
            code => bail!(Found(format!("{name} failed in the virtual machine with exit code {code}"))),
        }
    }
}

/// Tells what was left out; with CI=true that is a failure.
fn tell(left_out: &[LeftOut], failed: &mut Vec<String>) {
    if left_out.is_empty() {
        return;
    }
    println!("{} test files were left out:", left_out.len());
    for LeftOut { test, missing } in left_out {
        println!("  {test} needs {}", missing.iter().map(|part| part.name).collect::<Vec<_>>().join(", "));
    }
    println!("`cargo xtask setup` (as root) brings what they need");
    if project::is_ci() {
        failed.push("with CI=true no part may be missing: `setup` brings them".to_owned());
    }
}
