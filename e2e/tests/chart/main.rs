//! The Helm chart: what it renders, which rights that gives, and what it refuses.
//!
//! Rendered texts are compared with those in `golden`; `UPDATE_EXPECT=1` writes them anew, to be read before they are
//! committed. What a cluster makes of them is another test's business.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

mod rights;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outrigger_e2e::golden;

/// A file below this folder.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart").join(name)
}

/// The chart's folder.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// Helm, to be told what to do.
fn helm() -> Command {
    Command::new(std::env::var("HELM_BIN").expect("`cargo xtask test` names Helm"))
}

/// What `helm template` makes of the chart.
fn template(more: &[&str]) -> Output {
    let mut command = helm();
    command.args(["template", "outrigger"]).arg(chart()).args(["--namespace=outrigger", "--kube-version=1.36.3"]);
    command.args(more).output().unwrap()
}

/// The rendered text; it must succeed.
fn rendered(more: &[&str]) -> String {
    let output = template(more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The chart must not render, and tell this reason.
fn refused(more: &[&str], reason: &str) {
    let output = template(more);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains(reason), "{more:?}: {complaint}");
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
fn helm_finds_nothing_to_better() {
    for values in ["everything", "k0s"] {
        let file = here(&format!("golden/{values}.values.yaml"));
        let mut lint = helm();
        lint.args(["lint", "--strict", "--quiet", "--kube-version=1.36.3"]).arg(chart()).arg("--values").arg(file);
        let linted = lint.output().unwrap();
        assert!(linted.status.success(), "{}", String::from_utf8_lossy(&linted.stdout));
    }
}

/// Tried with the monitor's labels written after the metadata: they came to stand among the annotations.
#[test]
fn labels_of_a_monitor_are_labels_beside_annotations_too() {
    let file = here("golden/everything.values.yaml");
    let text = rendered(&["--values", &file.to_string_lossy(), "--show-only=templates/devices/podmonitor.yaml"]);
    let monitor = outrigger_config::read("rendered", text.as_bytes()).unwrap()[0].value().clone();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["labels"]["team"], "edge");
    assert_eq!(monitor["metadata"]["annotations"].as_object().unwrap().len(), 1);
}

#[test]
fn an_image_is_named_by_its_digest_where_there_is_one() {
    let digest = format!("sha256:{}", "4f".repeat(32));
    let text = rendered(&[&format!("--set=image.digest={digest}")]);
    assert!(text.contains(&format!("image: \"outrigger@{digest}\"")), "{text}");
}

#[test]
fn nothing_is_rendered_of_what_is_disabled() {
    assert_eq!(rendered(&["--set=devices.enabled=false"]).trim(), "");
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
