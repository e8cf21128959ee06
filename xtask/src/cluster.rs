//! `cargo xtask cluster`: a real Kubernetes cluster of one node, for tests and for trying things, without a registry of images.
//!
//! Its programs are built from Go modules into the cache. A cluster has namespaces of its own for network, mounts, processes,
//! host name, IPC and cgroups, so several run side by side, and none of them touches the machine: not its `/var/lib`, `/run`,
//! packet rules, routes, links or cgroups. When its first process ends, everything is gone with it. The one way in is a port of
//! loopback that leads to its API server. What it does not do: reach anything beyond itself, or outlive the machine.

mod build;
mod certificates;
mod components;
mod config;
mod control;
mod covers;
mod down;
mod enter;
mod group;
mod images;
pub mod inside;
mod machine;
mod matrix;
mod network;
pub mod parts;
mod place;
mod simulated;
mod status;
mod supervise;
mod up;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::project::Project;
use place::Place;

/// The node's name.
const NODE: &str = "node-1";

/// `cargo xtask cluster`.
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Build its programs and the tools beside it (15 minutes with empty caches)
    Build(build::Args),
    /// Start a cluster and wait until its node is ready; one that runs is left as it is
    Up(Options),
    /// Name its components, their memory, and one that ended
    Status(Named),
    /// End it; nothing of it is left
    Down(Named),
    /// End a component and start it again
    Restart(control::Args),
    /// Run a command inside, else a shell
    Shell(enter::ShellArgs),
    /// Import an image (docker-archive or OCI layout in a tar file) and pin it
    Load(enter::LoadArgs),
    /// The end-to-end tests on an older and the newest Kubernetes
    Matrix(matrix::Args),
    /// Stages of its start
    #[command(hide = true)]
    Inside(inside::Args),
}

/// Which cluster.
#[derive(clap::Args, Debug)]
pub struct Named {
    /// The cluster's name
    #[arg(long, default_value = "main", value_parser = name)]
    name: String,
}

/// `cargo xtask cluster up`.
#[derive(clap::Args, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The cluster's name
    #[arg(long, default_value = "main", value_parser = name)]
    name: String,
    /// The version of Kubernetes
    #[arg(long, value_name = "VERSION", default_value = parts::KUBERNETES, value_parser = version)]
    kubernetes: String,
    /// Only etcd and kube-apiserver
    #[arg(long)]
    api_only: bool,
    /// How many simulated nodes stand beside the real one
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "api_only")]
    nodes: u32,
    /// A further argument of the kubelet, such as --v=4
    #[arg(long = "kubelet-arg", value_name = "ARG", allow_hyphen_values = true)]
    kubelet_args: Vec<String>,
    /// Feature gates of all components
    #[arg(long = "feature-gate", value_name = "NAME=BOOL", value_delimiter = ',')]
    feature_gates: Vec<String>,
    /// The kubelet's CPU manager; static keeps half a CPU for itself
    #[arg(long, value_enum, default_value_t)]
    policy: Policy,
    /// Whether containerd offers NRI
    #[arg(long, value_enum, default_value_t)]
    nri: Switch,
    /// The port of 127.0.0.1 that leads to the API server; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A process of this machine: the cluster ends when it does
    #[arg(long, value_name = "PID")]
    owner: Option<i32>,
}

/// What the kubelet's CPU manager does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Policy {
    /// Nothing
    #[default]
    None,
    /// Whole CPUs for guaranteed pods
    Static,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Switch {
    #[default]
    On,
    Off,
}

impl Options {
    fn has_nri(&self) -> bool {
        self.nri == Switch::On
    }
}

/// Runs a command.
pub fn run(project: &Project, args: &Args) -> Result<()> {
    let place = |name: &str| Place { cache: project.cache.clone(), name: name.to_owned() };
    match args {
        Args::Build(args) => build::run(&project.cache, args),
        Args::Up(options) => up::run(&place(&options.name), options),
        Args::Status(named) => status::run(&place(&named.name)),
        Args::Down(named) => down::run(&place(&named.name)),
        Args::Restart(args) => control::restart(&place(args.name()), args),
        Args::Shell(args) => enter::shell(&place(args.name()), args),
        Args::Load(args) => enter::load(&place(args.name()), args),
        Args::Matrix(args) => matrix::run(project, args),
        Args::Inside(args) => inside::run(args),
    }
}

/// Builds a cluster, the tools beside it, and the sample device plugin: all that tests use.
pub fn setup(cache: &Path) -> Result<String> {
    let mut modules = parts::cluster(parts::KUBERNETES);
    modules.extend(parts::tools());
    modules.push(parts::sample_device_plugin());
    let is_new = build::build(cache, parts::KUBERNETES, &modules)?;
    Ok(format!("cluster: {} Kubernetes {}", if is_new { "built" } else { "has" }, parts::KUBERNETES))
}

/// Whether all programs of a cluster are in the cache, with those that tests use besides.
pub fn is_built(cache: &Path) -> bool {
    let mut modules = parts::cluster(parts::KUBERNETES);
    modules.push(parts::kwok());
    build::is_built(cache, parts::KUBERNETES, &modules)
}

/// Held while a cluster is started or ended, so that only one command does so.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("cluster/lock");
    std::fs::create_dir_all(cache.join("cluster")).with_context(|| format!("cannot make {}", path.display()))?;
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// A name that may stand in paths of sockets and groups.
fn name(text: &str) -> Result<String, String> {
    let is_good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if text.is_empty() || 30 < text.len() || !text.chars().all(is_good) {
        return Err("a name has 1 to 30 letters a-z, digits and dashes".into());
    }
    Ok(text.to_owned())
}

/// `1.36.3`, or `1.36` for its newest patch that can be built.
fn version(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches('v');
    let numbers: Vec<Option<u32>> = text.split('.').map(|number| number.parse().ok()).collect();
    let mut known = std::iter::once(&parts::KUBERNETES).chain(parts::OLDER);
    let newest = known.find(|known| known.rsplit_once('.').is_some_and(|(minor, _)| minor == text));
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(text.to_owned()),
        [Some(1), Some(_)] => newest
            .map(|known| (*known).to_owned())
            .ok_or_else(|| format!("no newest patch of {text} is known here: name one, like {}", parts::KUBERNETES)),
        _ => Err(format!("a version of Kubernetes is written like {}", parts::KUBERNETES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Up {
        #[command(flatten)]
        options: Options,
    }

    /// The options that these words mean.
    pub(super) fn options(words: &[&str]) -> Options {
        Up::try_parse_from(std::iter::once(&"up").chain(words)).unwrap().options
    }

    #[test]
    fn options_are_read_back_as_they_were_given() {
        let given = options(&["--kubelet-arg", "--v=4", "--nri", "off", "--policy", "static", "--name", "a-1"]);
        let text = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), given);
        assert_eq!(given.kubelet_args, ["--v=4"]);
        assert!(!given.has_nri());
    }

    #[test]
    fn names_and_versions_that_would_do_harm_are_refused() {
        for wrong in ["", "../a", "A", "a b", "a/b"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(version("v1.34.2").unwrap(), "1.34.2");
        assert_eq!(version("1.34").unwrap(), parts::OLDER[1]);
        assert_eq!(version("1.36").unwrap(), parts::KUBERNETES);
        for wrong in ["1.2", "2.0.0", "1.36.x", "latest"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}
