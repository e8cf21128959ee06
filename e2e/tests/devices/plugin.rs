//! A device plugin of the tests' own, in a pod: one that is wrong, or does what ours does not.

use std::path::PathBuf;

use anyhow::{Context, Result};
use outrigger_e2e::cluster::namespace::{self, Namespace};
use outrigger_e2e::fixture::SOCKET;
use serde_json::{Value, json};

/// The kubelet's directory for device plugins, as the node has it.
const DIRECTORY: &str = "/var/lib/kubelet/device-plugins";

/// The name of its pod.
const POD: &str = "plugin";

/// One that runs. There is one at a time: all have one socket.
pub struct Plugin<'n>(&'n Namespace<'n>);

impl<'n> Plugin<'n> {
    /// Starts a program of the tests with the kubelet's directory and these arguments.
    pub fn start<'a>(namespace: &'n Namespace, program: &str, args: impl Iterator<Item = &'a str>) -> Result<Self> {
        let command: Vec<&str> = ["/plugin", DIRECTORY].into_iter().chain(args).collect();
        let volumes = [("program", program, "/plugin"), ("sockets", DIRECTORY, DIRECTORY)];
        namespace.start(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "plugin", "image": namespace::IMAGE, "command": command,
                "volumeMounts": volumes.map(|(name, _, path)| json!({"name": name, "mountPath": path}))}],
            "volumes": volumes.map(|(name, path, _)| -> Value { json!({"name": name, "hostPath": {"path": path}}) }),
        }}))?;
        Ok(Self(namespace))
    }

    /// Ends it. The kubelet keeps what a plugin had for minutes; its socket goes with it.
    pub fn end(self) -> Result<()> {
        self.0.delete(POD)?;
        let directory: PathBuf = self.0.cluster.root()?.join(DIRECTORY.trim_start_matches('/'));
        std::fs::remove_file(directory.join(SOCKET)).context("the tests' device plugin has left no socket")
    }
}
