//! The file in which a kubelet remembers who holds which devices, and what each container was given for them.
//!
//! ```text
//! {"Data": {"PodDeviceEntries": [{"PodUID", "ContainerName", "ResourceName",
//!                                 "DeviceIDs": {"<NUMA node, or -1>": ["<id>"]},
//!                                 "AllocResp": "<base64 of a ContainerAllocateResponse>"}],
//!           "RegisteredDevices": {"<resource>": ["<id>"]}},
//!  "Checksum": n}
//! ```
//!
//! It is replaced as a whole when something was given and after each list, and a kubelet that starts goes on with it, also
//! after the machine has started anew.
//!
//! Source: Kubernetes 1.36.3, `pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go` and `pod_devices.go`.
//!
//! What it does not do: it writes none and checks no sum, which is a kubelet's business.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;

use crate::device_plugin::ContainerAllocateResponse;

/// The file's name, in the device-plugins directory.
pub const CHECKPOINT: &str = "kubelet_internal_checkpoint";

/// Why a checkpoint cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is not of the known form.
    #[error("it is no checkpoint of a kubelet")]
    Form(#[from] serde_json::Error),
    /// An answer in it is no base64.
    #[error("an answer in it is not base64")]
    Base64(#[from] base64::DecodeError),
    /// An answer in it is no message.
    #[error("an answer in it is not of the device plugin protocol")]
    Message(#[from] prost::DecodeError),
}

/// What containers were given for exactly these ids of a resource. More than one answer where an init container and a later
/// container of its pod had the same devices.
///
/// # Errors
/// Where the text, or an answer that is asked for, has not the form of a kubelet's.
pub fn kept_answers(
    text: &[u8],
    resource: &str,
    ids: &BTreeSet<&str>,
) -> Result<Vec<ContainerAllocateResponse>, CheckpointError> {
    let Checkpoint { data } = serde_json::from_slice(text)?;
    let is_asked = |entry: &Entry| entry.resource == resource && entry.ids().eq(ids.iter().copied());
    let answer = |entry: Entry| {
        let message = STANDARD.decode(entry.answer.unwrap_or_default())?;
        Ok(ContainerAllocateResponse::decode(message.as_slice())?)
    };
    data.entries.unwrap_or_default().into_iter().filter(is_asked).map(answer).collect()
}

#[derive(Deserialize)]
struct Checkpoint {
    #[serde(rename = "Data")]
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    /// Go writes null for a list that was never made.
    #[serde(rename = "PodDeviceEntries")]
    entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "ResourceName")]
    resource: String,
    #[serde(rename = "DeviceIDs")]
    by_node: Option<BTreeMap<String, Option<Vec<String>>>>,
    #[serde(rename = "AllocResp")]
    answer: Option<String>,
}

impl Entry {
    /// In order; a device of several NUMA nodes stands at each of them.
    fn ids(&self) -> impl Iterator<Item = &str> {
        let ids = self.by_node.iter().flat_map(BTreeMap::values).flatten().flatten();
        ids.map(String::as_str).collect::<BTreeSet<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_plugin::DeviceSpec;

    fn answer(host_path: &str) -> ContainerAllocateResponse {
        let container_path = "/dev/disk".to_owned();
        let device = DeviceSpec { container_path, host_path: host_path.to_owned(), permissions: "rw".to_owned() };
        ContainerAllocateResponse { devices: vec![device], ..ContainerAllocateResponse::default() }
    }

    fn entry(container: &str, resource: &str, ids: &str, host_path: &str) -> String {
        let answer = STANDARD.encode(answer(host_path).encode_to_vec());
        format!(
            r#"{{"PodUID":"u","ContainerName":"{container}","ResourceName":"{resource}","DeviceIDs":{ids},"AllocResp":"{answer}"}}"#
        )
    }

    fn file(entries: &str) -> String {
        format!(
            r#"{{"Data":{{"PodDeviceEntries":{entries},"RegisteredDevices":{{"example.com/disk":["a"]}}}},"Checksum":7}}"#
        )
    }

    #[test]
    fn the_answers_for_exactly_these_ids_are_found() {
        let entries = [
            entry("init", "example.com/disk", r#"{"-1":["a"]}"#, "/dev/sda"),
            entry("app", "example.com/disk", r#"{"0":["b","a"],"1":["a"]}"#, "/dev/sdb"),
            entry("app", "example.com/radio", r#"{"-1":["a"]}"#, "/dev/ttyUSB0"),
            entry("again", "example.com/disk", r#"{"0":["a"],"1":null}"#, "/dev/sdc"),
        ];
        let text = file(&format!("[{}]", entries.join(",")));
        let of = |ids: &[&str]| kept_answers(text.as_bytes(), "example.com/disk", &ids.iter().copied().collect());
        assert_eq!(of(&["a"]).unwrap(), [answer("/dev/sda"), answer("/dev/sdc")]);
        assert_eq!(of(&["a", "b"]).unwrap(), [answer("/dev/sdb")]);
        assert_eq!(of(&["b"]).unwrap(), []);
    }

    #[test]
    fn a_kubelet_that_gave_nothing_yet_has_kept_nothing() {
        let ids = BTreeSet::from(["a"]);
        for entries in ["null", "[]"] {
            assert_eq!(kept_answers(file(entries).as_bytes(), "example.com/disk", &ids).unwrap(), []);
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_said_to_be_none() {
        let ids = BTreeSet::from(["a"]);
        let of = |text: &str| kept_answers(text.as_bytes(), "r", &ids).unwrap_err();
        let entry = |answer: &str| {
            file(&format!(r#"[{{"ResourceName":"r","DeviceIDs":{{"0":["a"]}},"AllocResp":"{answer}"}}]"#))
        };
        for text in ["", "{}", "[]", &file("{}")] {
            assert!(matches!(of(text), CheckpointError::Form(_)), "{text}");
        }
        assert!(matches!(of(&entry("?")), CheckpointError::Base64(_)));
        assert!(matches!(of(&entry("/w==")), CheckpointError::Message(_)));
    }
}
