//! A document of the generic-device-plugin's to our types: keys in any case, unknown ones passed over with a warning,
//! vendor, product and serial as they stand in the text.
//!
//! Source: `main.go`, `config.go` and `deviceplugin/{generic,path,usb}.go` of squat/generic-device-plugin 179b1fe. What
//! that program accepts and then fails at (an unknown `type`, odd permissions, an empty group) is refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_config::{Document, Fault, Faults, Path, Verbatim};
use serde_json::{Map, Value};

use crate::file::{Group, PathKind, PathRule, Resource, UsbRule};
use crate::place::{Located, Place, Spelling};

/// What a file of the generic-device-plugin's may say.
#[derive(Debug, Default)]
pub struct GdpFile {
    /// `domain`.
    pub domain: Option<String>,
    /// `listen`, as Go writes addresses.
    pub listen: Option<String>,
    /// `log-level`.
    pub log_level: Option<String>,
    /// `plugin-directory`.
    pub plugin_directory: Option<String>,
    /// The devices, with their places.
    pub devices: Vec<Located>,
}

/// Reads a whole file.
pub fn file(document: &Arc<Document>) -> (GdpFile, Faults) {
    let mut reader = Reader::new(document);
    let top = Path::default();
    let mut read = GdpFile::default();
    let Some(mut keys) = reader.keys(document.value(), &top, "a map of keys and values") else {
        return (read, reader.faults);
    };
    read.domain = reader.text(&mut keys, "domain");
    read.listen = reader.text(&mut keys, "listen");
    read.log_level = reader.text(&mut keys, "log-level");
    read.plugin_directory = reader.text(&mut keys, "plugin-directory");
    for unused in ["config", "version"] {
        keys.take(unused);
    }
    let mut devices = Vec::new();
    for name in ["devices", "device"] {
        for (value, path) in reader.list(&mut keys, name) {
            devices.extend(reader.device(value, &path).map(|device| (device, path)));
        }
    }
    reader.pass_over(keys);
    read.devices = located(devices, document, reader.spelling);
    (read, reader.faults)
}

/// Reads the value of one `--device`.
pub fn device(document: &Arc<Document>) -> (Option<Located>, Faults) {
    let mut reader = Reader::new(document);
    let device = reader.device(document.value(), &Path::default());
    let devices = device.into_iter().map(|device| (device, Path::default())).collect();
    (located(devices, document, reader.spelling).pop(), reader.faults)
}

fn located(devices: Vec<(Resource, Path)>, document: &Arc<Document>, spelling: Spelling) -> Vec<Located> {
    let spelling = Arc::new(spelling);
    let place = |path| Place::new(Arc::clone(document), path, Arc::clone(&spelling));
    devices.into_iter().map(|(resource, path)| Located { resource, place: place(path), gdp: true }).collect()
}

/// The keys of one map, by their names in lower case, each with how it is written.
struct Keys<'d> {
    path: Path,
    entries: BTreeMap<String, (&'d str, &'d Value)>,
}

impl<'d> Keys<'d> {
    fn new(map: &'d Map<String, Value>, path: &Path) -> Self {
        let entries = map.iter().filter(|(_, value)| !value.is_null());
        let entries = entries.map(|(key, value)| (key.to_lowercase(), (key.as_str(), value))).collect();
        Self { path: path.clone(), entries }
    }

    fn take(&mut self, name: &str) -> Option<(&'d str, &'d Value)> {
        self.entries.remove(&name.to_lowercase())
    }
}

struct Reader<'d> {
    document: &'d Document,
    faults: Faults,
    spelling: Spelling,
}

impl<'d> Reader<'d> {
    fn new(document: &'d Document) -> Self {
        Self { document, faults: document.warnings().clone(), spelling: Spelling::default() }
    }

    fn fault(&mut self, path: &Path, message: impl Into<String>) {
        self.faults.push(self.document.fault(&self.spelling.written(path), message));
    }

