//! What a pod refers to and nothing here can give it: a kubelet would wait for it, and here nobody could bring it later. So it is
//! refused before anything starts, with the place that names it.
//!
//! It reads names only; whether a Secret has what a volume wants of it is seen where the volume is laid out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, PodSpec, Volume};

use super::errand::Beside;

/// One thing that is absent.
#[derive(Debug, PartialEq, Eq)]
pub struct Absent {
    /// The field that names it, below `spec`.
    pub path: String,
    /// What is absent.
    pub message: String,
    /// The way out.
    pub help: String,
}

/// The keys of each object beside the pod, by its name.
type Known = BTreeMap<String, BTreeSet<String>>;

/// Everything that `spec` refers to and `beside` does not hold; with `needs_command` also the commands that no image can name.
pub fn absent(spec: &PodSpec, beside: &Beside, needs_command: bool) -> Vec<Absent> {
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
    let init = spec.init_containers.iter().flatten().enumerate().map(|(at, it)| (format!("initContainers[{at}]"), it));
    let main = spec.containers.iter().enumerate().map(|(at, it)| (format!("containers[{at}]"), it));
    for (path, container) in init.chain(main) {
        if needs_command && container.command.as_ref().is_none_or(Vec::is_empty) {
            search.say(
                path.clone(),
                format!(
                    "the container {} has no command, and the host launcher uses no image that could name one",
                    container.name
                ),
                "give it a command, or run it with --launcher apptainer".to_owned(),
            );
        }
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
    fn say(&mut self, path: String, message: String, help: String) {
        self.found.push(Absent { path, message, help });
    }

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
            self.say(
                format!("{path}.persistentVolumeClaim.claimName"),
                format!("no directory is given for the claim {claim}"),
                format!("give one with --volume {claim}=DIR"),
            );
        }
    }

    fn config_map(&mut self, path: String, name: &str, key: Option<&str>, optional: Option<bool>) {
        let missing = missing("ConfigMap", self.maps.get(name), name, key, optional);
        self.found.extend(missing.map(|message| Absent { path, message, help: way_out("--configmap") }));
    }

    fn secret(&mut self, path: String, name: &str, key: Option<&str>, optional: Option<bool>) {
        let missing = missing("Secret", self.secrets.get(name), name, key, optional);
        self.found.extend(missing.map(|message| Absent { path, message, help: way_out("--secret") }));
    }
}

fn way_out(flag: &str) -> String {
    format!("add it to a manifest, or name its file with {flag} FILE")
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

    fn paths(spec: &serde_json::Value, beside: &Beside, needs_command: bool) -> Vec<String> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        absent(&spec, beside, needs_command).into_iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
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
            paths(&spec, &beside, false),
            [
                "containers[0].envFrom[0].configMapRef.name: the ConfigMap m is not among the manifests",
                "containers[0].env[0].valueFrom.secretKeyRef: the Secret here has no key other",
                "volumes[0].projected.sources[1].secret.name: the Secret s is not among the manifests",
                "volumes[1].persistentVolumeClaim.claimName: no directory is given for the claim data",
            ]
        );
        beside.claim_directories.insert("data".into(), "/srv".into());
        assert_eq!(paths(&spec, &beside, false).len(), 3);
    }

    #[test]
    fn a_container_without_a_command_is_refused_where_no_image_could_name_one() {
        let spec = json!({"containers": [{"name": "a", "args": ["x"]}, {"name": "b", "command": ["true"]}]});
        assert!(paths(&spec, &Beside::default(), false).is_empty());
        let told = paths(&spec, &Beside::default(), true);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("containers[0]: the container a has no command"), "{told:?}");
    }
}
