//! Every manifest that we give away, at an API server alone: it knows each field, its defaults and rules take it, and the
//! accounts in it may do what is written down and nothing else.
//!
//! Of the chart these are the rendered texts beside its own test, which compares them with what it renders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use outrigger_e2e::cluster::{Cluster, PATIENCE, output};
use outrigger_e2e::golden;
use serde_json::Value;

use crate::schemas::{self, Kind};

const NAMESPACE: &str = "outrigger";

/// A file of the checkout.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The texts that the chart renders for its golden sets of values.
fn rendered() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(file("e2e/tests/chart/golden")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".yaml") && !file.to_string_lossy().ends_with(".values.yaml"));
    files.sort();
    assert!(2 < files.len(), "{files:?}");
    files
}

/// The objects of a file.
fn objects(file: &Path) -> Vec<Value> {
    let text = std::fs::read(file).unwrap();
    let documents = outrigger_config::read(&file.to_string_lossy(), &text).unwrap();
    documents.iter().map(|document| document.value().clone()).filter(|object| !object.is_null()).collect()
}

#[test]
fn an_api_server_takes_every_manifest_and_gives_their_accounts_no_right() {
    let cluster = Cluster::up("manifests", &["--api-only"]).unwrap();
    let definition = std::env::var("POD_MONITOR_DEFINITION").expect("`cargo xtask test` names it");
    cluster.kubectl(&["apply", "--server-side", "--filename", &definition]).unwrap();
    let established = ["wait", "--for=condition=Established", "--timeout=180s"];
    cluster.kubectl(&[&established[..], &["crd/podmonitors.monitoring.coreos.com"]].concat()).unwrap();
    let kind_is_served = || {
        let resources = cluster.kubectl(&["get", "--raw=/openapi/v3"])?;
        Ok(resources.contains("apis/monitoring.coreos.com/v1"))
    };
    cluster.until_that("default", "the kind PodMonitor is described", kind_is_served).unwrap();
    cluster.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    // No controller makes it here, and pods are refused without.
    cluster.kubectl(&["create", "serviceaccount", "default"]).unwrap();

    let mut files = rendered();
    files.extend(
        ["generic", "simple"].map(|name| file(&format!("deploy/replaced/{name}-device-plugin/daemonset.yaml"))),
    );
    files.push(file("deploy/replaced/simple-device-plugin/test-pod.yaml"));
    let place = tempfile::tempdir().unwrap();
    files.push(the_kustomize_base_is_the_chart_by_default(&cluster, place.path()));
    kubeconform_knows_every_field(&cluster, &files);
    the_api_server_would_take_it(&cluster, &files);
    only_directories_of_the_node_need_the_level_privileged(&cluster);
    accounts_may_do_what_is_written_down(&cluster);
    cluster.down().unwrap();
}

/// Builds the base, and answers the file with what comes of it.
///
/// Tried with an argument less in the base: it differs.
fn the_kustomize_base_is_the_chart_by_default(cluster: &Cluster, place: &Path) -> PathBuf {
    let built = place.join("kustomize.yaml");
    let text = cluster.kubectl(&["kustomize", &file("deploy/kustomize/devices").to_string_lossy()]).unwrap();
    std::fs::write(&built, text).unwrap();
    let named = |file: &Path| -> BTreeMap<String, Value> {
        objects(file)
            .into_iter()
            .map(|object| (format!("{} {}", object["kind"], object["metadata"]["name"]), object))
            .collect()
    };
    let mut chart = named(&file("e2e/tests/chart/golden/default.yaml"));
    for object in chart.values_mut() {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        // These tell of Helm.
        assert!(labels.remove("helm.sh/chart").is_some() && labels.remove("app.kubernetes.io/managed-by").is_some());
    }
    let base = named(&built);
    assert_eq!(base.keys().collect::<Vec<_>>(), chart.keys().collect::<Vec<_>>());
    for (name, object) in &base {
        assert!(*object == chart[name], "{name} of the base is {object:#}\nand of the chart {:#}", chart[name]);
    }
    built
}

/// `kubeconform` in strict mode over these files.
fn conform(schemas: &str, files: &[PathBuf]) -> Output {
    let mut kubeconform = Command::new(std::env::var("KUBECONFORM_BIN").expect("`cargo xtask test` names it"));
    kubeconform.args(["-strict", "-summary", "-output=json", "-schema-location", schemas]).args(files);
    kubeconform.output().unwrap()
}