    fn keys(&mut self, value: &'d Value, path: &Path, expected: &str) -> Option<Keys<'d>> {
        if let Value::Object(map) = value {
            return Some(Keys::new(map, path));
        }
        self.fault(path, format!("expected {expected}, found {}", kind(value)));
        None
    }

    /// Takes a value, and notes how its key is written.
    fn take(&mut self, keys: &mut Keys<'d>, name: &str) -> Option<(Path, &'d Value)> {
        let (written, value) = keys.take(name)?;
        let path = keys.path.key(name);
        if written != name {
            self.spelling.note(path.clone(), written);
        }
        Some((path, value))
    }

    fn text(&mut self, keys: &mut Keys<'d>, name: &str) -> Option<String> {
        let (path, value) = self.take(keys, name)?;
        if let Value::String(text) = value {
            return Some(text.clone());
        }
        self.fault(&path, format!("expected text, found {}", kind(value)));
        None
    }

    /// A scalar as it stands in the text: neither octal nor decimal, and with its zeros.
    fn verbatim(&mut self, keys: &mut Keys<'d>, name: &str) -> Option<String> {
        let (path, value) = self.take(keys, name)?;
        let written = self.document.written(&self.spelling.written(&path));
        if written.is_none() {
            self.fault(&path, format!("expected text, found {}", kind(value)));
        }
        written.map(|written| written.text)
    }

    fn number(&mut self, keys: &mut Keys<'d>, name: &str) -> Option<u32> {
        let (path, value) = self.take(keys, name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            self.fault(&path, format!("expected a whole number from 0 to {}, found {}", u32::MAX, kind(value)));
        }
        number.filter(|number| *number > 0)
    }

    fn boolean(&mut self, keys: &mut Keys<'d>, name: &str) -> Option<bool> {
        let (path, value) = self.take(keys, name)?;
        if !value.is_boolean() {
            self.fault(&path, format!("expected true or false, found {}", kind(value)));
        }
        value.as_bool()
    }

    fn list(&mut self, keys: &mut Keys<'d>, name: &str) -> Vec<(&'d Value, Path)> {
        let Some((path, value)) = self.take(keys, name) else { return Vec::new() };
        let Value::Array(values) = value else {
            self.fault(&path, format!("expected a list, found {}", kind(value)));
            return Vec::new();
        };
        values.iter().enumerate().map(|(at, value)| (value, path.index(at))).collect()
    }

    fn pass_over(&mut self, keys: Keys<'d>) {
        for (written, _) in keys.entries.into_values() {
            let path = self.spelling.written(&keys.path).key(written);
            let at = self.document.key_position(&path);
            let message = "unknown key, passed over as the generic-device-plugin does";
            self.faults.push(Fault::warning(self.document.file(), message).at(at).path(&path));
        }
    }

    fn device(&mut self, value: &'d Value, path: &Path) -> Option<Resource> {
        let mut keys = self.keys(value, path, "a device: a map with the keys name and groups")?;
        let name = self.text(&mut keys, "name").map(|name| name.trim().to_owned());
        let groups = self.list(&mut keys, "groups");
        self.pass_over(keys);
        match &name {
            None => self.fault(&path.key("name"), "this key is missing"),
            Some(name) if !is_name(name) => {
                let message =
                    format!("{name:?} is no name of a device: small letters, digits and inner dashes, at least two");
                self.fault(&path.key("name"), message);
            }
            Some(_) => (),
        }
        let groups = groups.into_iter().filter_map(|(value, path)| self.group(value, &path)).collect();
        Some(Resource { name, groups, ..Resource::default() })
    }

    fn group(&mut self, value: &'d Value, path: &Path) -> Option<Group> {
        let mut keys = self.keys(value, path, "a group: a map with the keys paths or usb")?;
        let count = self.number(&mut keys, "count");
        let paths = self.list(&mut keys, "paths");
        let usb = self.list(&mut keys, "usb");
        self.pass_over(keys);
        if paths.is_empty() == usb.is_empty() {
            let both = if paths.is_empty() {
                "nothing is given that it selects by: paths or usb, or of ours block, serial, video or counted"
            } else {
                "paths and usb cannot stand in one group"
            };
            self.fault(path, both);
            return None;
        }
        let paths: Vec<PathRule> = paths.into_iter().filter_map(|(value, path)| self.path(value, &path)).collect();
        let usb: Vec<UsbRule> = usb.into_iter().filter_map(|(value, path)| self.usb(value, &path)).collect();
        let given = |empty: bool| (!empty).then_some(());
        Some(Group {
            count,
            paths: given(paths.is_empty()).map(|()| paths),
            usb: given(usb.is_empty()).map(|()| usb),
            ..Group::default()
        })
    }

    fn path(&mut self, value: &'d Value, path: &Path) -> Option<PathRule> {
        let mut keys = self.keys(value, path, "a map with the key path")?;
        let kind = match self.text(&mut keys, "type").as_deref() {
            None | Some("") => None,
            Some("Device") => Some(PathKind::Device),
            Some("Mount") => Some(PathKind::Mount),
            Some(other) => {
                self.fault(&path.key("type"), format!("expected Device or Mount, found {other:?}"));
                None
            }
        };
        let rule = PathRule {
            path: self.text(&mut keys, "path").map(|path| path.trim().to_owned()),
            mount_path: self.text(&mut keys, "mountPath").filter(|path| !path.is_empty()),
            permissions: self.text(&mut keys, "permissions").filter(|text| !text.is_empty()),
            kind,
            read_only: self.boolean(&mut keys, "readOnly"),
            limit: self.number(&mut keys, "limit"),
            optional: self.boolean(&mut keys, "optional"),
        };
        self.pass_over(keys);
        if rule.path.is_none() {
            self.fault(&path.key("path"), "this key is missing");
        }
        Some(rule)
    }

    fn usb(&mut self, value: &'d Value, path: &Path) -> Option<UsbRule> {
        let mut keys = self.keys(value, path, "a map with the keys vendor and product")?;
        let mut id = |reader: &mut Self, name: &str| {
            let id = reader.verbatim(&mut keys, name)?;
            if u16::from_str_radix(&id, 16).is_err() {
                reader.fault(&path.key(name), format!("{id:?} is no hexadecimal number of 16 bits such as 1209"));
            }
            Some(Verbatim(id))
        };
        let (vendor, product) = (id(self, "vendor"), id(self, "product"));
        let serial = self.verbatim(&mut keys, "serial").filter(|serial| !serial.is_empty()).map(Verbatim);
        self.pass_over(keys);
        // Where a number is not given, that program compares with 0.
        let number = |id: Option<Verbatim>| Some(id.unwrap_or_else(|| Verbatim::from("0000")));
        Some(UsbRule { vendor: number(vendor), product: number(product), serial, ..UsbRule::default() })
    }
}

/// `^[a-z0-9][-a-z0-9]*[a-z0-9]$`
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() >= 2 && name.chars().all(allowed) && !name.starts_with('-') && !name.ends_with('-')
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(on) => format!("the boolean {on}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// A fault of a `--device` that holds nothing at all, which crashes that program.
pub fn empty(flag: &str) -> Fault {
    Fault::error(flag, "no device is described here")
        .help("write it as YAML: {name: serial, groups: [{paths: [{path: /dev/ttyS0}]}]}")
}
