//! The layers of a process's configuration: flags beat environment, environment beats file.
//!
//! ```text
//! file text ──read──► document ─┐
//! environment ──by setting──────┼─► one value ──check against the schema──► T
//! flags ────────by setting──────┘        and every fault points to the layer it came from
//! ```
//!
//! Nothing here opens files or reads the process environment: both are given.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::check::{Finding, check};
use crate::document::{Document, read};
use crate::fault::{Fault, Faults};
use crate::nearest::nearest;
use crate::path::{Path, Step};
use crate::schema::schema;
use crate::setting::{Kind, Setting, scalars};
use crate::{typed, verbatim};

/// What a process's configuration is made of.
///
/// ```
/// use outrigger_config::{Duration, Layers};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(rename_all = "camelCase")]
/// struct Run {
///     state_dir: String,
///     #[serde(default)]
///     keep: Duration,
/// }
///
/// let layers = Layers::new("OUTRIGGER_RUN")
///     .file("run.yaml", b"stateDir: /var/lib/outrigger\nkeep: 7d\n".to_vec())
///     .environment([("OUTRIGGER_RUN_KEEP".to_owned(), "3d".to_owned())])
///     .flag("stateDir", "/tmp/state");
/// let (run, warnings) = layers.load::<Run>().unwrap();
/// assert_eq!((run.state_dir.as_str(), run.keep.to_string().as_str()), ("/tmp/state", "3d"));
/// assert!(warnings.is_empty());
///
/// let faults = Layers::new("OUTRIGGER_RUN").file("run.yaml", b"statDir: /x\n".to_vec()).load::<Run>().err().unwrap();
/// assert_eq!(
///     faults.to_string(),
///     "run.yaml: stateDir: this key is missing, set it here, by --state-dir or by OUTRIGGER_RUN_STATE_DIR\n\
///      run.yaml:1:1: statDir: unknown key, did you mean \"stateDir\"?",
/// );
/// ```
#[derive(Clone, Debug, Default)]
pub struct Layers {
    prefix: String,
    file: Option<(String, Vec<u8>)>,
    environment: BTreeMap<String, String>,
    flags: Vec<(String, String)>,
}

/// A value that came by flag or environment, and by which.
struct Override {
    path: Path,
    origin: String,
}

impl Layers {
    /// No layer yet. `prefix` begins the names of the environment variables: `OUTRIGGER_RUN`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// With the text of a file (YAML or JSON, one document); `name` is for the reports.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        self.file = Some((name.into(), text.into()));
        self
    }

    /// With these environment variables; those that are no setting of ours are passed over.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let prefix = format!("{}_", self.prefix);
        self.environment.extend(variables.into_iter().filter(|(name, _)| name.starts_with(&prefix)));
        self
    }

    /// With a flag's value; `path` is that of its [`Setting`], such as `log.level`. The last one given holds.
    #[must_use]
    pub fn flag(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((path.into(), value.into()));
        self
    }

    /// The configuration, with the warnings.
    ///
    /// # Errors
    /// Everything that is wrong in any layer, each with its place: line and column of the file, the flag, or the
    /// variable.
    pub fn load<T: DeserializeOwned + JsonSchema>(&self) -> Result<(T, Faults), Faults> {
        let schema = schema::<T>();
        let settings = scalars(&schema, &self.prefix);
        let (document, mut value, mut faults) = self.read_file()?;
        drop_nulls(&mut value);
        if let Some(document) = &document {
            verbatim::restore(&schema, &schema, &mut value, &Path::default(), document);
        }
        let overrides = self.lay_over(&settings, &mut value, &mut faults);
        let reporter =
            Reporter { layers: self, document: document.as_ref(), settings: &settings, overrides: &overrides };
        let written = |path: &Path| match reporter.origin(path) {
            Some(_) => None,
            None => document.as_ref().and_then(|document| document.written(path)),
        };
        let found = check(&schema, &schema, &value, &Path::default(), &written);
        faults.extend(found.into_iter().map(|finding| reporter.fault(finding)));
        faults.sort();
        let ((), warnings) = faults.into_result(())?;
        match typed::read(&value) {
            Ok(config) => Ok((config, warnings)),
            Err(refused) => {
                let finding = Finding { path: refused.path, key: false, message: refused.message, help: String::new() };
                Err(reporter.fault(finding).into())
            }
        }
    }

    fn read_file(&self) -> Result<(Option<Document>, Value, Faults), Faults> {
        let empty = || Value::Object(Map::new());
        let Some((name, text)) = &self.file else { return Ok((None, empty(), Faults::default())) };
        let mut documents = read(name, text)?;
        if documents.len() > 1 {
            let fault = documents[1].fault(&Path::default(), "a second document begins here");
            return Err(fault.help("a configuration is one document").into());
        }
        let Some(document) = documents.pop() else { return Ok((None, empty(), Faults::default())) };
        if !document.value().is_object() {
            return Err(document.fault(&Path::default(), "a configuration is a map of keys and values").into());
        }
        let (value, warnings) = (document.value().clone(), document.warnings().clone());
        Ok((Some(document), value, warnings))
    }

    /// Lays environment and flags over the file's value.
    fn lay_over(&self, settings: &[Setting], value: &mut Value, faults: &mut Faults) -> Vec<Override> {
        let mut overrides = Vec::new();
        let mut lay = |setting: &Setting, origin: String, text: &str, faults: &mut Faults| match setting.read(text) {
            Ok(scalar) => {
                put(value, setting.path.steps(), scalar);
                overrides.push(Override { path: setting.path.clone(), origin });
            }
            Err(message) => faults.push(of_setting(&origin, message, &setting.path)),
        };
        for (name, text) in &self.environment {
            match settings.iter().find(|setting| setting.env == *name) {
                Some(setting) => lay(setting, name.clone(), text, faults),
                // Kubernetes sets variables of its own that begin alike, so only a near miss is worth a word.
                None => faults.extend(
                    nearest(name, settings.iter().map(|setting| setting.env.as_str()))
                        .map(|known| Fault::warning(name, "no such setting").help(format!("did you mean {known}?"))),
                ),
            }
        }
        for (path, text) in &self.flags {
            match settings.iter().find(|setting| setting.path.to_string() == *path) {
                Some(setting) => lay(setting, format!("--{}", setting.flag), text, faults),
                None => faults.push(Fault::error(format!("--{path}"), "no such setting")),
            }
        }
        overrides
    }
}

