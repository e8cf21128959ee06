//! The command line of `outrigger run` and its companions, as typed.
//!
//! What the flags mean is decided where they are used; here stand only names, forms and help. Examples of every command
//! are part of its help, so the man pages show them too.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// Pods on this machine: the subcommands of the executable that this product serves.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run pods and jobs from manifests on this machine
    Run(Box<RunArgs>),
    /// List the pods and jobs of this machine
    Ps(PsArgs),
    /// Show what containers wrote
    Logs(LogsArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Join the terminal of a running container
    Attach(AttachArgs),
    /// Stop pods and jobs in order
    Stop(StopArgs),
    /// Show everything about a pod: containers, conditions, volumes, events
    Describe(DescribeArgs),
    /// Remove finished pods and jobs, with their logs
    Rm(RmArgs),
    /// Remove what finished long ago
    Prune(PruneArgs),
    /// One detached pod or job: what `run --detach` starts anew, with its work on standard input
    #[command(name = "detached-runner", hide = true)]
    DetachedRunner,
}

/// `outrigger run`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Another thing to do than to run
    #[command(subcommand)]
    pub action: Option<RunAction>,
    /// Manifests, YAML or JSON, with one or more documents; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// What the pods get from the command line
    #[command(flatten)]
    pub given: GivenArgs,
    /// How they run
    #[command(flatten)]
    pub how: HowArgs,
    /// What is set for this machine
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// What a manifest leaves to the machine.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What the pods get")]
pub struct GivenArgs {
    /// Set a variable in every container, over the manifest; without `=VALUE` it is taken from this environment
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Use a directory for the persistent volume claim NAME
    #[arg(long = "volume", value_name = "NAME=DIR")]
    pub volumes: Vec<String>,
    /// Read `ConfigMap` objects from a further file
    #[arg(long = "configmap", value_name = "FILE")]
    pub config_maps: Vec<String>,
    /// Read Secret objects from a further file
    #[arg(long = "secret", value_name = "FILE")]
    pub secrets: Vec<String>,
    /// Serve this file as the service account's token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Serve this file as the cluster trust bundle NAME
    #[arg(long = "trust-bundle", value_name = "NAME=FILE")]
    pub trust_bundles: Vec<String>,
    /// Run although nothing here serves the resource NAME
    #[arg(long = "ignore-resource", value_name = "NAME")]
    pub ignored_resources: Vec<String>,
    /// Report this address as the pods' own
    #[arg(long, value_name = "ADDRESS")]
    pub pod_ip: Option<IpAddr>,
}

/// How `run` goes about it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How they run")]
pub struct HowArgs {
    /// Return once the pods are under way, and print their names
    #[arg(short, long)]
    pub detach: bool,
    /// Stop the pods after this time; the exit code is then 124
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Keep the finished pods until `outrigger rm`
    #[arg(long)]
    pub keep: bool,
    /// Refuse what cannot be enforced, and unknown fields, instead of warning
    #[arg(long)]
    pub strict: bool,
    /// Show what would run, and run nothing
    #[arg(long, conflicts_with_all = ["detach", "timeout"])]
    pub dry_run: bool,
    /// Print the final status in this form (with --dry-run: the pods)
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Form,
    /// Show only what the containers write, and what goes wrong
    #[arg(short, long)]
    pub quiet: bool,
}

/// What `outrigger run` may do instead.
#[derive(Debug, Subcommand)]
pub enum RunAction {
    /// Check this machine and run.yaml: what would be used, and what would not work
    Check(CheckArgs),
}

