//! What a container's process sees of its environment: variables, command and arguments at one start.
//!
//! A kubelet computes these at each start, and so does this: the pod's address is known only then, and a missing `ConfigMap`
//! may be there next time. Values of Secrets are told apart, so that nobody records them.
//!
//! What it does not do: it reads no `ConfigMap`; they are handed to it as [`Sources`].

mod downward;
mod expand;

pub use downward::{field, resource};
pub use expand::{expand, expand_strict};

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, EnvVarSource, Secret};

use crate::life::PodAddresses;
use crate::plan::{ContainerPlan, PodPlan};
use crate::quantity::Quantity;

/// Bytes of all variables or all arguments together: more than Linux gives to a process (at most 6 MiB, `execve(2)`).
const MOST: usize = 8 << 20;

/// The objects that a pod refers to, all of its own namespace, by name.
#[derive(Clone, Default, PartialEq)]
pub struct Sources {
    /// `ConfigMaps`.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// The text of the service account token, where one was given.
    pub token: Option<Vec<u8>>,
    /// Trust bundles by name (or signer name), where they were given.
    pub trust_bundles: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Sources {
    /// Names, never values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("config_maps", &self.config_maps.keys())
            .field("secrets", &self.secrets.keys())
            .field("trust_bundles", &self.trust_bundles.keys())
            .finish_non_exhaustive()
    }
}

/// What is known only when a pod runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The pod's and the host's addresses.
    pub addresses: PodAddresses,
    /// `spec.nodeName`: this machine's name.
    pub node_name: String,
    /// What the machine has, by resource name: a container without a limit may use this much.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// A container's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// By name. The order in which a kubelet gives them is chance; ours is that of their names.
    pub variables: BTreeMap<String, String>,
    /// The names whose values come from a Secret, or were expanded from one that does: never to be shown or recorded.
    pub secret: BTreeSet<String>,
}

/// Why a container cannot be configured: the message of `CreateContainerConfigError`, word for word a kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The variables of a container at one start (`pkg/kubelet/kubelet_pods.go`, `makeEnvironmentVariables`): `envFrom` first,
/// then `env` in its order, where a reference sees what stands before it.
pub fn environment(
    plan: &PodPlan,
    container: &ContainerPlan,
    sources: &Sources,
    facts: &Facts,
) -> Result<Environment, ConfigError> {
    let mut made = Environment::default();
    for from in &container.env_from {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let map = config_map(sources, &reference.name, reference.optional)?;
            for (key, value) in map.and_then(|map| map.data.as_ref()).into_iter().flatten() {
                made.set(format!("{prefix}{key}"), value.clone(), false);
            }
        } else if let Some(reference) = &from.secret_ref {
            let secret = secret(sources, &reference.name, reference.optional)?;
            for (key, value) in secret.map(secret_data).into_iter().flatten() {
                made.set(format!("{prefix}{key}"), text(&value), true);
            }
        }
    }
    let mut size = 0;
    for variable in &container.env {
        match &variable.value_from {
            Some(from) if variable.value.as_deref().unwrap_or_default().is_empty() => {
                let scope = Scope { plan, container, sources, facts };
                if let Some((value, is_secret)) = scope.value(from)? {
                    made.set(variable.name.clone(), value, is_secret);
                }
            }
            _ => made.set_literal(variable),
        }
        size += made.variables.get(&variable.name).map_or(0, String::len);
        if size > MOST {
            return Err(ConfigError("the variables are larger than what a process can be given (6 MiB)".to_owned()));
        }
    }
    Ok(made)
}

impl Environment {
    fn set(&mut self, name: String, value: String, is_secret: bool) {
        if is_secret {
            self.secret.insert(name.clone());
        } else {
            self.secret.remove(&name);
        }
        self.variables.insert(name, value);
    }

    fn set_literal(&mut self, variable: &EnvVar) {
        let mut is_secret = false;
        let value = expand(variable.value.as_deref().unwrap_or_default(), |name| {
            is_secret |= self.secret.contains(name);
            self.variables.get(name).cloned()
        });
        self.set(variable.name.clone(), value, is_secret);
    }

    /// Expands `$(VAR)` in a command or its arguments; unknown names stay as they are
    /// (`pkg/kubelet/container/helpers.go`, `ExpandContainerCommandAndArgs`).
    pub fn expand_all(&self, words: &[String]) -> Vec<String> {
        let mut size = 0;
        let expanded = words.iter().map(|word| {
            // With so many bytes no process starts, whatever follows.
            let word = if size > MOST { word.clone() } else { expand(word, |name| self.variables.get(name).cloned()) };
            size += word.len();
            word
        });
        expanded.collect()
    }
}

/// Where a value is looked up.
struct Scope<'a> {
    plan: &'a PodPlan,
    container: &'a ContainerPlan,
    sources: &'a Sources,
    facts: &'a Facts,
}

impl Scope<'_> {
    /// The value and whether it is secret; `None` where it is optional and missing: the variable is then not set.
    fn value(&self, from: &EnvVarSource) -> Result<Option<(String, bool)>, ConfigError> {
        let namespace = &self.plan.namespace;
        if let Some(reference) = &from.field_ref {
            return field(self.plan, self.facts, &reference.field_path).map(|value| Some((value, false)));
        }
        if let Some(reference) = &from.resource_field_ref {
            return resource(self.plan, Some(self.container), self.facts, reference).map(|value| Some((value, false)));
        }
        if let Some(reference) = &from.config_map_key_ref {
            let Some(map) = config_map(self.sources, &reference.name, reference.optional)? else { return Ok(None) };
            let value = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
            return found(value, reference.optional, || {
                format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name)
            })
            .map(|value| value.map(|value| (value, false)));
        }
        if let Some(reference) = &from.secret_key_ref {
            let Some(secret) = secret(self.sources, &reference.name, reference.optional)? else { return Ok(None) };
            let value = secret_data(secret).remove(&reference.key).map(|value| text(&value));
            return found(value, reference.optional, || {
                format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name)
            })
            .map(|value| value.map(|value| (value, true)));
        }
        Ok(Some((String::new(), false)))
    }
}

fn found<T>(
    value: Option<T>,
    optional: Option<bool>,
    missing: impl FnOnce() -> String,
) -> Result<Option<T>, ConfigError> {
    if value.is_none() && optional != Some(true) { Err(ConfigError(missing())) } else { Ok(value) }
}

/// The `ConfigMap` of this name; a missing one is an error unless it is optional.
pub fn config_map<'a>(
    sources: &'a Sources,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a ConfigMap>, ConfigError> {
    found(sources.config_maps.get(name), optional, || format!("configmap {name:?} not found"))
}

/// The Secret of this name; a missing one is an error unless it is optional.
pub fn secret<'a>(sources: &'a Sources, name: &str, optional: Option<bool>) -> Result<Option<&'a Secret>, ConfigError> {
    found(sources.secrets.get(name), optional, || format!("secret {name:?} not found"))
}

/// A Secret's bytes by key: `data`, over which `stringData` lies, as the API server stores it
/// (`pkg/apis/core/v1/conversion.go`, `Convert_v1_Secret_To_core_Secret`).
pub fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let stored = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    let written = secret.string_data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    stored.chain(written).collect()
}

/// Bytes that stand in base64, as `data` and `binaryData` have them in a manifest; line ends are passed over.
pub fn decode(written: &str) -> Option<Vec<u8>> {
    let compact: String = written.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).ok()
}

/// A process's environment is text here; what is no UTF-8 keeps its valid parts.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
