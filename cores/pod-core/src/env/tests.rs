//! Tables of what a kubelet answers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::plan::PodPlan;

fn plan(container: &Value) -> Arc<PodPlan> {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "a\"b", "tier": "web"}},
        "spec": {"containers": [container], "serviceAccountName": "robot"},
    });
    Arc::new(PodPlan::new(serde_json::from_value(pod).unwrap(), "u").unwrap())
}

fn sources() -> Sources {
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "v", "n": "1"}});
    let secret = json!({"metadata": {"name": "s"}, "data": {"p": "c2VjcmV0"}, "stringData": {"q": "plain"}});
    Sources {
        config_maps: [("m".to_owned(), serde_json::from_value(map).unwrap())].into(),
        secrets: [("s".to_owned(), serde_json::from_value(secret).unwrap())].into(),
        ..Sources::default()
    }
}

fn facts() -> Facts {
    Facts {
        addresses: PodAddresses { pod: vec!["10.0.0.1".parse().unwrap()], host: vec!["10.0.0.1".parse().unwrap()] },
        node_name: "box".to_owned(),
        allocatable: [("cpu".to_owned(), Quantity::whole(4)), ("memory".to_owned(), Quantity::whole(8 << 30))].into(),
    }
}

fn made(container: &Value) -> Result<Environment, ConfigError> {
    let plan = plan(container);
    environment(&plan, &plan.containers[0], &sources(), &facts())
}

fn value(variable: &Value) -> Result<Option<String>, ConfigError> {
    let mut named = variable.clone();
    named["name"] = json!("X");
    let container = json!({"name": "c", "env": [named], "resources": {"limits": {"memory": "1500Mi"}, "requests": {"cpu": "250m"}}});
    Ok(made(&container)?.variables.remove("X"))
}

#[test]
fn a_reference_sees_what_stands_before_it() {
    let env = json!([
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(C)-$$(A)"},
        {"name": "C", "value": "3"},
        {"name": "D", "value": "$(B)"},
    ]);
    let made = made(&json!({"name": "c", "env": env})).unwrap();
    assert_eq!(made.variables["B"], "1-$(C)-$(A)");
    assert_eq!(made.variables["D"], "1-$(C)-$(A)");
}

#[test]
fn env_lies_over_env_from() {
    let container = json!({
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
        "env": [{"name": "k", "value": "own"}],
    });
    let made = made(&container).unwrap();
    assert_eq!(made.variables["k"], "own");
    assert_eq!(made.variables["n"], "1");
    assert_eq!((made.variables["S_p"].as_str(), made.variables["S_q"].as_str()), ("secret", "plain"));
}

#[test]
fn what_comes_from_a_secret_is_marked_also_through_an_expansion() {
    let container = json!({"name": "c", "env": [
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
        {"name": "URL", "value": "https://u:$(P)@h"},
        {"name": "Q", "value": "plain"},
    ]});
    let made = made(&container).unwrap();
    assert_eq!(made.variables["URL"], "https://u:secret@h");
    assert_eq!(made.secret.iter().collect::<Vec<_>>(), ["P", "URL"]);
}

