//! What the kubelet starts a container with: the answer that it has kept, whichever agent gave it, and however long ago.
//!
//! A kubelet asks for a container's devices once. At each start of the container it repeats the answer, also after the machine
//! has started anew, when what was `/dev/sdb` may be `/dev/sdc`. What an agent that has started since then does not know, the
//! kubelet's file tells ([`CHECKPOINT`]).
//!
//! What it does not do: it does not say whether the answer still holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;
use outrigger_device_core::answer::{Answer, Node};
use outrigger_kubelet_api::device_plugin::{ContainerAllocateResponse, DeviceSpec};
use outrigger_kubelet_api::{CHECKPOINT, kept_answers};
use tracing::{debug, warn};

/// What a kubelet has kept.
#[derive(Debug)]
pub struct Kept {
    file: PathBuf,
}

impl Kept {
    /// By the kubelet whose directory of device plugins this is.
    pub fn at(plugin_directory: &Path) -> Self {
        Self { file: plugin_directory.join(CHECKPOINT) }
    }

    /// What a container that has exactly these ids of a resource was given; nothing, and a line in the log, where that cannot
    /// be read.
    pub fn answers(&self, resource: &str, ids: &[String]) -> Vec<Answer> {
        let file = self.file.display();
        match self.read(resource, ids) {
            Ok(answers) => answers.into_iter().map(answer).collect(),
            Err(error)
                if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) =>
            {
                debug!("The kubelet keeps nothing in {file}");
                Vec::new()
            }
            Err(error) => {
                warn!(
                    resource,
                    "Whether a container starts with the devices of its pod is known only of those that this agent gave: {error:#}"
                );
                Vec::new()
            }
        }
    }

    fn read(&self, resource: &str, ids: &[String]) -> anyhow::Result<Vec<ContainerAllocateResponse>> {
        let what = || format!("cannot read {}, which the kubelet keeps", self.file.display());
        let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        kept_answers(&fs::read(&self.file).with_context(what)?, resource, &ids).with_context(what)
    }
}

/// The part of an answer that can come to be wrong.
fn answer(kept: ContainerAllocateResponse) -> Answer {
    let node = |DeviceSpec { container_path, host_path, permissions }| Node { host_path, container_path, permissions };
    Answer {
        env: kept.envs.into_iter().collect(),
        nodes: kept.devices.into_iter().map(node).collect(),
        ..Answer::default()
    }
}
