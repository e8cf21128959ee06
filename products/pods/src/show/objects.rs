//! Kubernetes objects as JSON and YAML, one alone or several as a List.

use outrigger_config::yaml;
use outrigger_pod_directory::Kind;
use serde_json::{Value, json};

use crate::args::Form;

/// An object with the kind and version that it has in the API.
pub fn of_kind(kind: Kind, mut object: Value) -> Value {
    let (version, kind) = match kind {
        Kind::Pod => ("v1", "Pod"),
        Kind::Job => ("batch/v1", "Job"),
    };
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    object
}

/// One object as it is; none or several as a `List`, as kubectl prints them.
pub fn one_or_list(mut objects: Vec<Value>) -> Value {
    if objects.len() == 1 { objects.remove(0) } else { list(objects) }
}

/// Objects as a `List`, also one alone.
pub fn list(objects: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": Value::Array(objects)})
}

/// The text of a value; `None` for the form of people, which is its caller's.
pub fn text(value: &Value, form: Form) -> Option<String> {
    match form {
        Form::Table => None,
        Form::Json => Some(format!("{value:#}\n")),
        Form::Yaml => Some(yaml(value)),
    }
}
