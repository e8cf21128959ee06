//! Devices that the container runtime knows by name: a device plugin answers with CDI names, and files of the node say what
//! each means. The kubelet passes the names on, and containerd resolves them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::cluster::Cluster;
use outrigger_e2e::cluster::namespace::{self, Namespace};
use serde_json::{Value, json};

use crate::plugin::Plugin;
use crate::site::{Site, until_allocatable};

/// The resource, and the kind of its CDI names.
const THING: &str = "cdi.example.com/thing";

/// The only one of its kind.
const NAME: &str = "cdi.example.com/thing=one";

/// A file in the node's directory of CDI specifications. It goes with the value.
struct Specification(PathBuf);

impl Specification {
    /// One in which [`NAME`] is a device node and a variable. The node's path in the container is not that on the machine, so
    /// that nothing else can have brought it.
    fn write(cluster: &Cluster, site: &Site) -> Result<Self> {
        let node = json!({"path": "/dev/by-name", "hostPath": site.nodes.path(0), "permissions": "rw"});
        let edits = json!({"deviceNodes": [node], "env": ["BY_NAME=one"]});
        let text = json!({"cdiVersion": "0.6.0", "kind": THING, "devices": [{"name": "one", "containerEdits": edits}]});
        // containerd looks into `/var/run/cdi`; a link of the node's, followed from here, would lead to the machine's.
        let directory = cluster.root()?.join("run/cdi");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let (partial, path) = (directory.join("thing.partial"), directory.join("thing.json"));
        fs::write(&partial, text.to_string()).with_context(|| format!("cannot write {}", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Specification {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What a container is told that has the device: its kind and numbers, that it may be written, and the variable.
const SCRIPT: &str = "stat -c '%F %t:%T' /dev/by-name; echo written > /dev/by-name; echo $BY_NAME; exec sleep 100000";

/// A pod of a name without a specification fails and says which name; one that comes when it is there has the device.
pub fn names_of_devices_are_resolved_by_the_container_runtime(namespace: &Namespace, site: &Site) -> Result<()> {
    let program = env!("CARGO_BIN_EXE_cdi-device-plugin");
    let plugin = Plugin::start(namespace, program, [THING, "one"].into_iter())?;
    until_allocatable(namespace.cluster, THING, "1")?;
    namespace.start(&namespace::pod("early", SCRIPT, &[THING]))?;
    let events = format!("/api/v1/namespaces/{}/events", namespace.name);
    namespace.follow(&events, "an event names what has no specification", |events| {
        Ok(events.values().any(tells_of_the_name).then_some(()))
    })?;
    namespace.delete("early")?;

    let _specification = Specification::write(namespace.cluster, site)?;
    namespace.start(&namespace::pod("later", SCRIPT, &[THING]))?;
    namespace.running("later")?;
    let has = namespace.lines("later", 2)?;
    ensure!(has == ["character special file 1:3", "one"], "the container has of its device: {has:?}");
    plugin.end()
}

fn tells_of_the_name(event: &Value) -> bool {
    let message = event["message"].as_str().unwrap_or_default();
    event["type"] == "Warning" && event["involvedObject"]["name"] == "early" && message.contains(NAME)
}