/// A fault of a flag or a variable. A flag says what it sets; a variable's path tells which key it stands for.
fn of_setting(origin: &str, message: String, path: &Path) -> Fault {
    let fault = Fault::error(origin, message);
    if origin.starts_with("--") { fault } else { fault.path(path) }
}

impl Setting {
    /// The value that this text of a flag or a variable stands for; `Err` says what it should be.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Kind::Text => Some(Value::from(text)),
            Kind::Boolean => match text {
                "true" => Some(Value::from(true)),
                "false" => Some(Value::from(false)),
                _ => return Err(format!("expected true or false, found {text:?}")),
            },
            Kind::Integer => {
                text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
            }
            Kind::Number => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
        }
        .ok_or_else(|| {
            format!(
                "expected {}, found {text:?}",
                if self.kind == Kind::Integer { "a whole number" } else { "a number" }
            )
        })
    }
}

/// A key without a value counts as not written.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => (),
    }
}

/// Puts a scalar at a path of keys, with the maps on the way.
fn put(value: &mut Value, steps: &[Step], scalar: Value) {
    let [Step::Key(key), rest @ ..] = steps else {
        *value = scalar;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(map) = value {
        put(map.entry(key).or_insert(Value::Null), rest, scalar);
    }
}

/// Joins findings to the layer they are about.
struct Reporter<'a> {
    layers: &'a Layers,
    document: Option<&'a Document>,
    settings: &'a [Setting],
    overrides: &'a [Override],
}

impl Reporter<'_> {
    /// The flag or variable that set the value at `path`, if one did; the last holds.
    fn origin(&self, path: &Path) -> Option<&str> {
        let set = self.overrides.iter().rev().find(|set| path.steps().starts_with(set.path.steps()));
        set.map(|set| set.origin.as_str())
    }

    fn fault(&self, finding: Finding) -> Fault {
        let Finding { path, key, message, help } = finding;
        if let Some(origin) = self.origin(&path) {
            return of_setting(origin, message, &path).help(help);
        }
        let file = self.layers.file.as_ref().map_or("configuration", |(name, _)| name.as_str());
        let Some(document) = self.document.filter(|document| document.has(&path)) else {
            let above = self.document.filter(|_| path.steps().len() > 1).map(|document| document.position(&path));
            return Fault::error(file, message).at(above).path(&path).help(self.ways_to_set(&path, help));
        };
        if key { document.key_fault(&path, message) } else { document.fault(&path, message) }.help(help)
    }

    fn ways_to_set(&self, path: &Path, help: String) -> String {
        match self.settings.iter().find(|setting| setting.path == *path) {
            Some(setting) if help.is_empty() => {
                let here = if self.layers.file.is_some() { "here, " } else { "" };
                format!("set it {here}by --{} or by {}", setting.flag, setting.env)
            }
            _ => help,
        }
    }
}
