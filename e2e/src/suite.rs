//! Tests that share one cluster: one after another, each in a namespace of its own, told as `cargo test` tells its tests.
//!
//! A test fails with what an engineer would ask for: pods, events, the kubelet's lines, the containers' last words, and
//! the log of a component or a node agent that ended meanwhile. What it does not do: it runs no two tests at once.
#![allow(clippy::print_stdout, reason = "it tells how the tests went")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::cluster::namespace::Namespace;

/// One test, on a site `S`: what all tests stand on beside the cluster.
#[derive(Debug)]
pub struct Test<S> {
    /// A sentence about behavior, as the name of a function.
    pub name: &'static str,
    /// What it does; everything in the namespace goes with it.
    pub run: fn(&Namespace, &S) -> Result<()>,
}

/// Makes a [`Test`] of each function.
#[macro_export]
macro_rules! tests {
    ($($path:path),+ $(,)?) => {
        &[$($crate::suite::Test { name: stringify!($path), run: $path }),+]
    };
}

/// What the command line asks for: `[NAME] [--skip NAME]… [--list]`; what else the test harness of Rust knows is passed over.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    filter: Option<String>,
    skipped: Vec<String>,
    lists: bool,
}

impl Wanted {
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => wanted.lists = true,
                "--skip" => wanted.skipped.extend(words.next()),
                _ if word.starts_with("--") => {}
                _ => wanted.filter = Some(word),
            }
        }
        wanted
    }

    fn has(&self, name: &str) -> bool {
        let is_named = |part: &String| name.contains(part.as_str());
        self.filter.as_ref().is_none_or(is_named) && !self.skipped.iter().any(is_named)
    }
}

/// Whether the tests' loops run at full length.
pub fn is_soak() -> bool {
    std::env::var_os("OUTRIGGER_SOAK").is_some()
}

/// So many rounds in a soak, and so many on CI.
pub fn rounds(soak: u32, ci: u32) -> u32 {
    if is_soak() { soak } else { ci }
}

/// Runs the tests that the command line names, in a cluster that `prepare` starts and fills.
pub fn run<S>(tests: &[Test<S>], prepare: impl FnOnce() -> Result<(Cluster, S)>) -> ExitCode {
    let wanted = Wanted::parse(std::env::args().skip(1));
    let chosen: Vec<&Test<S>> = tests.iter().filter(|test| wanted.has(test.name)).collect();
    if wanted.lists {
        for test in chosen {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests in one cluster", chosen.len());
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    match all(&chosen, prepare) {
        Ok(failed) => {
            let how = if failed.is_empty() { "ok" } else { "FAILED" };
            let (passed, seconds) = (chosen.len() - failed.len(), begin.elapsed().as_secs_f64());
            println!("\ntest result: {how}. {passed} passed; {} failed; finished in {seconds:.1} s", failed.len());
            ExitCode::from(u8::from(!failed.is_empty()))
        }
        Err(error) => {
            println!("\ntest result: FAILED. the cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The names of those that failed.
fn all<S>(tests: &[&Test<S>], prepare: impl FnOnce() -> Result<(Cluster, S)>) -> Result<Vec<&'static str>> {
    let begin = Instant::now();
    let (cluster, site) = prepare()?;
    println!("the cluster is ready after {:.1} s", begin.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for test in tests {
        let begin = Instant::now();
        let result = one(&cluster, &site, test);
        let took = told(begin.elapsed());
        match &result {
            Ok(()) => println!("test {} ... ok ({took})", test.name),
            Err(error) => println!("test {} ... FAILED ({took})\n{error:#}\n", test.name),
        }
        if result.is_err() {
            failed.push(test.name);
        }
        if let Err(crash) = cluster.is_whole() {
            println!("no further test can run: {crash:#}");
            failed.extend(tests.iter().skip_while(|other| other.name != test.name).skip(1).map(|other| other.name));
            break;
        }
    }
    println!("{}", cluster.memory());
    cluster.down()?;
    drop(site);
    Ok(failed)
}

fn one<S>(cluster: &Cluster, site: &S, test: &Test<S>) -> Result<()> {
    let short = test.name.rsplit("::").next().unwrap_or(test.name).replace('_', "-");
    // A namespace's name has at most 63 letters.
    let namespace = Namespace::make(cluster, short.get(..63).unwrap_or(&short).trim_end_matches('-'))?;
    let result = (test.run)(&namespace, site).and_then(|()| cluster.is_whole()).and_then(|()| cluster.has_no_crash());
    let result = result.map_err(|error| anyhow::anyhow!("{error:#}\n\n{}", namespace.explain()));
    match (result, namespace.clear()) {
        (Err(error), _) => Err(error),
        (Ok(()), Err(error)) => bail!("its namespace could not be cleared: {error:#}"),
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn told(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_chosen_by_a_part_of_their_names() {
        let wanted = Wanted::parse(["--nocapture", "share", "--skip", "broken"].map(str::to_owned).into_iter());
        assert!(wanted.has("sharing::two_pods_never_share") && !wanted.has("a_broken_agent_shares"));
        assert!(!wanted.has("restart::of_the_kubelet"));
        assert!(Wanted::parse(std::iter::empty()).has("any"));
    }
}
