//! Manifests and the faults they have: whole documents in, paths and messages out.

use outrigger_pod_core::check::{Object, check};
use outrigger_pod_core::fault::Severity;
use serde_json::{Value, json};

/// A pod with one container that has these further fields.
fn pod(container: &Value, spec: &Value) -> Value {
    let mut whole = json!({"name": "c", "image": "i"});
    merge(&mut whole, container);
    let mut all = json!({"containers": [whole]});
    merge(&mut all, spec);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": all})
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().expect("fields") {
        into[key] = value.clone();
    }
}

fn faults(document: &Value) -> Vec<String> {
    check(document).faults.iter().map(ToString::to_string).collect()
}

/// Each expected text is the beginning of one fault, in order.
#[track_caller]
fn expect(document: &Value, expected: &[&str]) {
    let found = faults(document);
    let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(found, text)| found.starts_with(text));
    assert!(fits, "expected {expected:#?}\nfound {found:#?}");
}

#[test]
fn a_plain_pod_has_no_faults() {
    expect(&pod(&json!({}), &json!({})), &[]);
    let checked = check(&pod(&json!({}), &json!({})));
    assert!(matches!(&checked.objects[..], [only] if matches!(&only.object, Object::Pod(_))));
}

#[test]
fn types_are_checked_and_strings_are_to_be_quoted() {
    let container = json!({
        "env": [{"name": "A", "value": true}, {"name": "B", "value": 1}, {"name": 5}],
        "command": "sh", "stdin": "yes", "ports": [{"containerPort": "80"}, {"containerPort": 1e10}],
        "resources": {"limits": {"cpu": 1, "memory": "1Gb"}},
    });
    expect(
        &pod(&container, &json!({"activeDeadlineSeconds": 1.5})),
        &[
            "spec.activeDeadlineSeconds: is the number 1.5, but must be a whole number",
            "spec.containers[0].command: is a string, but must be a list",
            "spec.containers[0].env[0].value: is the boolean true, but must be a string: quote it",
            "spec.containers[0].env[1].value: is the number 1, but must be a string: quote it",
            "spec.containers[0].env[2].name: is the number 5, but must be a string: quote it",
            "spec.containers[0].ports[0].containerPort: is a string, but must be a whole number: write it without quotes",
            "spec.containers[0].ports[1].containerPort: is the number 10000000000.0, but must be a whole number",
            "spec.containers[0].resources.limits.memory: is \"1Gb\": ",
            "spec.containers[0].stdin: is a string, but must be a boolean: write it without quotes",
        ],
    );
}

#[test]
fn unknown_fields_are_warnings_that_name_the_nearest_one() {
    let document = pod(&json!({"imagepullpolicy": "Always", "whatever": 1}), &json!({"restartPolcy": "Never"}));
    let found = check(&document);
    assert!(found.faults.iter().all(|fault| fault.severity == Severity::Warning));
    assert_eq!(found.objects.len(), 1);
    expect(
        &document,
        &[
            "spec.containers[0].imagepullpolicy: is no field of Container: did you mean imagePullPolicy?",
            "spec.containers[0].whatever: is no field of Container",
            "spec.restartPolcy: is no field of PodSpec: did you mean restartPolicy?",
        ],
    );
}

#[test]
fn what_nothing_here_carries_out_is_refused_with_the_way_out() {
    let spec = json!({
        "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}, {"name": "w", "image": {"reference": "i"}}],
        "ephemeralContainers": [], "resourceClaims": [{"name": "gpu"}],
        "affinity": {"nodeAffinity": {}}, "tolerations": [{"operator": "Exists"}], "nodeSelector": {"a": "b"},
    });
    expect(
        &pod(&json!({}), &spec),
        &[
            "spec.ephemeralContainers: is not supported here: leave them out",
            "spec.resourceClaims: is not supported here: leave it out and ask for the device",
            "spec.volumes[0].nfs: is not supported here: mount the storage on this machine",
            "spec.volumes[1].image: is not supported here: unpack the image",
        ],
    );
}