/// `outrigger run check`
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// What is set for this machine
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// The settings of `run.yaml` as flags. The file and the environment are read by `settings`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings of this machine (run.yaml)")]
pub struct SettingsArgs {
    /// What starts the containers: auto, host or apptainer [run.yaml: launcher]
    #[arg(long, value_name = "NAME")]
    pub launcher: Option<String>,
    /// Start a new log file above this size, for example 10Mi [run.yaml: logMaxSize]
    #[arg(long, value_name = "SIZE")]
    pub log_max_size: Option<String>,
    /// Keep so many log files of a container [run.yaml: logMaxFiles]
    #[arg(long, value_name = "COUNT")]
    pub log_max_files: Option<String>,
    /// Keep finished pods so many days [run.yaml: keepDays]
    #[arg(long, value_name = "DAYS")]
    pub keep_days: Option<String>,
    /// Where pods are recorded
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// Where state and configuration lie; every command has these.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Places")]
pub struct PlaceArgs {
    /// Record pods in this directory [run.yaml: stateDirectory]
    #[arg(long, value_name = "DIR")]
    pub state_directory: Option<String>,
    /// Read run.yaml from this directory instead of /etc/outrigger or ~/.config/outrigger
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

/// Which pod or job a command is about.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// Its name; `job/NAME` for a job
    #[arg(value_name = "POD")]
    pub name: String,
    /// Its namespace, where several pods have this name
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Which pods and jobs a command is about.
#[derive(Clone, Debug, Args)]
pub struct TargetsArgs {
    /// Their names; `job/NAME` for a job
    #[arg(value_name = "POD")]
    pub names: Vec<String>,
    /// Their namespace, where several pods have this name
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// `outrigger ps`
#[derive(Debug, Args)]
#[command(after_help = PS_EXAMPLES)]
pub struct PsArgs {
    /// Show only these
    #[command(flatten)]
    pub targets: TargetsArgs,
    /// Show only what has not ended
    #[arg(short, long)]
    pub running: bool,
    /// Show also what has ended, of all namespaces: that is so without it too
    #[arg(short, long, visible_short_alias = 'A', conflicts_with = "running")]
    pub all: bool,
    /// The form of the list
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: WideForm,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger logs`
#[derive(Debug, Args)]
#[command(after_help = LOGS_EXAMPLES)]
pub struct LogsArgs {
    /// Whose
    #[command(flatten)]
    pub target: TargetArgs,
    /// Of this container; needed where the pod has more than one
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Of all containers, each line with its container's name
    #[arg(long, conflicts_with = "container")]
    pub all_containers: bool,
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines; -1 for all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub tail: Option<i64>,
    /// Only what is younger than this
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Of the container's run before the present one
    #[arg(short, long)]
    pub previous: bool,
    /// Of an earlier run of this pod: 1 is the one before the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub run: u32,
    /// Begin each line with its time
    #[arg(long)]
    pub timestamps: bool,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger exec`
#[derive(Debug, Args)]
#[command(after_help = EXEC_EXAMPLES)]
pub struct ExecArgs {
    /// In which pod
    #[command(flatten)]
    pub target: TargetArgs,
    /// In this container; the first main container where it is left out
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// The command and its arguments; no shell
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger attach`
#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub struct AttachArgs {
    /// To which pod
    #[command(flatten)]
    pub target: TargetArgs,
    /// To this container; the first main container where it is left out
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass standard input on; the container needs `stdin: true`
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Make this terminal the container's; it needs `tty: true`
    #[arg(short, long)]
    pub tty: bool,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger stop`
#[derive(Debug, Args)]
#[command(after_help = STOP_EXAMPLES)]
pub struct StopArgs {
    /// Which
    #[command(flatten)]
    pub targets: TargetsArgs,
    /// All that run
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Give them this time instead of their own; 0s kills at once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger describe`
#[derive(Debug, Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub struct DescribeArgs {
    /// Which; all where none is named
    #[command(flatten)]
    pub targets: TargetsArgs,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger rm`
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
pub struct RmArgs {
    /// Which
    #[command(flatten)]
    pub targets: TargetsArgs,
    /// All that have ended
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Stop first what still runs
    #[arg(short, long)]
    pub force: bool,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// `outrigger prune`
#[derive(Debug, Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub struct PruneArgs {
    /// Remove what finished longer ago than this, instead of the days of run.yaml
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where to look
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// How something is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// The Kubernetes objects as JSON.
    Json,
    /// The Kubernetes objects as YAML.
    Yaml,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WideForm {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns.
    Wide,
    /// The Kubernetes objects as JSON.
    Json,
    /// The Kubernetes objects as YAML.
    Yaml,
}

/// Reads a duration as configuration has it: `30s`, `5m`, `1h30m`, `250ms`, `2d`; here a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let read = text.parse::<outrigger_config::Duration>().map(Duration::from);
    read.map_err(|_| format!("`{text}` is no duration, write for example 30s, 5m or 1h30m"))
}

const RUN_EXAMPLES: &str = "\
Examples:
  outrigger run pod.yaml                         Run a pod, follow its logs, end with its code
  outrigger run -d web.yaml config.yaml          Run in the background
  kubectl get pod web -o json | outrigger run -  Run here what runs in a cluster
  outrigger run --dry-run pod.yaml               Show what would run
  outrigger run --volume data=/srv pod.yaml      Use a directory for the claim `data`
  outrigger run check                            What is set here, and does it work

Exit codes:
  The highest of the main containers' codes, 128 + signal where one was killed;
  where an init container failed, its own. Else 2 wrong use, 124 out of time,
  125 refused or failed, 126 not executable, 127 not found, 130 interrupted.";

const CHECK_EXAMPLES: &str = "\
Examples:
  outrigger run check
  outrigger run check --config-dir ./site     Check the run.yaml in ./site";

const PS_EXAMPLES: &str = "\
Examples:
  outrigger ps                 All pods and jobs, also those that have ended
  outrigger ps --running       Only what has not ended
  outrigger ps -o wide         With address, runner and directory
  outrigger ps -o json web     One pod as its Kubernetes object";

const LOGS_EXAMPLES: &str = "\
Examples:
  outrigger logs web                     What the only container wrote
  outrigger logs -f --tail 20 web -c app The last lines of one container, then what follows
  outrigger logs --previous web -c app   What it wrote before it was restarted
  outrigger logs --run 1 web             Of the pod's run before the newest
  outrigger logs --all-containers --since 5m --timestamps web";

const EXEC_EXAMPLES: &str = "\
Examples:
  outrigger exec web -- cat /etc/hosts
  outrigger exec -it web -c app -- sh    A shell in the container `app`

The exit code is the command's own.";

const ATTACH_EXAMPLES: &str = "\
Examples:
  outrigger attach web -c app       See what it writes from now on; Ctrl-C leaves it running
  outrigger attach -it console      Type into a container with `stdin: true` and `tty: true`; leave with Ctrl-P Ctrl-Q";

const STOP_EXAMPLES: &str = "\
Examples:
  outrigger stop web
  outrigger stop --grace 5s web job/import
  outrigger stop --all";

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  outrigger describe web
  outrigger describe job/import";

const RM_EXAMPLES: &str = "\
Examples:
  outrigger rm web
  outrigger rm --force web     Stop it first
  outrigger rm --all           Everything that has ended";

const PRUNE_EXAMPLES: &str = "\
Examples:
  outrigger prune                    What finished longer ago than run.yaml says (7 days)
  outrigger prune --older-than 1h
  outrigger prune --dry-run";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in
            [("30", 30_000), ("30s", 30_000), ("0s", 0), ("1h30m", 5_400_000), ("250ms", 250), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "5x", "-3s", "1.5h", "99999999999999999999s", "5m3"] {
            assert!(duration(text).unwrap_err().contains("is no duration"), "{text}");
        }
    }
}
