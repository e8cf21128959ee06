//! The files of a volume that Kubernetes objects fill: `configMap`, `secret`, `downwardAPI`, `projected`.
//!
//! The rules are those of `pkg/volume/{configmap,secret,downwardapi,projected}`. Where the files lie on disk, with `..data` and
//! its links, is the pod runner's business; whether a volume belongs in memory is told here ([`holds_secrets`]).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Secret, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};

use crate::env::{ConfigError, Facts, Sources, config_map, field, resource, secret, secret_data};
use crate::plan::PodPlan;

/// A file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for File {
    /// Never the content: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes, mode {:04o})", self.bytes.len(), self.mode)
    }
}

/// Files by their path in the volume, which is relative and has no `..`.
pub type Files = BTreeMap<String, File>;

/// `defaultMode` where the manifest has none.
const DEFAULT_MODE: i32 = 0o644;

/// Whether the volume shows the value of a Secret or a token, and so belongs in memory.
pub fn holds_secrets(volume: &Volume) -> bool {
    let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    let is_secret = |source: &VolumeProjection| source.secret.is_some() || source.service_account_token.is_some();
    volume.secret.is_some() || projected.into_iter().flatten().any(is_secret)
}

/// The files of a volume; `None` for a volume that Kubernetes objects do not fill.
///
/// A missing object or key is an error unless it is optional, in the kubelet's words: the pod then waits with the event
/// `FailedMount`.
pub fn files(plan: &PodPlan, volume: &Volume, sources: &Sources, facts: &Facts) -> Result<Option<Files>, ConfigError> {
    let found = Scope { plan, sources, facts }.volume(volume)?;
    found.map(without_conflicts).transpose()
}

