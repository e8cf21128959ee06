//! What the command line gives to pods: variables, directories for claims.
//!
//! Values of `--env` never reach a plan or a recorded spec: they go into a Secret of ours that lives in memory, and each
//! container refers to its keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, PodSpec, Secret, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The name of our Secret.
pub const SECRET: &str = "outrigger.dev.command-line";

/// The variables of `--env`: names, with values where they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Reads `NAME=VALUE`, and `NAME` whose value is that of our own environment; one that is not set there is left out.
    ///
    /// # Errors
    /// Each argument that is neither.
    pub fn read(args: &[String], ours: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = BTreeMap::new();
        let mut wrong = Vec::new();
        for arg in args {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), ours(arg)),
            };
            if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
                wrong.push(format!("--env {arg:?}: `{name}` cannot be the name of a variable; write NAME=VALUE"));
            } else if let Some(value) = value {
                variables.insert(name.to_owned(), value);
            }
        }
        if wrong.is_empty() { Ok(Self(variables.into_iter().collect())) } else { Err(wrong) }
    }

    /// Our Secret with the values, for the pods of a namespace; none where there are no variables.
    pub fn secret(&self, namespace: &str) -> Option<Secret> {
        let values = self.0.iter().enumerate();
        let data = values.map(|(place, (_, value))| (place.to_string(), ByteString(value.clone().into_bytes())));
        let metadata =
            ObjectMeta { name: Some(SECRET.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() };
        (!self.0.is_empty()).then(|| Secret { metadata, data: Some(data.collect()), ..Secret::default() })
    }

    /// Lays the variables over those of every container of a pod. They stand first, so that others may refer to them.
    pub fn lay_over(&self, spec: &mut PodSpec) {
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if self.0.is_empty() {
                continue;
            }
            let env = container.env.get_or_insert_default();
            env.retain(|variable| !self.0.iter().any(|(name, _)| *name == variable.name));
            env.splice(0..0, self.0.iter().enumerate().map(|(place, (name, _))| reference(name, place)));
        }
    }
}

fn reference(name: &str, place: usize) -> EnvVar {
    let key = SecretKeySelector { name: SECRET.to_owned(), key: place.to_string(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// Reads `NAME=PATH` arguments of `flag`; the paths are made absolute.
///
/// # Errors
/// Each argument that is none, or whose path is not there.
pub fn paths(flag: &str, args: &[String]) -> Result<BTreeMap<String, PathBuf>, Vec<String>> {
    let mut read = BTreeMap::new();
    let mut wrong = Vec::new();
    for arg in args {
        let parts = arg.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
        match parts.map(|(name, path)| (name, std::fs::canonicalize(path))) {
            None => wrong.push(format!("{flag} {arg}: write NAME=PATH")),
            Some((name, Err(error))) => {
                wrong.push(format!("{flag} {arg}: the path for {name} cannot be used: {error}"));
            }
            Some((name, Ok(path))) => {
                read.insert(name.to_owned(), path);
            }
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_reach_every_container_by_reference_and_the_last_one_holds() {
        let args = ["A=1", "B=x=y", "C", "D", "A=2"].map(str::to_owned);
        let variables = Variables::read(&args, |name| (name == "C").then(|| "ours".to_owned())).unwrap();
        let mut spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [{"name": "i"}], "containers": [{"name": "a", "env": [{"name": "A", "value": "0"}]}]}))
        .unwrap();
        variables.lay_over(&mut spec);
        let recorded = serde_json::to_string(&spec).unwrap();
        assert!(!recorded.contains("ours") && !recorded.contains("x=y"), "{recorded}");
        let names: Vec<_> = spec.containers[0].env.iter().flatten().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert_eq!(spec.init_containers.unwrap()[0].env.as_ref().unwrap().len(), 3);
        let data = variables.secret("default").unwrap().data.unwrap();
        assert_eq!(data["0"].0, b"2");
        assert_eq!(data["1"].0, b"x=y");
    }

    #[test]
    fn what_is_no_variable_and_no_path_is_told() {
        assert!(Variables::read(&["=1".into()], |_| None).unwrap_err()[0].contains("NAME=VALUE"));
        let wrong = paths("--volume", &["data".into(), "x=/nonexistent".into()]).unwrap_err();
        assert_eq!(wrong.len(), 2);
        assert!(wrong[1].contains("No such file"));
    }
}
