//! What is set: `devices.yaml`, the environment and the flags, read once into what the code uses.
//!
//! ```text
//! file ──┬─ only keys of theirs ──► gdp::read ─┐
//!        └─ else ──► Layers ───────────────────┴─► defaults ──► Configuration
//! --device values, of either dialect, stand in place of the file's devices
//! ```
//!
//! The file is `--config`, else `devices.yaml` in `--config-dir`, `/etc/outrigger` or `$XDG_CONFIG_HOME/outrigger`. Flags
//! beat the environment (`OUTRIGGER_DEVICES_…`), which beats the file. What the rules mean is decided in `rules`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::{Address, Document, Fault, Faults, Layers, Path, read};
use outrigger_host::{LockError, Locks};

use crate::args::SettingsArgs;
use crate::file::{DevicesFile, IdScheme, Resource};
use crate::gdp;
use crate::place::{Located, Place};

/// What begins the names of our variables.
const PREFIX: &str = "OUTRIGGER_DEVICES";

/// What one might take for the variable that names the file.
const CONFIG: &str = "OUTRIGGER_DEVICES_CONFIG";

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What is set once for all resources.
    pub settings: Settings,
    /// The resources, with their places.
    pub resources: Vec<Located>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is odd.
    pub warnings: Faults,
}

/// What is set once for all resources.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The prefix of resources that are given by `name`.
    pub domain: Option<String>,
    /// How ids are made.
    pub ids: IdScheme,
    /// Where sockets for the kubelet are made.
    pub plugin_directory: PathBuf,
    /// The kubelet's directory, as the kubelet sees it.
    pub kubelet_directory: PathBuf,
    /// Where the machine's `/sys`, `/proc`, `/dev` and `/run/udev` are.
    pub host_root: PathBuf,
    /// The machine's mount table, where it was named.
    pub host_mountinfo: Option<PathBuf>,
    /// Where locks are, where it was named.
    pub lock_directory: Option<PathBuf>,
    /// How often is looked at everything.
    pub audit: Duration,
    /// Where the admin endpoint is; nowhere for none.
    pub admin: Option<Address>,
    /// Whether disks are offered although it cannot be verified that nobody uses them, as the replaced programs do.
    pub trusts_sysfs: bool,
}

impl Settings {
    /// The machine's locks. They are where every process of ours sees them, also where the rest of the machine is seen below
    /// another root.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn locks(&self) -> Result<Locks, LockError> {
        match &self.lock_directory {
            Some(directory) => Ok(Locks::at(directory)),
            None => Locks::of_machine(FilePath::new("/")),
        }
    }
}

/// What the settings are made of beside the flags; a value, so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The machine's own configuration directory: `/etc/outrigger`.
    pub machine: PathBuf,
    /// Where the generic-device-plugin looks for its file: its directory in `/etc`, then the working directory.
    pub foreign: Vec<PathBuf>,
}

/// What a file says, in either dialect.
pub(crate) struct FromFile {
    /// The scalars; its lists are empty.
    pub(crate) scalars: DevicesFile,
    /// The resources.
    pub(crate) resources: Vec<Located>,
    /// How much that program was to log.
    pub(crate) log_level: Option<String>,
    /// What is odd.
    pub(crate) warnings: Faults,
}

impl Surroundings {
    /// Those of this process. Variables that are no text are passed over; without `HOME`, `/etc/passwd` tells it.
    pub fn here() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        let foreign = vec![PathBuf::from("/etc/generic-device-plugin"), PathBuf::from(".")];
        Self { environment, machine: PathBuf::from("/etc/outrigger"), foreign }
    }

    /// The directories that may hold `devices.yaml`, in their order.
    fn directories(&self) -> Vec<PathBuf> {
        let absolute = |name: &str| self.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_CONFIG_HOME").or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            let local = || outrigger_host::users::local_home(FilePath::new("/"), user).map(PathBuf::from);
            absolute("HOME").or_else(local).map(|home| home.join(".config"))
        });
        [Some(self.machine.clone()), home.map(|home| home.join("outrigger"))].into_iter().flatten().collect()
    }
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong in it, each with its place.
pub fn load(args: &SettingsArgs, around: &Surroundings) -> Result<Configuration, Faults> {
    let found = find(args, around)?;
    let layers = args.flags().fold(layers(around), |layers, (key, value)| layers.flag(key, value));
    let (file, flags) = (from_file(found.as_ref(), &layers, false), from_flags(&args.devices, false));
    let (mut file, flags) = both(file, flags)?;
    file.warnings.extend(misnamed(around));
    Ok(joined(file, flags, found.map(|(path, _)| path), Defaults::OURS))
}