/// `pkg/volume/configmap/configmap.go`, `MakePayload`.
fn from_config_map(
    map: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, ConfigError> {
    let mut bytes = BTreeMap::new();
    if let Some(map) = map {
        let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
        let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        // A key that stands in both is refused by the check; here the text wins, as with a kubelet's items.
        bytes.extend(binary.chain(text));
    }
    select(&bytes, items, mode, optional, |key| format!("configmap references non-existent config key: {key}"))
}

/// `pkg/volume/secret/secret.go`, `MakePayload`.
fn from_secret(
    found: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, ConfigError> {
    let bytes = found.map(secret_data).unwrap_or_default();
    select(&bytes, items, mode, optional, |key| format!("references non-existent secret key: {key}"))
}

/// All keys, or the chosen ones at their paths.
fn select(
    bytes: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    missing: impl Fn(&str) -> String,
) -> Result<Files, ConfigError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(bytes.iter().map(|(key, bytes)| (key.clone(), file(bytes.clone(), mode))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match bytes.get(&item.key) {
            Some(bytes) => {
                files.insert(inside(&item.path)?, file(bytes.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(ConfigError(missing(&item.key))),
        }
    }
    Ok(files)
}

fn file(bytes: Vec<u8>, mode: i32) -> File {
    File { bytes, mode: u32::try_from(mode).unwrap_or(0) & 0o777 }
}

/// A file where another one needs a directory is refused; a kubelet finds that out when it writes.
fn without_conflicts(files: Files) -> Result<Files, ConfigError> {
    for path in files.keys() {
        let mut parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        if let Some(parent) = parents.find(|parent| files.contains_key(*parent)) {
            return Err(ConfigError(format!("invalid path {path:?}: {parent:?} is a file of the same volume")));
        }
    }
    Ok(files)
}

/// A path that stays in its volume, with its idle parts gone (`filepath.Clean`; `validatePath` in
/// `pkg/volume/util/atomic_writer.go`).
fn inside(path: &str) -> Result<String, ConfigError> {
    if path.len() > 4096 || path.split('/').any(|part| part.len() > 255) {
        return Err(ConfigError("invalid path: must have at most 4096 characters, and 255 in each part".to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let leads_out = path.starts_with('/') || parts.is_empty() || parts.contains(&"..") || parts[0].starts_with("..");
    if leads_out {
        return Err(ConfigError(format!(
            "invalid path {path:?}: must be relative and must not lead out of the volume"
        )));
    }
    Ok(parts.join("/"))
}

struct Scope<'a> {
    plan: &'a PodPlan,
    sources: &'a Sources,
    facts: &'a Facts,
}

impl Scope<'_> {
    fn volume(&self, volume: &Volume) -> Result<Option<Files>, ConfigError> {
        if let Some(source) = &volume.config_map {
            let found = config_map(self.sources, &source.name, source.optional)?;
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            return from_config_map(found, source.items.as_deref(), mode, source.optional == Some(true)).map(Some);
        }
        if let Some(source) = &volume.secret {
            let found = secret(self.sources, source.secret_name.as_deref().unwrap_or_default(), source.optional)?;
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            return from_secret(found, source.items.as_deref(), mode, source.optional == Some(true)).map(Some);
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return self.downward(items, source.default_mode.unwrap_or(DEFAULT_MODE)).map(Some);
        }
        volume.projected.as_ref().map(|projected| self.projected(projected)).transpose()
    }

    /// `pkg/volume/downwardapi/downwardapi.go`, `CollectData`.
    fn downward(&self, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Files, ConfigError> {
        let mut files = Files::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(reference), _) => field(self.plan, self.facts, &reference.field_path)?,
                (None, Some(reference)) => resource(self.plan, None, self.facts, reference)?,
                (None, None) => String::new(),
            };
            files.insert(inside(&item.path)?, file(text.into_bytes(), item.mode.unwrap_or(mode)));
        }
        Ok(files)
    }

    /// `pkg/volume/projected/projected.go`, `collectData`: all sources that fail are told together, as there.
    fn projected(&self, projected: &ProjectedVolumeSource) -> Result<Files, ConfigError> {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        let (mut files, mut faults) = (Files::new(), Vec::new());
        for source in projected.sources.iter().flatten() {
            match self.source(source, mode) {
                Ok(more) => files.extend(more),
                Err(ConfigError(fault)) => faults.push(fault),
            }
        }
        match faults.as_slice() {
            [] => Ok(files),
            [one] => Err(ConfigError(one.clone())),
            several => Err(ConfigError(format!("[{}]", several.join(", ")))),
        }
    }

    fn source(&self, source: &VolumeProjection, mode: i32) -> Result<Files, ConfigError> {
        if let Some(source) = &source.config_map {
            let found = config_map(self.sources, &source.name, source.optional)?;
            return from_config_map(found, source.items.as_deref(), mode, source.optional == Some(true));
        }
        if let Some(source) = &source.secret {
            let found = secret(self.sources, &source.name, source.optional)?;
            return from_secret(found, source.items.as_deref(), mode, source.optional == Some(true));
        }
        if let Some(source) = &source.downward_api {
            return self.downward(source.items.as_deref().unwrap_or_default(), mode);
        }
        if let Some(source) = &source.service_account_token {
            return self.token(source, mode);
        }
        if let Some(source) = &source.cluster_trust_bundle {
            let name = source.name.as_deref().or(source.signer_name.as_deref()).unwrap_or_default();
            return match self.sources.trust_bundles.get(name) {
                Some(bytes) => Ok([(inside(&source.path)?, file(bytes.clone(), mode))].into()),
                None if source.optional == Some(true) => Ok([(inside(&source.path)?, file(Vec::new(), mode))].into()),
                None => Err(ConfigError(format!("trust bundle {name:?} not found; give it a file"))),
            };
        }
        Ok(Files::new())
    }

    /// The token is readable by its owner alone where a group or user would get it by ownership.
    fn token(&self, source: &ServiceAccountTokenProjection, mode: i32) -> Result<Files, ConfigError> {
        let Some(token) = &self.sources.token else {
            return Err(ConfigError("no service account token was given; give it a file".to_owned()));
        };
        let mode = if self.plan.fs_group.is_some() { 0o600 } else { mode };
        Ok([(inside(&source.path)?, file(token.clone(), mode))].into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::life::PodAddresses;

    fn sources() -> Sources {
        let map = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"bin": "AAH/"}});
        let secret = json!({"data": {"p": "c2VjcmV0"}});
        Sources {
            config_maps: [("m".to_owned(), serde_json::from_value(map).unwrap())].into(),
            secrets: [("s".to_owned(), serde_json::from_value(secret).unwrap())].into(),
            token: Some(b"token".to_vec()),
            ..Sources::default()
        }
    }

    /// The files as `path=text:mode`, or the refusal.
    fn laid(volume: &Value) -> Result<Vec<String>, String> {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]}});
        let plan = PodPlan::new(serde_json::from_value(pod).unwrap(), "u").unwrap();
        let facts = Facts {
            addresses: PodAddresses { pod: vec![], host: vec![] },
            node_name: String::new(),
            allocatable: BTreeMap::new(),
        };
        let mut volume = volume.clone();
        volume["name"] = json!("v");
        let files = files(&plan, &serde_json::from_value(volume).unwrap(), &sources(), &facts);
        let show =
            |(path, file): (String, File)| format!("{path}={}:{:o}", String::from_utf8_lossy(&file.bytes), file.mode);
        files.map(|files| files.unwrap().into_iter().map(show).collect()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn volumes_hold_what_a_kubelet_puts_there() {
        let table = [
            (json!({"secret": {"secretName": "s", "defaultMode": 256}}), Ok(vec!["p=secret:400"])),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "x/./y", "mode": 448}]}}),
                Ok(vec!["x/y=1:700"]),
            ),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}),
                Err("configmap references non-existent config key: z"),
            ),
            (json!({"configMap": {"name": "m", "optional": true, "items": [{"key": "z", "path": "z"}]}}), Ok(vec![])),
            (json!({"configMap": {"name": "none"}}), Err("configmap \"none\" not found")),
            (json!({"configMap": {"name": "none", "optional": true}}), Ok(vec![])),
            (
                json!({"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}}),
                Err("references non-existent secret key: z"),
            ),
            (
                json!({"downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
                ]}}),
                Ok(vec!["labels=app=\"x\":644", "mem=64:644"]),
            ),
            (
                json!({"projected": {"defaultMode": 288, "sources": [
                    {"configMap": {"name": "m", "items": [{"key": "a", "path": "a"}]}},
                    {"secret": {"name": "s"}},
                    {"serviceAccountToken": {"path": "token"}},
                ]}}),
                Ok(vec!["a=1:440", "p=secret:440", "token=token:440"]),
            ),
            (
                json!({"projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "y"}}]}}),
                Err("[configmap \"x\" not found, secret \"y\" not found]"),
            ),
        ];
        for (volume, expected) in table {
            let expected = expected.map(|files: Vec<&str>| files.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(laid(&volume), expected.map_err(str::to_owned), "{volume}");
        }
    }

    #[test]
    fn binary_data_arrives_byte_for_byte() {
        let files = from_config_map(sources().config_maps.get("m"), None, 0o644, false).unwrap();
        assert_eq!(files["bin"].bytes, [0, 1, 255]);
    }

    #[test]
    fn no_path_leads_out_of_its_volume() {
        for path in ["/etc/passwd", "../x", "a/../../x", "..data", "", "."] {
            let volume = json!({"configMap": {"name": "m", "items": [{"key": "a", "path": path}]}});
            assert!(laid(&volume).unwrap_err().contains("invalid path"), "{path}");
        }
    }

    #[test]
    fn a_file_is_no_directory() {
        let items = json!([{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}]);
        let fault = laid(&json!({"configMap": {"name": "m", "items": items}})).unwrap_err();
        assert_eq!(fault, "invalid path \"x/y\": \"x\" is a file of the same volume");
    }

    #[test]
    fn what_shows_a_secret_belongs_in_memory() {
        let volume = |source: Value| serde_json::from_value::<Volume>(source).unwrap();
        assert!(holds_secrets(&volume(json!({"name": "v", "secret": {"secretName": "s"}}))));
        assert!(holds_secrets(&volume(
            json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})
        )));
        assert!(!holds_secrets(&volume(json!({"name": "v", "configMap": {"name": "m"}}))));
    }

    #[test]
    fn a_file_never_shows_its_content() {
        assert_eq!(format!("{:?}", file(b"secret".to_vec(), 0o600)), "File(6 bytes, mode 0600)");
    }
}