#[test]
fn containers_are_checked_together() {
    let spec = json!({"initContainers": [
        {"name": "c", "livenessProbe": {"tcpSocket": {"port": 1}}},
        {"name": "s", "restartPolicy": "Always", "startupProbe": {"httpGet": {"port": "web"}}},
    ]});
    let container = json!({
        "ports": [{"containerPort": 80, "hostPort": 80, "name": "web"}, {"containerPort": 0, "hostPort": 80, "name": "web"}],
        "readinessProbe": {"httpGet": {"port": "web"}, "exec": {"command": []}, "terminationGracePeriodSeconds": 1},
        "livenessProbe": {"successThreshold": 2, "tcpSocket": {"port": 99_999}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 40}}, "stopSignal": "SIGFOO"},
    });
    expect(
        &pod(&container, &spec),
        &[
            "spec.containers[0].lifecycle.preStop.sleep.seconds: must not be negative or longer",
            "spec.containers[0].lifecycle.stopSignal: is \"SIGFOO\"",
            "spec.containers[0].lifecycle.stopSignal: can only be given",
            "spec.containers[0].livenessProbe.successThreshold: must be 1",
            "spec.containers[0].livenessProbe.tcpSocket.port: must be a port from 1 to 65535",
            "spec.containers[0].ports[1].containerPort: must be a port from 1 to 65535",
            "spec.containers[0].ports[1].hostPort: is the host port of another",
            "spec.containers[0].ports[1].name: is the name of another port",
            "spec.containers[0].readinessProbe: must have exactly one of exec",
            "spec.containers[0].readinessProbe.exec.command: must have at least one entry",
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: cannot be given",
            "spec.initContainers[0].livenessProbe: cannot be given for an init container",
            "spec.initContainers[0].name: is \"c\", as another container",
            "spec.initContainers[1].startupProbe.httpGet.port: is \"web\", but the container has no port of this name",
        ],
    );
}

#[test]
fn variables_have_one_source() {
    let env = json!([
        {"name": "A=B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "B", "valueFrom": {}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app/x']"}}},
        {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1k"}}},
        {"name": "G", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}},
        {"name": "H", "valueFrom": {"configMapKeyRef": {"name": "m"}, "secretKeyRef": {"name": "s", "key": "../k"}}},
    ]);
    expect(
        &pod(&json!({"env": env, "envFrom": [{"prefix": "A="}]}), &json!({})),
        &[
            "spec.containers[0].env[0].name: is \"A=B\", but must be printable ASCII",
            "spec.containers[0].env[0].valueFrom: cannot be given together with value",
            "spec.containers[0].env[1].valueFrom: must have exactly one source",
            "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: is \"metadata.labels\": use one of",
            "spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: has the key \"a b\"",
            "spec.containers[0].env[5].valueFrom.resourceFieldRef.divisor: is ",
            "spec.containers[0].env[6].valueFrom.resourceFieldRef.resource: is \"limits.gpu\"",
            "spec.containers[0].env[7].valueFrom: must have exactly one source",
            "spec.containers[0].env[7].valueFrom.configMapKeyRef.key: is missing",
            "spec.containers[0].env[7].valueFrom.secretKeyRef.key: is \"../k\"",
            "spec.containers[0].envFrom[0]: must have exactly one of",
            "spec.containers[0].envFrom[0].prefix: is \"A=\"",
        ],
    );
}

#[test]
fn volumes_and_mounts_fit_together() {
    let spec = json!({"volumes": [
        {"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "../x"}, {"key": "b", "path": "f"},
            {"key": "c", "path": "f", "mode": 600}]}, "secret": {"secretName": "s"}},
        {"name": "v"},
        {"name": "h", "hostPath": {"path": "/a/../b", "type": "Dir"}},
        {"name": "p", "projected": {"sources": [{"downwardAPI": {"items": [{"path": "n"}]}}, {}]}},
    ]});
    let mounts = json!([
        {"name": "v", "mountPath": "/a", "subPath": "../b"},
        {"name": "x", "mountPath": "/a", "subPath": "a", "subPathExpr": "b"},
        {"name": "h", "mountPath": "a:b", "recursiveReadOnly": "Enabled", "mountPropagation": "Bidirectional"},
    ]);
    expect(
        &pod(&json!({"volumeMounts": mounts}), &spec),
        &[
            "spec.containers[0].volumeMounts[0].subPath: is \"../b\"",
            "spec.containers[0].volumeMounts[1].mountPath: is the path of another mount",
            "spec.containers[0].volumeMounts[1].name: is \"x\", but the pod has no volume",
            "spec.containers[0].volumeMounts[1].subPathExpr: cannot be given together with subPath",
            "spec.containers[0].volumeMounts[2].mountPath: is \"a:b\", but must be a path without ':'",
            "spec.containers[0].volumeMounts[2].mountPropagation: can be Bidirectional only",
            "spec.containers[0].volumeMounts[2].recursiveReadOnly: needs readOnly",
            "spec.containers[0].volumeMounts[2].recursiveReadOnly: cannot be given together",
            "spec.volumes[0]: must have exactly one source, but has configMap, secret",
            "spec.volumes[0].configMap.items[0].path: is \"../x\"",
            "spec.volumes[0].configMap.items[2].mode: must be at most 0777",
            "spec.volumes[0].configMap.items[2].path: is the path of another file",
            "spec.volumes[1].name: is \"v\", as another volume",
            "spec.volumes[2].hostPath.path: is \"/a/../b\", but must be a path without '..'",
            "spec.volumes[2].hostPath.type: is \"Dir\": use one of",
            "spec.volumes[3].projected.sources[0].downwardAPI.items[0]: must have exactly one of",
            "spec.volumes[3].projected.sources[1]: must have exactly one source",
        ],
    );
}