/// The layers without file and flags: the environment.
pub(crate) fn layers(around: &Surroundings) -> Layers {
    let mut environment = around.environment.clone();
    environment.remove(CONFIG);
    Layers::new(PREFIX).environment(environment)
}

/// What is said of a variable that seems to name the file.
fn misnamed(around: &Surroundings) -> Option<Fault> {
    let file = FilePath::new(around.environment.get(CONFIG).filter(|file| !file.is_empty())?);
    let absent = if file.exists() { "" } else { ", and it is not there" };
    let told = format!("is no setting, so {} is not read{absent}", file.display());
    Some(Fault::warning(CONFIG, told).help("name the file by --config FILE"))
}

/// Everything that went wrong on either side.
pub(crate) fn both<A, B>(left: Result<A, Faults>, right: Result<B, Faults>) -> Result<(A, B), Faults> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(left), Err(right)) => Err(left.into_iter().chain(right).collect()),
        (Err(faults), _) | (_, Err(faults)) => Err(faults),
    }
}

/// What holds where nobody says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Defaults {
    domain: Option<&'static str>,
    ids: IdScheme,
    admin: Option<(&'static str, u16)>,
    /// Whether disks are offered although it cannot be verified that nobody uses them.
    trusts_sysfs: bool,
}

impl Defaults {
    /// Under our own name.
    pub(crate) const OURS: Self =
        Self { domain: None, ids: IdScheme::Short, admin: Some(("127.0.0.1", 9412)), trusts_sysfs: false };
    /// Under the name `generic-device-plugin`: every address, as Go reads `:8080`.
    pub(crate) const GDP: Self =
        Self { domain: Some("squat.ai"), ids: IdScheme::Gdp, admin: Some(("::", 8080)), trusts_sysfs: true };
    /// Under the name `device-plugin`, which serves no metrics.
    pub(crate) const SIMPLE: Self = Self { domain: None, ids: IdScheme::Short, admin: None, trusts_sysfs: true };
}

/// The configuration of file and flags, with what holds by default.
pub(crate) fn joined(file: FromFile, flags: FromFlags, path: Option<PathBuf>, defaults: Defaults) -> Configuration {
    let DevicesFile { domain, ids, plugin_directory, kubelet_directory, host_root, host_mountinfo, .. } = file.scalars;
    let DevicesFile { lock_directory, audit, admin, .. } = file.scalars;
    let path_or = |text: Option<String>, default: &str| PathBuf::from(text.as_deref().unwrap_or(default));
    let settings = Settings {
        domain: domain.or_else(|| defaults.domain.map(str::to_owned)),
        ids: ids.unwrap_or(defaults.ids),
        plugin_directory: path_or(plugin_directory, "/var/lib/kubelet/device-plugins"),
        kubelet_directory: path_or(kubelet_directory, "/var/lib/kubelet"),
        host_root: path_or(host_root, "/"),
        host_mountinfo: host_mountinfo.map(PathBuf::from),
        lock_directory: lock_directory.map(PathBuf::from),
        audit: audit.map_or(Duration::from_secs(30), Duration::from),
        admin: admin.or_else(|| defaults.admin.map(|(host, port)| Address::Tcp { host: host.to_owned(), port })),
        trusts_sysfs: defaults.trusts_sysfs,
    };
    let replaced = !flags.resources.is_empty();
    let warnings = file.warnings.into_iter().chain(flags.warnings).collect();
    Configuration { settings, resources: if replaced { flags.resources } else { file.resources }, file: path, warnings }
}

/// The file and its text: the one that is named, else the first that is there.
fn find(args: &SettingsArgs, around: &Surroundings) -> Result<Option<(PathBuf, Vec<u8>)>, Faults> {
    if let Some(path) = &args.config {
        return text_of(path).map(|text| Some((path.clone(), text)));
    }
    let directories = args.config_dir.clone().map_or_else(|| around.directories(), |named| vec![named]);
    for directory in &directories {
        let path = directory.join("devices.yaml");
        match std::fs::read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == ErrorKind::NotFound && args.config_dir.is_none() => (),
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(None)
}

/// The text of a file that must be there.
pub(crate) fn text_of(path: &FilePath) -> Result<Vec<u8>, Faults> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &FilePath, error: &std::io::Error) -> Faults {
    Fault::error(path.display().to_string(), format!("cannot be read: {error}")).into()
}

