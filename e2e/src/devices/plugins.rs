//! The device plugins that are measured: ours, and those it is picked over. What is said where one is not there, cannot do
//! the work, or does not come up.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::sample::Sample;

/// Resources, and how many devices each has.
pub type Served = Vec<(String, usize)>;

/// The programs that are measured.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Ours.
    pub outrigger: PathBuf,
    /// Kubernetes' sample device plugin.
    pub sample: Option<PathBuf>,
    /// The generic-device-plugin.
    pub gdp: Option<PathBuf>,
}

/// One of them, as it is to run.
#[derive(Clone, Debug)]
pub enum Plugin {
    /// Ours, with this configuration.
    Outrigger(PathBuf, String),
    /// The sample: one resource of two devices, whatever is asked.
    Sample(PathBuf),
    /// The generic one, with these devices.
    Gdp(PathBuf, Vec<String>),
}

impl Plugins {
    /// Ours, and what `SAMPLE_DEVICE_PLUGIN_BIN` and `GDP_BIN` name.
    pub fn find(outrigger: PathBuf) -> Self {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
        Self { outrigger, sample: named("SAMPLE_DEVICE_PLUGIN_BIN"), gdp: named("GDP_BIN") }
    }

    /// Ours, with this configuration.
    pub fn ours(&self, configuration: &str) -> Plugin {
        Plugin::Outrigger(self.outrigger.clone(), configuration.to_owned())
    }

    /// Ours, with `resources` resources of one node that `count` containers may hold each.
    pub fn ours_with(&self, resources: usize, count: usize) -> (Plugin, Served) {
        let resource = |number| format!("- name: r{number}\n  {}\n", shared(count));
        let text = format!("domain: example.com\ndevices:\n{}", (0..resources).map(resource).collect::<String>());
        (self.ours(&text), (0..resources).map(|number| (format!("example.com/r{number}"), count)).collect())
    }

    /// The sample, with what it serves.
    pub fn sample(&self) -> Option<(Plugin, Served)> {
        let plugin = Plugin::Sample(self.sample.clone()?);
        Some((plugin, vec![("example.com/resource".to_owned(), 2)]))
    }

    /// The generic one, with what ours has in [`Plugins::ours_with`].
    pub fn generic(&self, resources: usize, count: usize) -> Option<(Plugin, Served)> {
        let device = |number| format!("{{name: r{number}, {}}}", shared(count));
        let plugin = Plugin::Gdp(self.gdp.clone()?, (0..resources).map(device).collect());
        Some((plugin, (0..resources).map(|number| (format!("squat.ai/r{number}"), count)).collect()))
    }

    /// What is said of the sample where there is none.
    pub fn no_sample(&self, name: &str) -> String {
        if self.sample.is_some() {
            return String::new();
        }
        format!("{name} sample plugin: not present (`cargo xtask setup` builds it)\n")
    }

    /// What is said of the generic one where there is none: a figure of another day, from another machine.
    pub fn no_generic(&self, name: &str, recorded: &str) -> String {
        if self.gdp.is_some() {
            return String::new();
        }
        format!(
            "{name} generic-device-plugin: not present (GDP_BIN); recorded elsewhere, not in this run: {recorded}\n"
        )
    }
}

fn shared(count: usize) -> String {
    format!("groups: [{{count: {count}, paths: [{{path: /dev/null}}]}}]")
}

impl Plugin {
    /// For a line of figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Outrigger(..) => "outrigger",
            Self::Sample(_) => "sample plugin",
            Self::Gdp(..) => "generic-device-plugin",
        }
    }

    /// The program and its arguments, at this node.
    pub(super) fn command(&self, node: &Path) -> Result<(PathBuf, Vec<OsString>)> {
        let sockets = node.join("device-plugins");
        let mut arguments: Vec<OsString> = Vec::new();
        let program = match self {
            Self::Outrigger(program, configuration) => {
                let file = node.join("devices.yaml");
                fs::write(&file, configuration)?;
                arguments.extend(["devices", "agent", "--admin", "127.0.0.1:0"].map(OsString::from));
                for (flag, path) in [
                    ("--config", file),
                    ("--plugin-directory", sockets),
                    ("--kubelet-directory", node.to_owned()),
                    ("--lock-directory", node.join("locks")),
                ] {
                    arguments.extend([flag.into(), path.into()]);
                }
                program
            }
            Self::Sample(program) => program,
            Self::Gdp(program, devices) => {
                arguments.extend(["--plugin-directory".into(), sockets.into()]);
                arguments.extend(["--listen", "127.0.0.1:0"].map(OsString::from));
                arguments.extend(devices.iter().flat_map(|device| ["--device".into(), device.into()]));
                program
            }
        };
        Ok((program.clone(), arguments))
    }
}

/// A peer's figures after the benchmark's name, and how many times as fast ours are; one that does not come up here is said to, and ends nothing.
pub fn compared(name: &str, ours: &Sample, peer: &Plugin, theirs: Result<Sample>) -> String {
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(error) => return not_measured(name, peer, &error),
    };
    let median = theirs.median().as_secs_f64() / ours.median().as_secs_f64();
    let p99 = theirs.p99().as_secs_f64() / ours.p99().as_secs_f64();
    let peer = peer.name();
    format!(
        "{name} {peer} {theirs}\n{name} outrigger is {median:.1} times as fast as the {peer} (p99: {p99:.1} times)\n"
    )
}

/// Why there are no figures of a peer.
pub fn not_measured(name: &str, peer: &Plugin, error: &anyhow::Error) -> String {
    let why = error.to_string();
    format!("{name} {}: not measured: {}\n", peer.name(), why.lines().collect::<Vec<_>>().join(" "))
}