#[test]
fn resources_are_within_their_limits() {
    let resources = json!({
        "limits": {"cpu": "1", "example.com/fpga": "1500m", "hugepages-2Mi": "4Mi", "gpu": 1},
        "requests": {"cpu": "2", "memory": "-1", "example.com/fpga": 1, "hugepages-2Mi": "2Mi", "hugepages-1Gi": "1Gi"},
    });
    expect(
        &pod(&json!({"resources": resources}), &json!({"resources": {"limits": {"cpu": "500m"}}})),
        &[
            "spec.containers[0].resources.limits.cpu: is 1, more than the pod's limit",
            "spec.containers[0].resources.limits[\"example.com/fpga\"]: must be a whole number",
            "spec.containers[0].resources.limits.gpu: is no resource",
            "spec.containers[0].resources.limits.hugepages-1Gi: is missing",
            "spec.containers[0].resources.requests.cpu: is 2, more than the limit of 1",
            "spec.containers[0].resources.requests[\"example.com/fpga\"]: is 1, but must equal the limit",
            "spec.containers[0].resources.requests.hugepages-2Mi: is ",
            "spec.containers[0].resources.requests.memory: must not be negative",
        ],
    );
}

#[test]
fn the_spec_itself_is_checked() {
    let spec = json!({
        "restartPolicy": "Sometimes", "activeDeadlineSeconds": 0, "terminationGracePeriodSeconds": -1,
        "hostname": "Host", "dnsPolicy": "None", "hostAliases": [{"ip": "300.1.1.1", "hostnames": ["a_b"]}],
        "shareProcessNamespace": true, "hostPID": true, "os": {"name": "windows"},
        "securityContext": {"runAsUser": -1, "seccompProfile": {"type": "Localhost"}, "sysctls": [
            {"name": "a.b", "value": ""}, {"name": "a/b", "value": "1"}]},
    });
    expect(
        &pod(&json!({}), &spec),
        &[
            "spec.activeDeadlineSeconds: must be at least 1",
            "spec.dnsConfig.nameservers: must name at least one",
            "spec.hostAliases[0].hostnames[0]: is \"a_b\"",
            "spec.hostAliases[0].ip: is \"300.1.1.1\", but must be an IP address",
            "spec.hostname: is \"Host\"",
            "spec.os.name: is \"windows\": use one of linux",
            "spec.restartPolicy: is \"Sometimes\": use one of Always, OnFailure, Never",
            "spec.securityContext.runAsUser: must be at least 0",
            "spec.securityContext.seccompProfile.localhostProfile: is missing",
            "spec.securityContext.sysctls[1].name: is set twice",
            "spec.shareProcessNamespace: cannot be given together with hostPID",
            "spec.terminationGracePeriodSeconds: must not be negative",
        ],
    );
}

#[test]
fn a_document_without_its_parts_names_them() {
    expect(&json!({"apiVersion": "v1", "kind": "Pod"}), &["metadata: is missing", "spec: is missing"]);
    expect(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": []}}),
        &["metadata.name: is missing", "spec.containers: must have at least one entry"],
    );
    expect(&json!({"kind": "Pod"}), &["apiVersion: is missing"]);
    expect(&json!([1]), &["is no Kubernetes object"]);
    expect(
        &json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
        &["kind: Deployment of apiVersion apps/v1 cannot be run here: known are Pod"],
    );
}

#[test]
fn a_list_is_checked_item_by_item_and_keeps_what_is_good() {
    let good = pod(&json!({}), &json!({}));
    let bad = pod(&json!({"name": "C"}), &json!({}));
    let document =
        json!({"apiVersion": "v1", "kind": "List", "items": [good, bad, {"apiVersion": "v1", "kind": "Node"}]});
    expect(
        &document,
        &["items[1].spec.containers[0].name: is \"C\"", "items[2].kind: Node of apiVersion v1 cannot be run here"],
    );
    let checked = check(&document);
    assert_eq!(checked.objects.len(), 1);
    assert_eq!(checked.objects[0].path.to_string(), "items[0]");
}

