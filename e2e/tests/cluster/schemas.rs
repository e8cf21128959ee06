//! Schemas of the kinds that manifests name, as an API server itself describes them, in the form that `kubeconform` reads.
//!
//! They are strict: a field that the API server does not know is a fault. Source: `OpenAPI` v3 as served below
//! `/openapi/v3` (`k8s.io/kube-openapi/pkg/handler3`), and `kubeconform`'s `pkg/registry/registry.go` for names of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use outrigger_e2e::cluster::Cluster;
use serde_json::{Value, json};

/// Where `kubeconform` looks for a kind: the group is `v1` where there is none.
const NAMES: &str = "{{.Group}}-{{.ResourceAPIVersion}}-{{.ResourceKind}}.json";

/// A kind with its version, as a manifest writes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub api_version: String,
    pub kind: String,
}

impl Kind {
    fn group(&self) -> Option<&str> {
        self.api_version.split_once('/').map(|(group, _)| group)
    }

    fn file(&self) -> String {
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        format!("{}-{version}-{}.json", self.group().unwrap_or(version), self.kind.to_lowercase())
    }

    /// Whether it is among those that a schema says it describes.
    fn is_of(&self, schema: &Value) -> bool {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        let wanted = json!({"group": group, "version": version, "kind": self.kind});
        kinds.into_iter().flatten().any(|kind| *kind == wanted)
    }
}

/// Writes the schemas of these kinds into a directory, and answers what `-schema-location` is to be.
pub fn write(cluster: &Cluster, kinds: &BTreeSet<Kind>, directory: &Path) -> Result<String> {
    let mut served = BTreeMap::new();
    for kind in kinds {
        let root = if kind.group().is_some() { "apis" } else { "api" };
        let path = format!("/openapi/v3/{root}/{}", kind.api_version);
        if !served.contains_key(&path) {
            let told: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", &path])?)?;
            served.insert(path.clone(), strict_all(&told["components"]["schemas"]));
        }
        let definitions = &served[&path];
        let named = definitions.as_object().into_iter().flatten().find(|(_, schema)| kind.is_of(schema));
        let (name, _) = named.with_context(|| format!("the API server has no kind {} in {path}", kind.kind))?;
        let whole = json!({"$ref": reference(name), "definitions": definitions});
        std::fs::write(directory.join(kind.file()), whole.to_string())?;
    }
    Ok(directory.join(NAMES).display().to_string())
}

fn reference(name: &str) -> String {
    format!("#/definitions/{name}")
}

fn strict_all(schemas: &Value) -> Value {
    schemas.as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), strict(schema))).collect()
}

/// A schema that allows nothing that it does not name. What `anyOf`, `oneOf` and `not` hold are conditions, and stay.
fn strict(schema: &Value) -> Value {
    let mut strict_one = schema.clone();
    let Some(fields) = strict_one.as_object_mut() else { return strict_one };
    if let Some(name) = schema["$ref"].as_str().and_then(|whole| whole.rsplit('/').next()) {
        fields.insert("$ref".into(), json!(reference(name)));
    }
    if let Some(properties) = fields.get_mut("properties") {
        *properties = strict_all(properties);
        let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
        fields.entry("additionalProperties").or_insert(json!(is_open));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(key) {
            *inner = strict(inner);
        }
    }
    if let Some(all) = fields.get_mut("allOf").and_then(Value::as_array_mut) {
        for one in all {
            *one = strict(one);
        }
    }
    strict_one
}

#[test]
fn a_strict_schema_allows_only_what_it_names() {
    let open = json!({"type": "object", "properties": {
        "properties": {"type": "object", "additionalProperties": {"allOf": [{"$ref": "#/components/schemas/a.B"}]}},
        "list": {"items": {"properties": {"x": {"type": "string"}}}},
        "any": {"properties": {}, "x-kubernetes-preserve-unknown-fields": true},
    }});
    let closed = strict(&open);
    assert_eq!(closed["additionalProperties"], false);
    assert_eq!(closed["properties"]["properties"]["additionalProperties"]["allOf"][0]["$ref"], "#/definitions/a.B");
    assert_eq!(closed["properties"]["list"]["items"]["additionalProperties"], false);
    assert_eq!(closed["properties"]["any"]["additionalProperties"], true);
    assert!(closed["properties"].get("additionalProperties").is_none());
}

#[test]
fn files_are_named_as_kubeconform_asks_for_them() {
    let kind = |api_version: &str, kind: &str| Kind { api_version: api_version.into(), kind: kind.into() };
    assert_eq!(kind("v1", "ConfigMap").file(), "v1-v1-configmap.json");
    assert_eq!(kind("apps/v1", "DaemonSet").file(), "apps-v1-daemonset.json");
}