/// Reads what a file says under environment and flags; `by_name` is whether the process was called by the foreign name.
pub(crate) fn from_file(
    found: Option<&(PathBuf, Vec<u8>)>,
    layers: &Layers,
    by_name: bool,
) -> Result<FromFile, Faults> {
    let Some((path, text)) = found else {
        let (scalars, warnings) = layers.load::<DevicesFile>()?;
        return Ok(FromFile { scalars, resources: Vec::new(), log_level: None, warnings });
    };
    let name = path.display().to_string();
    if path.extension().is_some_and(|ending| ending == "toml") {
        return Err(Fault::error(name, "TOML is not read").help("write it as YAML, with the same keys").into());
    }
    let document = one(&name, text)?;
    let foreign = document.as_ref().filter(|document| gdp::dialect::is_file_of_gdp(document.value(), by_name));
    if let Some(document) = foreign {
        let mut read = of_gdp(document, layers)?;
        if !by_name {
            let told = "it has only keys of the generic-device-plugin and is read as its file: containers get no \
                        OUTRIGGER_DEVICE_ variables, and a key that nobody knows is passed over";
            read.warnings.extend([Fault::warning(name, told).help("to make it ours, set `ids: short`")]);
        }
        return Ok(read);
    }
    let (mut scalars, warnings) = layers.clone().file(name, text.clone()).load::<DevicesFile>()?;
    let lists = [("devices", std::mem::take(&mut scalars.devices)), ("device", std::mem::take(&mut scalars.device))];
    let located = |document: &Arc<Document>, key: &str, at: usize, resource| Located {
        resource,
        place: Place::new(Arc::clone(document), Path::default().key(key).index(at), Arc::default()),
        gdp: false,
    };
    let resources = document.iter().flat_map(|document| {
        lists.clone().into_iter().flat_map(move |(key, list)| {
            list.into_iter().enumerate().map(move |(at, resource)| located(document, key, at, resource))
        })
    });
    Ok(FromFile { resources: resources.collect(), scalars, log_level: None, warnings })
}

/// The only document of a text; none where there is nothing in it.
fn one(name: &str, text: &[u8]) -> Result<Option<Arc<Document>>, Faults> {
    let mut documents = read(name, text)?;
    if let Some(second) = documents.get(1) {
        return Err(second.fault(&Path::default(), "a second document begins here").into());
    }
    Ok(documents.pop().map(Arc::new))
}

/// A file of the generic-device-plugin's, under our environment and flags.
fn of_gdp(document: &Arc<Document>, layers: &Layers) -> Result<FromFile, Faults> {
    let (read, mut faults) = gdp::read::file(document);
    let gdp::read::GdpFile { domain, listen, log_level, plugin_directory, devices } = read;
    let admin = listen.and_then(|listen| match gdp::command::listen_address(&listen) {
        Ok(address) => Some(address),
        Err(message) => {
            faults.push(document.fault(&Path::default().key("listen"), message));
            None
        }
    });
    let over = layers.load::<DevicesFile>();
    let (((), warnings), (over, odd)) = both(faults.into_result(()), over)?;
    let scalars = DevicesFile {
        domain: over.domain.or(domain),
        plugin_directory: over.plugin_directory.or(plugin_directory),
        admin: over.admin.or(admin),
        ..over
    };
    let warnings = warnings.into_iter().chain(odd).collect();
    Ok(FromFile { scalars, resources: devices, log_level, warnings })
}

/// What the `--device` flags say.
pub(crate) struct FromFlags {
    resources: Vec<Located>,
    warnings: Faults,
}

/// Reads the values of `--device`, each in the dialect that it is written in.
pub(crate) fn from_flags(values: &[String], by_name: bool) -> Result<FromFlags, Faults> {
    let mut read = FromFlags { resources: Vec::new(), warnings: Faults::default() };
    let mut wrong = Faults::default();
    for (at, value) in values.iter().enumerate() {
        let name = if values.len() == 1 { "--device".to_owned() } else { format!("--device {}", at + 1) };
        match from_flag(&name, value, by_name) {
            Ok((resource, warnings)) => {
                read.resources.push(resource);
                read.warnings.extend(warnings);
            }
            Err(faults) => wrong.extend(faults),
        }
    }
    wrong.into_result(()).map(|((), _)| read)
}

fn from_flag(name: &str, value: &str, by_name: bool) -> Result<(Located, Faults), Faults> {
    let document = one(name, value.as_bytes())?.ok_or_else(|| gdp::read::empty(name))?;
    if gdp::dialect::is_device_of_gdp(document.value(), by_name) {
        let (device, faults) = gdp::read::device(&document);
        let ((), warnings) = faults.into_result(())?;
        return device.map(|device| (device, warnings)).ok_or_else(|| gdp::read::empty(name).into());
    }
    let (resource, warnings) = Layers::new(PREFIX).file(name, value).load::<Resource>()?;
    Ok((Located { resource, place: Place::new(document, Path::default(), Arc::default()), gdp: false }, warnings))
}
