//! What is set for this machine: `run.yaml`, the environment and the flags, read once into what the code uses.
//!
//! The file stands in `--config-dir`, else in `/etc/outrigger`, else in `$XDG_CONFIG_HOME/outrigger`. Flags beat the
//! environment (`OUTRIGGER_RUN_…`), which beats the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_config::{ByteSize, Fault, Faults, Layers, plain};
use outrigger_pod_directory::StateDirectory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::args::{PlaceArgs, SettingsArgs};

/// `run.yaml`, as written: what `outrigger run` and its companions use on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(title = "Run")]
pub struct RunFile {
    /// What starts the containers: `host` runs them as processes of this machine, `apptainer` from images; `auto` takes
    /// apptainer where it is installed and every image of the pod is a file, a directory or a `docker://` reference.
    pub launcher: LauncherChoice,
    /// A container's log file is followed by a new one above this size.
    pub log_max_size: ByteSize,
    /// How many log files of a container are kept.
    #[schemars(range(min = 2, max = 1000))]
    pub log_max_files: u32,
    /// For how many days a finished pod stays in `ps` and `logs`.
    #[schemars(range(max = 36500))]
    pub keep_days: u32,
    /// Where pods are recorded. Without it: `/var/lib/outrigger/run` for root, else `$XDG_STATE_HOME/outrigger/run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<String>,
}

impl Default for RunFile {
    fn default() -> Self {
        Self {
            launcher: LauncherChoice::Auto,
            log_max_size: ByteSize::from(10 << 20),
            log_max_files: 5,
            keep_days: 7,
            state_directory: None,
        }
    }
}

/// Which launcher is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LauncherChoice {
    /// By what is installed and what the images are.
    #[default]
    Auto,
    /// Processes of this machine.
    Host,
    /// Images, by Apptainer or Singularity.
    Apptainer,
}

/// What is set, as the code uses it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which launcher is wanted.
    pub launcher: LauncherChoice,
    /// The size above which a log file is followed by a new one, in bytes.
    pub log_max_size: u64,
    /// How many log files of a container are kept.
    pub log_max_files: u32,
    /// For how long finished pods are kept.
    pub keep: Duration,
    /// Where pods are recorded.
    pub state: StateDirectory,
    /// Whether root, who sees all users' pods, has named no other place.
    pub of_all_users: bool,
    /// The file that was read, where there is one.
    pub file: Option<PathBuf>,
}

/// Why the settings cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Something in them is wrong.
    #[error(transparent)]
    Wrong(#[from] Faults),
    /// Nobody knows where to record pods.
    #[error(
        "there is no place to record pods: HOME and XDG_STATE_HOME are not set; set one of them, or give --state-directory"
    )]
    NoState,
}

/// What the settings are made of beside the flags; a value, so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Whether the user is root.
    pub is_root: bool,
    /// The machine's own configuration directory: `/etc/outrigger`.
    pub machine: PathBuf,
}

impl Surroundings {
    /// Those of this process. Variables that are no text are passed over; without `HOME`, `/etc/passwd` tells it.
    pub fn here() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut environment: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let user = rustix::process::geteuid();
        if environment.get("HOME").is_none_or(String::is_empty)
            && let Some(home) = outrigger_host::users::local_home(Path::new("/"), user.as_raw())
        {
            environment.insert("HOME".to_owned(), home);
        }
        Self { environment, is_root: user.is_root(), machine: PathBuf::from("/etc/outrigger") }
    }

    /// `$NAME`, else `$HOME/fallback`; what is relative does not count, as the XDG specification has it.
    fn home_path(&self, name: &str, fallback: &str) -> Option<PathBuf> {
        let absolute = |name: &str| self.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute(name).or_else(|| absolute("HOME").map(|home| home.join(fallback)))
    }
}

/// Reads the settings; what is odd in them comes beside them.
pub fn settings(args: &SettingsArgs, around: &Surroundings) -> Result<(Settings, Faults), SettingsError> {
    let SettingsArgs { launcher, log_max_size, log_max_files, keep_days, places } = args;
    let PlaceArgs { state_directory, config_dir } = places;
    let by_environment = around.environment.get("OUTRIGGER_RUN_STATE_DIRECTORY").is_some_and(|path| !path.is_empty());
    let named = state_directory.is_some() || by_environment;
    let mut layers = Layers::new("OUTRIGGER_RUN").environment(around.environment.clone());
    let found = config_file(config_dir.as_deref(), around)?;
    if let Some((path, text)) = &found {
        layers = layers.file(path.display().to_string(), text.clone());
    }
    for (key, value) in [
        ("launcher", launcher),
        ("logMaxSize", log_max_size),
        ("logMaxFiles", log_max_files),
        ("keepDays", keep_days),
        ("stateDirectory", state_directory),
    ] {
        if let Some(value) = value {
            layers = layers.flag(key, value);
        }
    }
    let (file, warnings) = layers.load::<RunFile>()?;
    let RunFile { launcher, log_max_size, log_max_files, keep_days, state_directory } = file;
    let state = match state_directory.filter(|path| !path.is_empty()) {
        Some(path) => std::path::absolute(path).map_err(|_| SettingsError::NoState)?,
        None if around.is_root => PathBuf::from("/var/lib/outrigger/run"),
        None => {
            let home = around.home_path("XDG_STATE_HOME", ".local/state").ok_or(SettingsError::NoState)?;
            home.join("outrigger/run")
        }
    };
    let settings = Settings {
        launcher,
        log_max_size: log_max_size.bytes(),
        log_max_files,
        keep: Duration::from_secs(u64::from(keep_days) * 86_400),
        state: StateDirectory::at(state),
        of_all_users: around.is_root && !named,
        file: found.map(|(path, _)| path),
    };
    Ok((settings, warnings))
}

