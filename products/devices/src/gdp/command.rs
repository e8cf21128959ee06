//! The command line and the variables of the generic-device-plugin, under that name only.
//!
//! Its variables have no prefix (`DOMAIN`, `LISTEN`, …), so `VERSION` and `DEVICE`, which other programs set too, are
//! passed over with a warning; so is nothing else.

use std::path::{Path, PathBuf};

use clap::Parser;
use outrigger_config::{Address, Fault, Faults};

use crate::settings::{self, Configuration, Defaults, Surroundings};

/// The flags of the generic-device-plugin.
#[derive(Debug, Default, Parser)]
#[command(name = "generic-device-plugin", disable_version_flag = true)]
pub struct GdpArgs {
    /// Path to the config file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The devices to expose, each as YAML or JSON; may be given several times
    #[arg(long = "device", value_name = "YAML", allow_hyphen_values = true)]
    pub devices: Vec<String>,
    /// The domain to use when declaring devices [default: squat.ai]
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// The address at which to listen for health and metrics [default: :8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Log level to use: all, debug, info, warn, error or none [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// The directory in which to create plugin sockets [default: /var/lib/kubelet/device-plugins/]
    #[arg(long, value_name = "DIR")]
    pub plugin_directory: Option<String>,
    /// Print version and exit
    #[arg(long)]
    pub version: bool,
}

/// What is read under that name.
#[derive(Debug)]
pub struct Read {
    /// The configuration.
    pub configuration: Configuration,
    /// What is to be logged, in our words.
    pub log_level: &'static str,
}

/// Reads flags, environment and file as that program does: flags beat environment, environment beats file.
pub fn load(args: &GdpArgs, around: &Surroundings) -> Result<Read, Faults> {
    let mut odd = Faults::default();
    for name in ["VERSION", "DEVICE"] {
        if variable(around, name).is_some() {
            odd.push(Fault::warning(name, "this variable is passed over: other programs set it too"));
        }
    }
    let mut layers = settings::layers(around);
    let mut given = |key: &str, flag: Option<&String>, name: &str, value: fn(&str) -> Result<String, String>| {
        let (origin, text) = match (flag, variable(around, name)) {
            (Some(text), _) => (format!("--{}", key_as_flag(name)), text.as_str()),
            (None, Some(text)) => (name.to_owned(), text),
            (None, None) => return None,
        };
        match value(text) {
            Ok(value) if key.is_empty() => return Some(value),
            Ok(value) => layers = layers.clone().flag(key, value),
            Err(message) => odd.push(Fault::error(origin, message)),
        }
        None
    };
    let as_it_is = |text: &str| Ok(text.to_owned());
    given("domain", args.domain.as_ref(), "DOMAIN", as_it_is);
    given("pluginDirectory", args.plugin_directory.as_ref(), "PLUGIN_DIRECTORY", as_it_is);
    given("admin", args.listen.as_ref(), "LISTEN", |text| listen_address(text).map(|address| address.to_string()));
    let level = given("", args.log_level.as_ref(), "LOG_LEVEL", |text| log_level(text).map(str::to_owned));
    let found = find(args.config.as_deref(), around)?;
    let file = settings::from_file(found.as_ref(), &layers, true);
    let (file, flags) = settings::both(file, settings::from_flags(&args.devices, true))?;
    let level = match (level, &file.log_level) {
        (Some(level), _) => Ok(level),
        (None, Some(level)) => log_level(level).map(str::to_owned),
        (None, None) => Ok("info".to_owned()),
    };
    let path = found.map(|(path, _)| path);
    let level = level.and_then(|level| log_level(&level)).unwrap_or_else(|message| {
        let file = path.as_ref().map_or_else(|| "log-level".to_owned(), |path| path.display().to_string());
        odd.push(Fault::error(file, message).path("log-level"));
        "info"
    });
    let ((), odd) = odd.into_result(())?;
    let mut configuration = settings::joined(file, flags, path, Defaults::GDP);
    configuration.warnings.extend(odd);
    Ok(Read { configuration, log_level: level })
}

fn key_as_flag(variable: &str) -> String {
    variable.to_lowercase().replace('_', "-")
}

/// An empty variable counts as unset.
fn variable<'a>(around: &'a Surroundings, name: &str) -> Option<&'a str> {
    around.environment.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// The file: the named one, else the first `config` with a known ending in the places where that program looks.
fn find(named: Option<&Path>, around: &Surroundings) -> Result<Option<(PathBuf, Vec<u8>)>, Faults> {
    let there = || {
        let endings = ["json", "toml", "yaml", "yml"].iter();
        let paths = around.foreign.iter().flat_map(|directory| {
            endings.clone().map(|ending| directory.join("config").with_extension(ending)).collect::<Vec<_>>()
        });
        paths.into_iter().find(|path| path.is_file())
    };
    match named.map(Path::to_owned).or_else(there) {
        Some(path) => settings::text_of(&path).map(|text| Some((path, text))),
        None => Ok(None),
    }
}

/// An address as Go writes it: `:8080` is every address of the machine.
pub fn listen_address(text: &str) -> Result<Address, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    whole.parse::<Address>().map_err(|_| format!("{text:?} is no address such as :8080 or 127.0.0.1:8080"))
}

/// What of our levels that program's level is.
fn log_level(text: &str) -> Result<&'static str, String> {
    Ok(match text {
        "all" | "debug" => "debug",
        "info" => "info",
        "warn" => "warn",
        "error" => "error",
        "none" => "off",
        _ => return Err(format!("{text:?} is none of all, debug, info, warn, error, none")),
    })
}
