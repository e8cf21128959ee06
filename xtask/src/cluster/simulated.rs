//! Simulated nodes beside the real one, for scale: kwok says that they are ready, and that their pods run.
//!
//! They carry the taint `kwok.x-k8s.io/node=fake:NoSchedule` and the label `type=kwok`; what should run on them tolerates the one
//! and may ask for the other.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::place::Place;
use super::{network, parts};
use crate::step::{self, Found};

/// What kwok does with nodes and pods, from its own module: without any it does nothing.
const STAGES: &[&str] = &["node/fast", "node/heartbeat-with-lease", "pod/fast"];

/// Where the stages lie, beside kwok.
pub fn stages(cache: &Path) -> PathBuf {
    parts::kwok().directory(cache).join("stages.yaml")
}

/// Puts the stages together, with the `kubectl` that was built.
pub fn make_stages(cache: &Path, kubectl: &Path) -> Result<()> {
    let module = cache.join(format!("go/mod/sigs.k8s.io/kwok@v{}/kustomize/stage", parts::kwok().version));
    let mut text = String::new();
    for stage in STAGES {
        text += &step::output(Command::new(kubectl).arg("kustomize").arg(module.join(stage)))?;
        text += "---\n";
    }
    let partial = stages(cache).with_extension("partial");
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, stages(cache))).context("cannot write kwok's stages")
}

/// What kwok is called with.
pub fn args(place: &Place) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", place.path("etc/inside.kubeconfig").display()),
        format!("--config={}", stages(&place.cache).display()),
        "--manage-all-nodes=false".into(),
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".into(),
        format!("--node-ip={}", network::NODE),
        "--server-address=127.0.0.1:10247".into(),
        "--node-lease-duration-seconds=40".into(),
    ]
}

/// Makes so many nodes and waits until they are ready. Those that are there stay.
pub fn add(place: &Place, count: u32) -> Result<()> {
    let kubectl = || {
        let mut kubectl = Command::new(place.program("kubectl"));
        kubectl.arg("--kubeconfig").arg(place.path("kubeconfig")).env("KUBECACHEDIR", place.path("kubectl"));
        kubectl
    };
    let mut apply = kubectl();
    apply.args(["apply", "--server-side", "--filename=-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut apply = apply.spawn().context("cannot start kubectl")?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": (1..=count).map(node).collect::<Vec<_>>()});
    if let Some(mut input) = apply.stdin.take() {
        input.write_all(list.to_string().as_bytes())?;
    }
    if !apply.wait()?.success() {
        return Err(Found("the simulated nodes could not be made".into()).into());
    }
    step::output(kubectl().args(["wait", "node", "--selector=type=kwok", "--for=condition=Ready", "--timeout=600s"]))
        .map(drop)
}

fn node(number: u32) -> Value {
    let room = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    let name = format!("simulated-{number}");
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "kubernetes.io/os": "linux", "kubernetes.io/hostname": name},
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room},
    })
}