fn kubeconform_knows_every_field(cluster: &Cluster, files: &[PathBuf]) {
    let place = tempfile::tempdir().unwrap();
    let objects: Vec<Value> = files.iter().flat_map(|file| objects(file)).collect();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let kinds: BTreeSet<Kind> = objects
        .iter()
        .map(|object| Kind { api_version: text(&object["apiVersion"]), kind: text(&object["kind"]) })
        .collect();
    let schemas = schemas::write(cluster, &kinds, place.path()).unwrap();
    let said = conform(&schemas, files);
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    assert!(said.status.success(), "{report:#}\n{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(report["summary"]["valid"], objects.len(), "{report:#}");
    it_finds_what_is_wrong(&schemas, place.path());
}

/// What passes for right without being looked at would pass for right when it is wrong, too.
fn it_finds_what_is_wrong(schemas: &str, place: &Path) {
    let right = std::fs::read_to_string(file("e2e/tests/chart/golden/everything.yaml")).unwrap();
    for (from, to, complaint) in [
        (
            "readOnlyRootFilesystem: true",
            "readOnlyRootFileSystem: true",
            "additional properties 'readOnlyRootFileSystem'",
        ),
        ("containerPort: 9999", "containerPort: admin", "got string, want integer"),
        ("      - name: agent\n", "      - workingDir: /\n", "missing property 'name'"),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: 0", "want boolean"),
        (
            "          privileged: false\n",
            "          privileged: false\n          privileged: false\n",
            "already set in map",
        ),
        ("  podMetricsEndpoints:\n", "  podMetricEndpoints:\n", "additional properties 'podMetricEndpoints'"),
        (
            "policyTypes: [Ingress, Egress]",
            "policyTypes: [Ingress, Egress]\n  policy: x",
            "additional properties 'policy'",
        ),
    ] {
        assert!(right.contains(from), "{from}");
        let wrong = place.join("wrong.yaml");
        std::fs::write(&wrong, right.replacen(from, to, 1)).unwrap();
        let said = conform(schemas, &[wrong]);
        let report = String::from_utf8_lossy(&said.stdout);
        assert!(!said.status.success() && report.contains(complaint), "{to}: {report}");
    }
}

/// `kubectl apply` of a file as a trial, with the warnings that it tells.
fn try_out(cluster: &Cluster, file: &Path) -> Output {
    let mut kubectl = cluster.program("kubectl");
    kubectl.args(["apply", "--dry-run=server", "--validate=strict", "--filename"]).arg(file);
    kubectl.output().unwrap()
}

/// Also what no schema tells: names of labels, ports by name, sums of surges.
fn the_api_server_would_take_it(cluster: &Cluster, files: &[PathBuf]) {
    for file in files {
        let said = try_out(cluster, file);
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && told.is_empty(), "{}: {told}", file.display());
    }
}

/// The agent is not privileged; it mounts directories of the node, which only this Pod Security level allows.
fn only_directories_of_the_node_need_the_level_privileged(cluster: &Cluster) {
    let mut told = String::new();
    for level in ["privileged", "baseline", "restricted"] {
        let label = format!("pod-security.kubernetes.io/warn={level}");
        cluster.kubectl(&["label", "--overwrite", "namespace", NAMESPACE, &label]).unwrap();
        let begin = Instant::now();
        let warnings = loop {
            let said = try_out(cluster, &file("e2e/tests/chart/golden/default.yaml"));
            let warnings = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(said.status.success(), "{warnings}");
            // The API server decides by the label of a moment ago. Nothing is warned of where everything may be.
            if level == "privileged" || warnings.contains(&format!("{level}:latest")) || PATIENCE < begin.elapsed() {
                break warnings;
            }
        };
        told += &format!("{level}:\n{warnings}");
    }
    golden::check(&file("e2e/tests/chart/golden/pod-security.txt"), &told);
}

/// Tried with a binding to `system:node` for the agent's account: the list grows. (The roles `view`, `edit` and `admin` are put
/// together by a controller, and are empty here.)
fn accounts_may_do_what_is_written_down(cluster: &Cluster) {
    let installed = file("e2e/tests/chart/golden/default.yaml");
    cluster.kubectl(&["apply", "--filename", &installed.to_string_lossy()]).unwrap();
    until_rules_are_known(cluster);
    let mut told = String::new();
    for account in objects(&installed).iter().filter(|object| object["kind"] == "ServiceAccount") {
        let account = format!("system:serviceaccount:{NAMESPACE}:{}", account["metadata"]["name"].as_str().unwrap());
        let list = ["auth", "can-i", "--list", "--namespace", NAMESPACE, "--as", &account];
        let list = output(cluster.program("kubectl").args(list)).unwrap();
        let mut lines: Vec<&str> = list.lines().map(str::trim_end).collect();
        lines[1..].sort_unstable();
        told += &format!("{account}:\n{}\n", lines.join("\n"));
    }
    golden::check(&file("e2e/tests/chart/golden/can-i.txt"), &told);
}

/// The API server decides by rules of a moment ago. It learns of them in their order, so that the last ones tell of all.
fn until_rules_are_known(cluster: &Cluster) {
    for (kind, verb, resource) in [("", "get", "secrets"), ("cluster", "list", "nodes")] {
        let (role, bound) = (format!("{kind}role"), format!("--{kind}role=last"));
        let create =
            |words: &[&str]| cluster.kubectl(&[&["--namespace", NAMESPACE, "create"], words].concat()).unwrap();
        create(&[&role, "last", "--verb", verb, "--resource", resource]);
        create(&[&format!("{role}binding"), "last", &bound, "--user=last"]);
        let can = ["--namespace", NAMESPACE, "auth", "can-i", verb, resource, "--as=last"];
        cluster.until_that(NAMESPACE, &format!("the last {role} holds"), || Ok(cluster.kubectl(&can).is_ok())).unwrap();
    }
}
