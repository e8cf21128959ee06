//! The file in which a kubelet remembers who holds what: `kubelet_internal_checkpoint`.
//!
//! Its form is that of `checkpoint.go` (Kubernetes 1.36.3), but for the checksum, which is 0 and not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_kubelet_api::device_plugin::ContainerAllocateResponse;
use prost::Message;
use serde_json::{Value, json};

use crate::state::{Held, State};

/// The file's name, in the device-plugins directory.
pub const CHECKPOINT: &str = "kubelet_internal_checkpoint";

/// What stands for "no NUMA node" in the file.
const NO_NODE: i64 = -1;

/// Writes the whole file anew, as after each list and each admission.
pub(crate) fn write(directory: &Path, state: &State) -> io::Result<()> {
    let entries: Vec<Value> = state
        .held
        .iter()
        .map(|((pod, container, resource), held)| {
            json!({
                "PodUID": pod,
                "ContainerName": container,
                "ResourceName": resource,
                "DeviceIDs": by_node(state, resource, held),
                "AllocResp": STANDARD.encode(held.answer.encode_to_vec()),
            })
        })
        .collect();
    let text = json!({
        "Data": { "PodDeviceEntries": entries, "RegisteredDevices": state.healthy },
        "Checksum": 0,
    });
    let unready = directory.join(format!(".{CHECKPOINT}"));
    fs::write(&unready, text.to_string())?;
    fs::rename(unready, directory.join(CHECKPOINT))
}

fn by_node(state: &State, resource: &str, held: &Held) -> BTreeMap<String, Vec<String>> {
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in &held.ids {
        let device = state.devices.get(resource).and_then(|devices| devices.get(id));
        let nodes = device.and_then(|device| device.topology.as_ref()).map(|topology| topology.nodes.clone());
        let nodes: Vec<i64> = nodes.unwrap_or_default().iter().map(|node| node.id).collect();
        for node in if nodes.is_empty() { vec![NO_NODE] } else { nodes } {
            by_node.entry(node.to_string()).or_default().push(id.clone());
        }
    }
    by_node
}

/// Reads what an earlier life left; nothing where there is no file, or none that can be read.
pub(crate) fn read(directory: &Path, state: &mut State) {
    let Ok(text) = fs::read(directory.join(CHECKPOINT)) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(&text) else { return };
    for entry in value.pointer("/Data/PodDeviceEntries").and_then(Value::as_array).into_iter().flatten() {
        if let Some((key, held)) = held(entry) {
            state.held.insert(key, held);
        }
    }
    for resource in value.pointer("/Data/RegisteredDevices").and_then(Value::as_object).into_iter().flatten() {
        state.remember(resource.0);
    }
}

fn held(entry: &Value) -> Option<((String, String, String), Held)> {
    let text = |key: &str| entry.get(key)?.as_str().map(str::to_owned);
    let answer = STANDARD.decode(text("AllocResp")?).ok()?;
    let ids: BTreeSet<String> = entry
        .get("DeviceIDs")?
        .as_object()?
        .values()
        .flat_map(|ids| ids.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned))
        .collect();
    let answer = ContainerAllocateResponse::decode(answer.as_slice()).ok()?;
    Some(((text("PodUID")?, text("ContainerName")?, text("ResourceName")?), Held { ids, answer }))
}
