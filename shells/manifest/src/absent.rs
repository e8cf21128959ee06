//! What a pod refers to and nothing beside it can give: a kubelet would wait for it, but where pods come from files nobody
//! would bring it later. So it can be refused before anything starts, with the place that names it.
//!
//! It reads names only; whether a Secret has what a volume wants of it is seen where the volume is laid out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, PodSpec, Volume};

use crate::beside::Beside;
use crate::containers::with_fields;

/// One thing that is absent.
#[derive(Debug, PartialEq, Eq)]
pub struct Absent {
    /// The field that names it, below `spec`.
    pub path: String,
    /// What is absent.
    pub message: String,
    /// What would have to be given.
    pub missing: Missing,
}

/// What would have to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A `ConfigMap`, or a key of one.
    ConfigMap,
    /// A Secret, or a key of one.
    Secret,
    /// A directory for the persistent volume claim of this name.
    Directory(String),
}

/// The keys of each object beside the pod, by its name.
type Known = BTreeMap<String, BTreeSet<String>>;

/// Everything that `spec` refers to and `beside` does not hold.
pub fn absent(spec: &PodSpec, beside: &Beside) -> Vec<Absent> {
    let maps = beside.config_maps.iter().map(|map| {
        let keys = map.data.iter().flat_map(BTreeMap::keys).chain(map.binary_data.iter().flat_map(BTreeMap::keys));
        (map.metadata.name.clone().unwrap_or_default(), keys.cloned().collect())
    });
    let secrets = beside.secrets.iter().map(|secret| {
        let keys =
            secret.data.iter().flat_map(BTreeMap::keys).chain(secret.string_data.iter().flat_map(BTreeMap::keys));
        (secret.metadata.name.clone().unwrap_or_default(), keys.cloned().collect())
    });
    let mut search = Search { maps: maps.collect(), secrets: secrets.collect(), found: Vec::new() };
    for (path, container) in with_fields(spec) {
        search.container(&path, container);
    }
    for (at, volume) in spec.volumes.iter().flatten().enumerate() {
        search.volume(&format!("volumes[{at}]"), volume, beside);
    }
    search.found
}

struct Search {
    maps: Known,
    secrets: Known,
    found: Vec<Absent>,
}

impl Search {
    fn container(&mut self, path: &str, container: &Container) {
        for (at, from) in container.env_from.iter().flatten().enumerate() {
            let path = format!("{path}.envFrom[{at}]");
            if let Some(of) = &from.config_map_ref {
                self.config_map(format!("{path}.configMapRef.name"), &of.name, None, of.optional);
            }
            if let Some(of) = &from.secret_ref {
                self.secret(format!("{path}.secretRef.name"), &of.name, None, of.optional);
            }
        }
        for (at, variable) in container.env.iter().flatten().enumerate() {
            let Some(EnvVarSource { config_map_key_ref, secret_key_ref, .. }) = &variable.value_from else { continue };
            let path = format!("{path}.env[{at}].valueFrom");
            if let Some(of) = config_map_key_ref {
                self.config_map(format!("{path}.configMapKeyRef"), &of.name, Some(&of.key), of.optional);
            }
            if let Some(of) = secret_key_ref {
                self.secret(format!("{path}.secretKeyRef"), &of.name, Some(&of.key), of.optional);
            }
        }
    }

    fn volume(&mut self, path: &str, volume: &Volume, beside: &Beside) {
        if let Some(of) = &volume.config_map {
            self.config_map(format!("{path}.configMap.name"), &of.name, None, of.optional);
        }
        if let Some(of) = &volume.secret {
            let name = of.secret_name.as_deref().unwrap_or_default();
            self.secret(format!("{path}.secret.secretName"), name, None, of.optional);
        }
        for (at, source) in volume.projected.iter().flat_map(|it| it.sources.iter().flatten()).enumerate() {
            let path = format!("{path}.projected.sources[{at}]");
            if let Some(of) = &source.config_map {
                self.config_map(format!("{path}.configMap.name"), &of.name, None, of.optional);
            }
            if let Some(of) = &source.secret {
                self.secret(format!("{path}.secret.name"), &of.name, None, of.optional);
            }
        }
        if let Some(claim) = volume.persistent_volume_claim.as_ref().map(|of| &of.claim_name)
            && !beside.claim_directories.contains_key(claim)
        {
            self.found.push(Absent {
                path: format!("{path}.persistentVolumeClaim.claimName"),
                message: format!("no directory is given for the claim {claim}"),
                missing: Missing::Directory(claim.clone()),
            });
        }
    }

    fn config_map(&mut self, path: String, name: &str, key: Option<&str>, optional: Option<bool>) {
        let message = missing("ConfigMap", self.maps.get(name), name, key, optional);
        self.found.extend(message.map(|message| Absent { path, message, missing: Missing::ConfigMap }));
    }

    fn secret(&mut self, path: String, name: &str, key: Option<&str>, optional: Option<bool>) {
        let message = missing("Secret", self.secrets.get(name), name, key, optional);
        self.found.extend(message.map(|message| Absent { path, message, missing: Missing::Secret }));
    }
}

fn missing(
    kind: &str,
    keys: Option<&BTreeSet<String>>,
    name: &str,
    key: Option<&str>,
    optional: Option<bool>,
) -> Option<String> {
    match (keys, key) {
        _ if optional == Some(true) => None,
        (None, _) => Some(format!("the {kind} {name} is not among the manifests")),
        (Some(keys), Some(key)) if !keys.contains(key) => Some(format!("the {kind} {name} has no key {key}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(spec: &serde_json::Value, beside: &Beside) -> Vec<String> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        absent(&spec, beside).into_iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
    }

    #[test]
    fn what_is_absent_is_named_where_it_is_referred_to() {
        let spec = json!({
            "containers": [{"name": "a",
                "envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s", "optional": true}}],
                "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "here", "key": "other"}}}]}],
            "volumes": [
                {"name": "v", "projected": {"sources": [{"downwardAPI": {}}, {"secret": {"name": "s"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
        let mut beside = Beside {
            secrets: vec![
                serde_json::from_value(json!({"metadata": {"name": "here"}, "stringData": {"key": "x"}})).unwrap(),
            ],
            ..Beside::default()
        };
        assert_eq!(
            paths(&spec, &beside),
            [
                "containers[0].envFrom[0].configMapRef.name: the ConfigMap m is not among the manifests",
                "containers[0].env[0].valueFrom.secretKeyRef: the Secret here has no key other",
                "volumes[0].projected.sources[1].secret.name: the Secret s is not among the manifests",
                "volumes[1].persistentVolumeClaim.claimName: no directory is given for the claim data",
            ]
        );
        beside.claim_directories.insert("data".into(), "/srv".into());
        assert_eq!(paths(&spec, &beside).len(), 3);
    }
}
