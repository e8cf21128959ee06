//! All that is wrong with a configuration, at once.

mod group;
mod name;

use std::collections::BTreeMap;

use super::fault::{Fault, FieldPath, Severity};
use super::{CountedRule, IdScheme, Resource, Rules, Select};
use crate::decide::wire_size;
use crate::ids::SHORT;

pub use name::{is_cdi_kind, is_resource_name};

/// The kubelet's limit of one list, in bytes.
const LIST_LIMIT: u64 = 4 * 1024 * 1024;

/// Bytes of a socket's path, without the NUL after it (`unix(7)`).
const SOCKET_PATH: usize = 107;

/// Bytes of the socket names that we make ourselves.
const OWN_SOCKET: usize = 26;

/// Hexadecimal digits of a generic-device-plugin id.
const GDP_ID: usize = 40;

/// What templates may hold in braces.
const PLACEHOLDERS: &[&str] = &["id", "path", "serial", "size", "index"];

/// The variables that only we set.
const OWN_VARIABLES: &str = "OUTRIGGER_DEVICE_";

/// Faults, and where the next one is.
#[derive(Default)]
struct Found(Vec<Fault>);

impl Found {
    fn error(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.0.push(Fault { path: path.clone(), severity: Severity::Error, message: message.into() });
    }

    fn warning(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.0.push(Fault { path: path.clone(), severity: Severity::Warning, message: message.into() });
    }

    fn glob(&mut self, path: &FieldPath, text: &str) {
        if let Err(bad) = crate::pattern::check(text) {
            self.error(path, format!("{text:?} is {bad}"));
        }
    }

    fn absolute(&mut self, path: &FieldPath, text: &str) {
        if !text.starts_with('/') {
            self.error(path, format!("{text:?} is no absolute path: begin it with /"));
        } else if text.split('/').any(|step| step == "..") {
            self.error(path, format!("{text:?} leads through ..: write where it ends"));
        }
    }
}

/// Finds all faults, in the order of the file.
pub fn validate(rules: &Rules) -> Vec<Fault> {
    let mut found = Found::default();
    let top = FieldPath::default();
    if rules.resources.is_empty() {
        found.warning(&top.key("devices"), "no resource is configured: nothing will be offered");
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sockets: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, resource) in rules.resources.iter().enumerate() {
        let path = top.key("devices").index(number);
        if let Some(first) = names.insert(&resource.name, number) {
            found.error(&path.key("name"), format!("devices[{first}] has the name {} already", resource.name));
        }
        if let Some(socket) = resource.socket.as_deref()
            && let Some(first) = sockets.insert(socket, number)
        {
            found.error(&path.key("socket"), format!("devices[{first}] has the socket {socket} already"));
        }
        check_resource(rules, resource, &path, &mut found);
    }
    let longest = socket_path_length(&rules.plugin_directory, &"x".repeat(OWN_SOCKET));
    if longest > SOCKET_PATH {
        let message = format!(
            "a socket in {} would have a path of {longest} bytes as the kubelet sees it; {SOCKET_PATH} are possible",
            rules.plugin_directory
        );
        found.error(&top.key("kubeletDirectory"), message);
    }
    found.0
}

/// The bytes of a socket's path in a directory.
pub fn socket_path_length(directory: &str, socket: &str) -> usize {
    directory.trim_end_matches('/').len() + 1 + socket.len()
}

fn check_resource(rules: &Rules, resource: &Resource, path: &FieldPath, found: &mut Found) {
    check_name(resource, path, found);
    if let Some(socket) = &resource.socket {
        check_socket(rules, socket, &path.key("socket"), found);
    }
    if resource.groups.is_empty() {
        found.warning(&path.key("groups"), "it has no groups: it will offer nothing");
    }
    for (number, group) in resource.groups.iter().enumerate() {
        group::check(resource, group, &path.key("groups").index(number), found);
    }
    check_size(rules.ids, resource, path, found);
    if resource.health.unhealthy_after == 0 {
        found.error(&path.key("health").key("unhealthyAfter"), "0 checks would make everything unhealthy: at least 1");
    }
    check_templates(resource, path, found);
}