#[test]
fn sources_of_values_answer_as_a_kubelet_does() {
    let table = [
        (json!({"configMapKeyRef": {"name": "m", "key": "k"}}), Ok(Some("v"))),
        (json!({"configMapKeyRef": {"name": "m", "key": "x"}}), Err("couldn't find key x in ConfigMap ns/m")),
        (json!({"configMapKeyRef": {"name": "m", "key": "x", "optional": true}}), Ok(None)),
        (json!({"configMapKeyRef": {"name": "x", "key": "k"}}), Err("configmap \"x\" not found")),
        (json!({"configMapKeyRef": {"name": "x", "key": "k", "optional": true}}), Ok(None)),
        (json!({"secretKeyRef": {"name": "s", "key": "p"}}), Ok(Some("secret"))),
        (json!({"secretKeyRef": {"name": "s", "key": "x"}}), Err("couldn't find key x in Secret ns/s")),
        (json!({"secretKeyRef": {"name": "x", "key": "k"}}), Err("secret \"x\" not found")),
        (json!({"fieldRef": {"fieldPath": "metadata.name"}}), Ok(Some("p"))),
        (json!({"fieldRef": {"fieldPath": "metadata.labels['tier']"}}), Ok(Some("web"))),
        (json!({"fieldRef": {"fieldPath": "metadata.labels['none']"}}), Ok(Some(""))),
        (json!({"fieldRef": {"fieldPath": "metadata.labels"}}), Ok(Some("app=\"a\\\"b\"\ntier=\"web\""))),
        (json!({"fieldRef": {"fieldPath": "spec.nodeName"}}), Ok(Some("box"))),
        (json!({"fieldRef": {"fieldPath": "spec.serviceAccountName"}}), Ok(Some("robot"))),
        (json!({"fieldRef": {"fieldPath": "status.podIPs"}}), Ok(Some("10.0.0.1"))),
        (json!({"fieldRef": {"fieldPath": "spec.x"}}), Err("unsupported fieldPath: spec.x")),
        (json!({"resourceFieldRef": {"resource": "limits.cpu"}}), Ok(Some("4"))),
        (json!({"resourceFieldRef": {"resource": "requests.cpu"}}), Ok(Some("1"))),
        (json!({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}), Ok(Some("250"))),
        (json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Gi"}}), Ok(Some("2"))),
        (json!({"resourceFieldRef": {"resource": "limits.gpu"}}), Err("unsupported container resource : limits.gpu")),
        (json!({"resourceFieldRef": {"containerName": "x", "resource": "limits.cpu"}}), Err("container x not found")),
    ];
    for (from, expected) in table {
        let answer = value(&json!({"valueFrom": from}));
        let expected =
            expected.map(|value| value.map(str::to_owned)).map_err(|text: &str| ConfigError(text.to_owned()));
        assert_eq!(answer, expected, "{from}");
    }
}

#[test]
fn commands_are_expanded_with_the_whole_environment() {
    let made = made(&json!({"name": "c", "env": [{"name": "A", "value": "1"}]})).unwrap();
    assert_eq!(made.expand_all(&["$(A)".to_owned(), "$(B)".to_owned()]), ["1", "$(B)"]);
}

#[test]
fn base64_with_line_ends_is_read() {
    assert_eq!(decode("c2Vj\ncmV0\n").as_deref(), Some(b"secret".as_slice()));
    assert_eq!(decode("%"), None);
}

#[test]
fn variables_that_grow_without_bounds_are_refused() {
    let mut env = vec![json!({"name": "V0", "value": "x".repeat(1 << 19)})];
    env.extend((1..1000).map(|place| json!({"name": format!("V{place}"), "value": format!("$(V{})$(V0)", place - 1)})));
    let refusal = made(&json!({"name": "c", "env": env})).unwrap_err();
    assert!(refusal.0.starts_with("the variables are larger"), "{refusal}");
    let large = Environment { variables: [("A".to_owned(), "x".repeat(1 << 20))].into(), ..Environment::default() };
    let words = large.expand_all(&vec!["$(A)".to_owned(); 100]);
    assert!(words.iter().map(String::len).sum::<usize>() < 10 << 20);
}

#[test]
fn a_limit_of_the_pod_is_that_of_a_container_without_one() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"resources": {"limits": {"memory": "1Gi"}}, "containers": [{"name": "c"}]}});
    let plan = PodPlan::new(serde_json::from_value(pod).unwrap(), "u").unwrap();
    let reference = serde_json::from_value(json!({"resource": "limits.memory", "divisor": "1Mi"})).unwrap();
    assert_eq!(resource(&plan, Some(&plan.containers[0]), &facts(), &reference).unwrap(), "1024");
    assert_eq!(
        resource(
            &plan,
            None,
            &facts(),
            &serde_json::from_value(json!({"resource": "limits.memory", "containerName": "c"})).unwrap()
        ),
        Ok((8_u64 << 30).to_string())
    );
}

#[test]
fn sources_never_show_their_values() {
    assert!(!format!("{:?}", sources()).contains("plain"));
}
