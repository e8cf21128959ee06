//! The command line of `outrigger devices`, as typed.
//!
//! What the flags mean is decided in `settings`; here stand only names, forms and help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `outrigger devices`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DevicesArgs {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of this product.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hand out this node's devices to its kubelet, until stopped
    Agent(AgentArgs),
    /// List the devices: which are offered, which are not, and why
    List(ListArgs),
    /// Check the configuration and this machine: what works, what would be lost
    Check(CheckArgs),
    /// Explain why a device, an id or a resource is offered or not
    Explain(ExplainArgs),
}

/// `outrigger devices agent`
#[derive(Debug, Args)]
#[command(after_help = AGENT_EXAMPLES)]
pub struct AgentArgs {
    /// What is set
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// `outrigger devices list`
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArgs {
    /// Only of this resource
    #[arg(value_name = "RESOURCE")]
    pub resource: Option<String>,
    /// Show also the devices that no rule matches
    #[arg(short, long)]
    pub all: bool,
    /// Go on, and print the list again whenever it changes
    #[arg(short, long)]
    pub watch: bool,
    /// The form of the list
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Form,
    /// What is set
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// `outrigger devices check`
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// What is set
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// `outrigger devices explain`
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub struct ExplainArgs {
    /// A device's path or kernel name, an id, or a resource; without it every disk that somebody uses
    #[arg(value_name = "DEVICE|ID|RESOURCE")]
    pub what: Option<String>,
    /// The form of the answer
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Form,
    /// What is set
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Where the configuration is, and the settings of `devices.yaml` as flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings (devices.yaml)")]
pub struct SettingsArgs {
    /// The configuration: YAML or JSON; also a file of the generic-device-plugin
    #[arg(long, value_name = "FILE", conflicts_with = "config_dir")]
    pub config: Option<PathBuf>,
    /// The directory with devices.yaml, instead of /etc/outrigger and then ~/.config/outrigger
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// One resource as YAML or JSON; replaces those of the file; may be given several times
    #[arg(long = "device", value_name = "YAML")]
    pub devices: Vec<String>,
    /// The prefix of every resource that is given by `name`
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// How ids are made: short or gdp
    #[arg(long, value_name = "SCHEME")]
    pub ids: Option<String>,
    /// Where sockets for the kubelet are made
    #[arg(long, value_name = "DIR")]
    pub plugin_directory: Option<String>,
    /// The kubelet's directory as the kubelet sees it
    #[arg(long, value_name = "DIR")]
    pub kubelet_directory: Option<String>,
    /// Where the machine's /sys, /proc, /dev and /run/udev are
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<String>,
    /// The machine's own mount table
    #[arg(long, value_name = "FILE")]
    pub host_mountinfo: Option<String>,
    /// Where machine-wide locks are
    #[arg(long, value_name = "DIR")]
    pub lock_directory: Option<String>,
    /// How often everything is looked at although nothing told of a change
    #[arg(long, value_name = "DURATION")]
    pub audit: Option<String>,
    /// The address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}

impl SettingsArgs {
    /// The flags that stand for keys of the file, with their values.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { config: _, config_dir: _, devices: _, domain, ids, plugin_directory, kubelet_directory, .. } = self;
        let Self { host_root, host_mountinfo, lock_directory, audit, admin, .. } = self;
        [
            ("domain", domain),
            ("ids", ids),
            ("pluginDirectory", plugin_directory),
            ("kubeletDirectory", kubelet_directory),
            ("hostRoot", host_root),
            ("hostMountinfo", host_mountinfo),
            ("lockDirectory", lock_directory),
            ("audit", audit),
            ("admin", admin),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

const EXAMPLES: &str = "\
Examples:
  outrigger devices list --all                   What is here, also what no rule matches
  outrigger devices check                        Whether devices.yaml and this machine fit
  outrigger devices agent --config devices.yaml  Hand devices to the kubelet of this node";

const AGENT_EXAMPLES: &str = "\
Examples:
  outrigger devices agent                        By /etc/outrigger/devices.yaml
  outrigger devices agent --domain example.com \\
    --device '{name: serial, groups: [{paths: [{path: \"/dev/ttyUSB*\"}]}]}'

SIGHUP reads the configuration again. Ends with 0 after SIGTERM, 2 where the configuration is wrong, 3 where it cannot run here.";

const LIST_EXAMPLES: &str = "\
Examples:
  outrigger devices list                         By /etc/outrigger/devices.yaml
  outrigger devices list --all                   Also what no rule matches, to write a rule
  outrigger devices list example.com/disk -o json
  outrigger devices list --watch                 Follow plugging, mounting, unmounting";

const CHECK_EXAMPLES: &str = "\
Examples:
  outrigger devices check --config devices.yaml
  outrigger devices check --host-root /host      In a container that sees the machine at /host

The exit code is 0 where all is well, 1 where something is wrong here, 2 where the configuration is, 3 where nothing can run.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  outrigger devices explain                      Every disk in use, and how
  outrigger devices explain /dev/sda             Each rule, and why it matches or not
  outrigger devices explain k7q2m4x9ab           What this id stands for
  outrigger devices explain example.com/disk     Every device that a rule of it matches";