/// The settings of a command that only needs to know where pods are recorded.
pub fn of_places(places: &PlaceArgs) -> Result<Settings, SettingsError> {
    let args = SettingsArgs { places: places.clone(), ..SettingsArgs::default() };
    settings(&args, &Surroundings::here()).map(|(settings, _)| settings)
}

/// The first `run.yaml` that is there, with its text. One that was named and is not there is a fault.
fn config_file(named: Option<&Path>, around: &Surroundings) -> Result<Option<(PathBuf, Vec<u8>)>, Faults> {
    let directories = match named {
        Some(directory) => vec![directory.to_owned()],
        None => std::iter::once(around.machine.clone())
            .chain(around.home_path("XDG_CONFIG_HOME", ".config").map(|home| home.join("outrigger")))
            .collect(),
    };
    for directory in directories {
        let path = directory.join("run.yaml");
        match std::fs::read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory.is_dir() => (),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => (),
            Err(error) => {
                return Err(Fault::error(
                    path.display().to_string(),
                    format!("cannot be read: {}", plain(&error.to_string())),
                )
                .into());
            }
        }
    }
    Ok(None)
}

impl fmt::Display for LauncherChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Host => "host",
            Self::Apptainer => "apptainer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(environment: &[(&str, &str)], machine: &Path) -> Surroundings {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Surroundings { environment, is_root: false, machine: machine.to_owned() }
    }

    #[test]
    fn flags_beat_the_environment_and_the_environment_beats_the_file() {
        let machine = tempfile::tempdir().unwrap();
        std::fs::write(machine.path().join("run.yaml"), "keepDays: 1\nlogMaxFiles: 9\nlauncher: host\n").unwrap();
        let around = around(
            &[("HOME", "/home/u"), ("OUTRIGGER_RUN_KEEP_DAYS", "2"), ("OUTRIGGER_RUN_LAUNCHER", "auto")],
            machine.path(),
        );
        let args = SettingsArgs { keep_days: Some("3".into()), ..SettingsArgs::default() };
        let (settings, warnings) = settings(&args, &around).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(settings.keep, Duration::from_secs(3 * 86_400));
        assert_eq!((settings.launcher, settings.log_max_files), (LauncherChoice::Auto, 9));
        assert_eq!(settings.state.root(), Path::new("/home/u/.local/state/outrigger/run"));
        assert_eq!(settings.file, Some(machine.path().join("run.yaml")));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let machine = tempfile::tempdir().unwrap();
        std::fs::write(machine.path().join("run.yaml"), "keepDay: 1\nlauncher: docker\n").unwrap();
        let args = SettingsArgs { log_max_files: Some("1".into()), ..SettingsArgs::default() };
        let told = settings(&args, &around(&[("HOME", "/h")], machine.path())).unwrap_err().to_string();
        let file = machine.path().join("run.yaml");
        for part in [
            "--log-max-files: ",
            &format!("{}:1:1: keepDay: ", file.display()),
            &format!("{}:2:11: launcher: ", file.display()),
        ] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
    }

    #[test]
    fn without_a_home_a_user_is_told_the_way_out_and_root_needs_none() {
        let nowhere = Path::new("/nonexistent");
        let args = SettingsArgs::default();
        assert!(settings(&args, &around(&[], nowhere)).unwrap_err().to_string().contains("--state-directory"));
        let root = Surroundings { is_root: true, ..around(&[], nowhere) };
        let (settings_of_root, _) = settings(&args, &root).unwrap();
        assert_eq!(settings_of_root.state.root(), Path::new("/var/lib/outrigger/run"));
        assert!(settings_of_root.of_all_users);
        let mut named = SettingsArgs::default();
        named.places.state_directory = Some("/s".into());
        assert!(!settings(&named, &root).unwrap().0.of_all_users);
    }

    #[test]
    fn a_named_directory_that_is_not_there_is_a_fault() {
        let mut args = SettingsArgs::default();
        args.places.config_dir = Some("/nonexistent/x".into());
        let told = settings(&args, &around(&[("HOME", "/h")], Path::new("/nonexistent"))).unwrap_err().to_string();
        assert!(told.starts_with("/nonexistent/x/run.yaml: cannot be read"), "{told}");
    }
}
