//! The Helm chart: what it renders, which rights that gives, and what it refuses.
//!
//! Rendered texts are compared with those in `golden`; `UPDATE_EXPECT=1` writes them anew, to be read before they are
//! committed. What a cluster makes of them is another test's business.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod rights;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outrigger_e2e::golden;

/// A file below this folder.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart").join(name)
}

/// What `helm template` makes of the chart.
fn template(more: &[&str]) -> Output {
    let helm = std::env::var("HELM_BIN").expect("`cargo xtask test` names Helm");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart");
    let mut command = Command::new(helm);
    command.args(["template", "outrigger"]).arg(chart).args(["--namespace=outrigger", "--kube-version=1.36.3"]);
    command.args(more).output().unwrap()
}

/// The rendered text; it must succeed.
fn rendered(more: &[&str]) -> String {
    let output = template(more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compares a text with a golden file.
fn check(name: &str, text: &str) {
    golden::check(&here("golden").join(name), text);
}

#[test]
fn the_rendered_chart_is_as_it_was_read() {
    check("default.yaml", &rendered(&[]));
    for values in ["everything", "k0s"] {
        let file = here(&format!("golden/{values}.values.yaml"));
        check(&format!("{values}.yaml"), &rendered(&["--values", &file.to_string_lossy()]));
    }
}

#[test]
fn nothing_is_rendered_of_what_is_disabled() {
    assert_eq!(rendered(&["--set=devices.enabled=false"]).trim(), "");
}

#[test]
fn values_that_cannot_work_are_refused_with_the_reason() {
    for (values, reason) in [
        ("--set=devices.maxSurge=0", "/devices/maxSurge"),
        ("--set=devices.kubeletDirectory=var/lib/kubelet", "/devices/kubeletDirectory"),
        ("--set=devices.kubeletDirectory=/var/lib/kubelet/", "/devices/kubeletDirectory"),
        ("--set=devices.admin.port=80", "/devices/admin/port"),
        ("--set=devices.admim.port=9000", "additional properties 'admim' not allowed"),
        ("--set-json=devices.args=[\"audit=10s\"]", "/devices/args/0"),
        ("--set-json=devices.config={\"devices\":[{\"name\":\"a1\"}]}", "set devices.config.domain"),
        ("--set-json=devices.config={\"devices\":[{\"groups\":[]}]}", "a resource needs `name`"),
        ("--set-json=devices.config={\"devices\":[{\"resource\":\"a.b/c\",\"cdi\":{\"x\":1}}]}", "CDI is not here yet"),
        ("--kube-version=1.24.0", "requires kubeVersion"),
    ] {
        let output = template(&[values]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(reason), "{values}: {complaint}");
    }
}

/// What stands in the chart's configuration is what `outrigger devices check` reads.
#[test]
fn the_rendered_configuration_is_one_that_the_agent_reads() {
    let file = here("golden/everything.values.yaml");
    let text = rendered(&["--values", &file.to_string_lossy()]);
    let documents = outrigger_config::read("rendered", text.as_bytes()).unwrap();
    let map =
        documents.iter().map(outrigger_config::Document::value).find(|value| value["kind"] == "ConfigMap").unwrap();
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("devices.yaml");
    fs::write(&config, map["data"]["devices.yaml"].as_str().unwrap()).unwrap();
    let executable = std::env::var("OUTRIGGER_BIN").expect("`cargo xtask test` names the executable");
    let listed = Command::new(executable).args(["devices", "list", "--config"]).arg(&config).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("example.com/fuse"));
}
