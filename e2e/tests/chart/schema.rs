//! The schema of the values: what the chart refuses, and that it knows `devices.yaml` as the agent does.

use std::process::Command;

use outrigger_e2e::golden;
use serde_json::{Value, json};

use crate::{chart, refused, rendered};

/// Where the agent's own schema stands in that of the values, between two lines of its own.
const BEGIN: &str = "    \"devicesFile\": {\n";
const END: &str = "\n    }\n  }\n}\n";

/// The agent's own schema as a part of another. What the agent takes as it is written must be text here: Helm has read the
/// values before, and made 259 of `0403`.
fn embedded(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) if fields.get("format") == Some(&json!("outrigger-verbatim")) => {
            let mut text = fields.clone();
            let may_be_none = fields["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
            text.insert("type".into(), if may_be_none { json!(["string", "null"]) } else { json!("string") });
            text.remove("format");
            text.into()
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), embedded(value))).collect(),
        Value::Array(values) => values.iter().map(embedded).collect(),
        Value::String(reference) => json!(reference.replace("#/$defs/", "#/definitions/devicesFile/$defs/")),
        other => other.clone(),
    }
}

#[test]
fn the_schema_of_the_values_has_that_of_the_agents_file() {
    let executable = std::env::var("OUTRIGGER_BIN").expect("`cargo xtask test` names the executable");
    let said = Command::new(executable).args(["schema", "devices"]).output().unwrap();
    let mut own = embedded(&serde_json::from_slice(&said.stdout).unwrap());
    let fields = own.as_object_mut().unwrap();
    for of_a_whole in ["$id", "$schema", "title"] {
        fields.remove(of_a_whole);
    }
    let file = chart().join("values.schema.json");
    let before = std::fs::read_to_string(&file).unwrap();
    let (hand_written, _) = before.split_once(BEGIN).unwrap();
    let own = serde_json::to_string_pretty(&own).unwrap();
    let inner: Vec<String> =
        own.lines().skip(1).take(own.lines().count() - 2).map(|line| format!("    {line}")).collect();
    golden::check(&file, &format!("{hand_written}{BEGIN}{}{END}", inner.join("\n")));
}

/// Values that hold more than the chart names.
const OPEN: &[&str] = &["devices.affinity", "devices.config", "devices.nodeSelector", "devices.resources"];

/// Each value that the chart has, and each that its schema knows.
#[test]
fn the_schema_knows_exactly_the_values_that_there_are() {
    let read = |name: &str| {
        let text = std::fs::read(chart().join(name)).unwrap();
        outrigger_config::read(name, &text).unwrap()[0].value().clone()
    };
    let mut known = leaves("", &read("values.yaml"), |values| values.as_object().filter(|map| !map.is_empty()));
    let mut described = leaves("", &read("values.schema.json"), |schema| schema["properties"].as_object());
    // What Helm itself adds for charts within charts.
    known.push("global".into());
    known.sort();
    described.sort();
    assert_eq!(known, described);
}

/// The dotted names of all values that have none below themselves.
fn leaves(prefix: &str, value: &Value, below: fn(&Value) -> Option<&serde_json::Map<String, Value>>) -> Vec<String> {
    let Some(map) = below(value).filter(|_| !OPEN.contains(&prefix)) else { return vec![prefix.to_owned()] };
    let dot = if prefix.is_empty() { "" } else { "." };
    map.iter().flat_map(|(key, value)| leaves(&format!("{prefix}{dot}{key}"), value, below)).collect()
}

#[test]
fn values_that_cannot_work_are_refused_with_the_reason() {
    for (values, reason) in [
        ("--set=devices.maxSurge=0", "/devices/maxSurge"),
        ("--set=devices.kubeletDirectory=var/lib/kubelet", "/devices/kubeletDirectory"),
        ("--set=devices.kubeletDirectory=/var/lib/kubelet/", "/devices/kubeletDirectory"),
        ("--set=devices.kubeletDirectory=/", "/devices/kubeletDirectory"),
        ("--set=devices.admin.port=80", "/devices/admin/port"),
        ("--set=devices.admin.host=127.0.0.1", "/devices/admin/host"),
        ("--set=devices.admin.host=node.example.com", "/devices/admin/host"),
        ("--set=devices.admim.port=9000", "additional properties 'admim' not allowed"),
        ("--set=devices.admin=null", "missing property 'admin'"),
        ("--set=image.digest=4f5e", "/image/digest"),
        ("--set-json=image.tag=1.5", "/image/tag': got number, want string"),
        ("--set=labels.app\\.kubernetes\\.io/name=mine", "labels has app.kubernetes.io/name"),
        ("--set=devices.podLabels.app\\.kubernetes\\.io/instance=mine", "devices.podLabels has app."),
        ("--set-json=devices.podLabels={\"a\":true}", "/devices/podLabels/a': got boolean, want string"),
        ("--set=devices.resources.limits.memory=20MB", "/devices/resources/limits/memory"),
        ("--set=devices.resources.limit.memory=20Mi", "additional properties 'limit' not allowed"),
        ("--set-json=devices.tolerations=[{\"effect\":\"Never\"}]", "/devices/tolerations/0/effect"),
        ("--set-json=devices.networkPolicy.from=[{\"pods\":{}}]", "additional properties 'pods' not allowed"),
        ("--set=devices.priorityClassName=Node_Critical", "/devices/priorityClassName"),
        ("--set-json=devices.args=[\"audit=10s\"]", "/devices/args/0"),
        ("--set-json=devices.args=[\"--admin=[::]:1\"]", "devices.args[0] is --admin: set devices.admin instead"),
        ("--kube-version=1.24.0", "requires kubeVersion"),
    ] {
        refused(&[values], reason);
    }
}

#[test]
fn a_configuration_that_the_agent_would_refuse_is_refused_with_the_reason() {
    for (config, reason) in [
        (r#"{"devices":[{"name":"a1"}]}"#, "set devices.config.domain"),
        (r#"{"devices":[{"groups":[]}]}"#, "a resource needs `name`"),
        (r#"{"devices":[{"resource":"a.b/c"},{"resource":"a.b/c"}]}"#, "devices.config.devices[1] is a.b/c as"),
        (r#"{"devices":[{"resource":"a.b/c","cdi":{"x":1}}]}"#, "additional properties 'cdi' not allowed"),
        (r#"{"deices":[]}"#, "additional properties 'deices' not allowed"),
        (
            r#"{"devices":[{"resource":"a.b/c","groups":[{"usb":[{"vendor":403}]}]}]}"#,
            "/devices/config/devices/0/groups/0/usb/0/vendor': got number, want null or string",
        ),
        (r#"{"devices":[{"resource":"a.b/c","groups":[{"paths":[{"path":1}]}]}]}"#, "/paths/0/path"),
    ] {
        refused(&[&format!("--set-json=devices.config={config}")], reason);
    }
    refused(
        &["--set=devices.existingConfigMap=mine", r#"--set-json=devices.config.devices=[{"resource":"a.b/c"}]"#],
        "can only be one of them",
    );
}

/// In Helm's values `0403` without quotes is an octal number.
#[test]
fn a_vendor_with_quotes_reaches_the_agent_as_it_is_written() {
    let vendor = r#"{"resource":"a.b/c","groups":[{"usb":[{"vendor":"0403"}]}]}"#;
    let text = rendered(&[&format!("--set-json=devices.config.devices=[{vendor}]")]);
    assert!(text.contains("- vendor: \"0403\""), "{text}");
}