fn check_name(resource: &Resource, path: &FieldPath, found: &mut Found) {
    let name = &resource.name;
    let at = path.key("name");
    let sample = name.replace("{path}", "x");
    if resource.per_match {
        if !name.contains("{path}") {
            found.error(&at, "with perMatch it must hold {path}, or all matches would be one resource");
        }
        if resource.groups.iter().any(|group| !matches!(group.select, Select::Paths(_))) {
            found.error(&path.key("perMatch"), "only paths can be a resource each");
        }
    }
    if !is_resource_name(if resource.per_match { &sample } else { name }) {
        let message = format!(
            "{name:?} is no name for a resource: a domain of lower-case letters, digits, dashes and dots (not kubernetes.io), \
             a slash, and up to 63 letters, digits, dashes, underscores and dots"
        );
        found.error(&at, message);
    }
    if resource.cdi && !is_cdi_kind(&sample) {
        let message = format!("{name:?} is no kind for CDI: both sides of the slash must begin with a letter");
        found.error(&path.key("cdi"), message);
    }
}

fn check_socket(rules: &Rules, socket: &str, path: &FieldPath, found: &mut Found) {
    let length = socket_path_length(&rules.plugin_directory, socket);
    if socket.is_empty() || socket.contains('/') || socket == "." || socket == ".." {
        found.error(path, format!("{socket:?} is no file name"));
    } else if socket == "kubelet.sock" {
        found.error(path, "kubelet.sock is the kubelet's own");
    } else if length > SOCKET_PATH {
        let message = format!(
            "its path in {} has {length} bytes as the kubelet sees it; {SOCKET_PATH} are possible",
            rules.plugin_directory
        );
        found.error(path, message);
    }
}

/// Whether the units that the configuration alone makes can ever be told to a kubelet.
fn check_size(scheme: IdScheme, resource: &Resource, path: &FieldPath, found: &mut Found) {
    let (mut units, mut bytes) = (0, 0);
    for group in &resource.groups {
        let (slots, is_ours) = match &group.select {
            Select::Counted(CountedRule::Count { count, .. }) => (u64::from(*count), true),
            Select::Counted(CountedRule::Values { values, .. }) => (values.len() as u64, true),
            // One device at the least, or there is nothing to tell.
            _ => (1, false),
        };
        let id = if scheme == IdScheme::Gdp && !is_ours { GDP_ID } else { SHORT };
        units += slots * u64::from(group.count);
        bytes += slots * replicas_size(scheme, id, group.count);
    }
    if bytes > LIST_LIMIT {
        let message = format!(
            "{units} devices take {bytes} bytes, about {} each; a kubelet takes at most {LIST_LIMIT} bytes in one list",
            bytes / units.max(1)
        );
        found.error(path, message);
    }
}

/// The bytes of the replicas of one device.
fn replicas_size(scheme: IdScheme, id: usize, count: u32) -> u64 {
    if count <= 1 || (scheme == IdScheme::Gdp && id == GDP_ID) {
        return u64::from(count) * wire_size(id, &[]) as u64;
    }
    // Replicas of equally many digits are equally long.
    let (mut bytes, mut first) = (0, 0_u64);
    for digits in 1..=10_u32 {
        let end = 10_u64.pow(digits).min(u64::from(count));
        bytes += (end - first) * wire_size(id + 1 + digits as usize, &[]) as u64;
        first = end;
    }
    bytes
}

fn check_templates(resource: &Resource, path: &FieldPath, found: &mut Found) {
    for (name, value) in &resource.env {
        let at = path.key("env").key(name);
        if !group::is_variable(name) {
            found.error(&at, format!("{name:?} is no name for a variable"));
        } else if name.starts_with(OWN_VARIABLES) {
            found.error(&at, format!("names that begin with {OWN_VARIABLES} are set by outrigger itself"));
        }
        check_template(value, &at, found);
    }
    for (name, value) in &resource.annotations {
        check_template(value, &path.key("annotations").key(name), found);
    }
    for (number, mount) in resource.mounts.iter().enumerate() {
        let at = path.key("mounts").index(number);
        for (key, text) in [("hostPath", &mount.host_path), ("containerPath", &mount.container_path)] {
            if !text.starts_with("{path}") {
                found.absolute(&at.key(key), text);
            }
            check_template(text, &at.key(key), found);
        }
    }
}

fn check_template(text: &str, path: &FieldPath, found: &mut Found) {
    for rest in text.split('{').skip(1) {
        let word = rest.split('}').next().filter(|_| rest.contains('}'));
        match word {
            Some(word) if PLACEHOLDERS.contains(&word) => (),
            Some(word) => {
                found.error(path, format!("{{{word}}} is not known: {{{}}} are", PLACEHOLDERS.join("}, {")));
            }
            None => found.error(path, format!("{text:?} has a {{ without its }}")),
        }
    }
}
