//! The command line of the simple-device-plugin, and its fixed profile.
//!
//! Its flags are those of glog, read as Go's package `flag` reads them (`flag.FlagSet.parseOne`): one dash or two,
//! `-v=2` or `-v 2`, a boolean only with `=`. All of them only say what is logged and where; we log to standard error.

use outrigger_config::Faults;

use crate::file::{BlockRule, Group, Resource, Transport};
use crate::settings::{self, Configuration, Defaults, Surroundings};

/// What is said about a wrong flag.
pub const USAGE: &str = "usage: sdp -stderrthreshold=[INFO|WARN|FATAL] -log_dir=[string]
  -alsologtostderr
    \tlog to standard error as well as files
  -log_backtrace_at value
    \twhen logging hits line file:N, emit a stack trace
  -log_dir string
    \tIf non-empty, write log files in this directory
  -logtostderr
    \tlog to standard error instead of files
  -stderrthreshold value
    \tlogs at or above this threshold go to stderr
  -v value
    \tlog level for V logs
  -vmodule value
    \tcomma-separated list of pattern=N settings for file-filtered logging";

/// From which verbosity on we log what we did and why.
const DEBUG: i32 = 4;

/// Reads the flags; the answer is what to log, in our words. `Err` is what is wrong, to stand before [`USAGE`].
pub fn parse(args: &[String]) -> Result<&'static str, String> {
    let mut level = "info";
    let mut rest = args.iter().map(String::as_str);
    while let Some(arg) = rest.next() {
        let Some(flag) = arg.strip_prefix('-').filter(|flag| !flag.is_empty()) else { break };
        if flag == "-" {
            break;
        }
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() || flag.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        match name {
            "logtostderr" | "alsologtostderr" => boolean(name, value.unwrap_or("true"))?,
            "v" | "vmodule" | "stderrthreshold" | "log_dir" | "log_backtrace_at" => {
                let value = value.or_else(|| rest.next()).ok_or_else(|| format!("flag needs an argument: -{name}"))?;
                if name == "v" {
                    level = if verbosity(value)? >= DEBUG { "debug" } else { "info" };
                }
                valid(name, value)?;
            }
            "h" | "help" => return Err(String::new()),
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
    }
    Ok(level)
}

fn invalid(name: &str, value: &str, why: &str) -> String {
    format!("invalid value {value:?} for flag -{name}: {why}")
}

/// Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &str) -> Result<(), String> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(()),
        _ => Err(format!("invalid boolean value {value:?} for -{name}: parse error")),
    }
}

fn verbosity(value: &str) -> Result<i32, String> {
    value.parse().map_err(|_| invalid("v", value, "parse error"))
}

/// The forms that glog asks for.
fn valid(name: &str, value: &str) -> Result<(), String> {
    let good = match name {
        "stderrthreshold" => {
            ["INFO", "WARNING", "ERROR", "FATAL"].contains(&value.to_uppercase().as_str())
                || value.parse::<i32>().is_ok()
        }
        "vmodule" => {
            let pattern = |setting: &str| {
                setting.split_once('=').is_some_and(|(pattern, n)| !pattern.is_empty() && n.parse::<i32>().is_ok())
            };
            value.split(',').filter(|setting| !setting.is_empty()).all(pattern)
        }
        "log_backtrace_at" => {
            let place = |(file, line): (&str, &str)| file.contains('.') && line.parse::<u32>().is_ok_and(|n| n > 0);
            value.is_empty() || value.rsplit_once(':').is_some_and(place)
        }
        _ => true,
    };
    if good { Ok(()) } else { Err(invalid(name, value, "parse error")) }
}

/// What the simple-device-plugin does, in our words: whole disks of SATA, SAS and SCSI under one name and one socket.
pub fn profile(around: &Surroundings) -> Result<Configuration, Faults> {
    let block = BlockRule {
        transport: vec![Transport::Sata, Transport::Sas, Transport::Scsi],
        names: vec!["sd*".to_owned()],
        ..BlockRule::default()
    };
    let group = Group { block: Some(block), permissions: Some("rwm".to_owned()), ..Group::default() };
    let sata = Resource {
        resource: Some("kubedev.org/sata".to_owned()),
        socket: Some("sata.sock".to_owned()),
        groups: vec![group],
        ..Resource::default()
    };
    let text = serde_json::to_string(&sata).expect("the profile has only keys that are text");
    let file = settings::from_file(None, &settings::layers(around), true);
    let (file, flags) = settings::both(file, settings::from_flags(&[text], false))?;
    Ok(settings::joined(file, flags, None, Defaults::SIMPLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_every_spelling_of_go() {
        for (typed, level) in [
            ("-logtostderr -v=2", Ok("info")),
            ("--logtostderr --v 2", Ok("info")),
            ("-logtostderr=false -v 4", Ok("debug")),
            ("-alsologtostderr=T -stderrthreshold=INFO -log_dir /tmp", Ok("info")),
            ("-stderrthreshold warning -stderrthreshold 2", Ok("info")),
            ("-vmodule=a=1,b*=2 -log_backtrace_at main.go:12", Ok("info")),
            ("", Ok("info")),
            ("-- -nonsense", Ok("info")),
            ("file -nonsense", Ok("info")),
            ("- -nonsense", Ok("info")),
            ("-logtostderr false", Ok("info")),
            ("-nonsense", Err("flag provided but not defined: -nonsense")),
            ("--nonsense=1", Err("flag provided but not defined: -nonsense")),
            ("-v", Err("flag needs an argument: -v")),
            ("-v=x", Err("invalid value \"x\" for flag -v: parse error")),
            ("-logtostderr=yes", Err("invalid boolean value \"yes\" for -logtostderr: parse error")),
            ("---v=1", Err("bad flag syntax: ---v=1")),
            ("-=1", Err("bad flag syntax: -=1")),
            ("-stderrthreshold=LOUD", Err("invalid value \"LOUD\" for flag -stderrthreshold: parse error")),
            ("-vmodule=x", Err("invalid value \"x\" for flag -vmodule: parse error")),
            ("-log_backtrace_at=x", Err("invalid value \"x\" for flag -log_backtrace_at: parse error")),
            ("-help", Err("")),
        ] {
            let args: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
            assert_eq!(parse(&args), level.map_err(str::to_owned), "{typed}");
        }
    }

    #[test]
    fn the_profile_is_one_resource_under_its_old_socket_without_an_admin_endpoint() {
        let profile = profile(&Surroundings::default()).unwrap();
        let [sata] = &profile.resources[..] else { panic!("{:?}", profile.resources) };
        assert_eq!(sata.resource.resource.as_deref(), Some("kubedev.org/sata"));
        assert_eq!(sata.resource.socket.as_deref(), Some("sata.sock"));
        assert_eq!(profile.settings.admin, None);
        assert!(profile.warnings.is_empty());
    }
}