#[test]
fn what_a_server_sets_is_accepted_and_dropped() {
    let mut document = pod(&json!({}), &json!({"nodeName": "n1", "priority": 0, "schedulerName": "default-scheduler"}));
    merge(
        &mut document["metadata"],
        &json!({"creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"x": 1}], "resourceVersion": "5",
            "uid": "u", "generation": 1, "ownerReferences": [{"kind": "ReplicaSet"}]}),
    );
    document["status"] = json!({"phase": "Running", "conditions": [{"bad": true}]});
    expect(&document, &[]);
    let checked = check(&document);
    let Object::Pod(pod) = &checked.objects[0].object else { panic!("a pod was written") };
    assert_eq!(pod.status, None);
    assert_eq!(pod.metadata.uid.as_deref(), Some("u"));
}

#[test]
fn pods_as_kubectl_prints_them_have_no_faults() {
    let text = include_str!("check/kubectl-get-pod.json");
    expect(&serde_json::from_str(text).expect("json"), &[]);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads its files")]
fn the_manifests_of_the_recorded_lives_have_no_faults() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/life");
    for file in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let life: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("json");
        assert_eq!(faults(&life["manifest"]), [""; 0], "{}", file.display());
    }
}

#[test]
fn maps_and_secrets_have_good_keys_and_bytes() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
        "data": {"a": "1", "..b": "2"}, "binaryData": {"a": "AQ==", "c": "%%%"}});
    expect(&map, &["binaryData.c: is not base64", "data[\"..b\"]: has the key", "data.a: is also a key of binaryData"]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "S"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": "c2VjcmV0", "pin": 1234}, "stringData": {"n": 5}});
    expect(
        &secret,
        &[
            "data.pin: must be a string in base64",
            "data[\"tls.key\"]: is missing",
            "metadata.name: is \"S\"",
            "stringData.n: must be a string: quote it",
        ],
    );
}

#[test]
fn a_job_is_checked_with_its_template() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {
        "completionMode": "Indexed", "parallelism": -1, "podFailurePolicy": {"rules": []}, "backoffLimitPerIndex": 1,
        "template": {"spec": {"containers": [{"name": "c"}]}},
    }});
    expect(
        &job,
        &[
            "spec.backoffLimitPerIndex: is not supported here",
            "spec.completions: is missing",
            "spec.parallelism: must not be negative",
            "spec.podFailurePolicy: is not supported here",
            "spec.template.spec.restartPolicy: must be OnFailure or Never in a Job",
        ],
    );
}

#[test]
fn a_huge_manifest_is_bounded_work() {
    let containers: Vec<Value> = (0..1000)
        .map(|place| {
            let env: Vec<Value> =
                (0..100).map(|name| json!({"name": format!("V{name}"), "valu": "x".repeat(80)})).collect();
            json!({"name": format!("c{place}"), "env": env, "volumeMounts": [{"name": "none", "mountPath": "/m"}]})
        })
        .collect();
    let found = faults(&pod(&json!({}), &json!({"containers": containers})));
    assert_eq!(found.len(), 1001);
    assert_eq!(found[1000], "100000 more faults are not shown");
}

#[test]
fn what_can_be_read_of_a_faulty_object_is_there_to_be_looked_at() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"n": 5, "t": "x"}});
    let pod = pod(
        &json!({"name": "A_b"}),
        &json!({"hostNetwork": "yes", "containers": ["none", {"name": "c", "command": ["sh", 7], "ports": [{"containerPort": "many"}],
            "env": [{"name": 1, "valueFrom": {"configMapKeyRef": {"name": "m", "key": "n"}}}]}]}),
    );
    let checked = check(&json!({"apiVersion": "v1", "kind": "List", "items": [map, pod]}));
    assert!(checked.objects.is_empty() && !checked.unread, "{checked:?}");
    let [Object::ConfigMap(map), Object::Pod(pod)] = [&checked.unsound[0].object, &checked.unsound[1].object] else {
        panic!("{checked:?}")
    };
    assert_eq!(
        map.data.as_ref().map(|data| data.keys().cloned().collect()),
        Some(vec!["n".to_owned(), "t".to_owned()])
    );
    let spec = pod.spec.as_ref().expect("a spec");
    assert_eq!((spec.host_network, spec.containers.len()), (None, 2));
    assert_eq!(spec.containers[1].command, Some(vec!["sh".to_owned(), "7".to_owned()]));
    let source =
        spec.containers[1].env.as_ref().and_then(|env| env[0].value_from.as_ref()?.config_map_key_ref.as_ref());
    assert_eq!(source.map(|source| source.key.as_str()), Some("n"));
    assert!(check(&json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "m"}})).unread);
    assert!(!check(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m"}})).unread);
}
