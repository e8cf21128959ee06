//! A namespace of one test: its pods, what is waited for in it, and what is told of it where the test fails.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::api::Objects;
use super::{Cluster, PATIENCE};

/// The image with a shell that every cluster has.
pub const IMAGE: &str = "localhost/busybox:1";

/// A namespace, and the cluster it is in.
#[derive(Debug)]
pub struct Namespace<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    /// Its name.
    pub name: String,
}

/// A pod of one container.
pub fn pod(name: &str, script: &str, resources: &[&str]) -> Value {
    let limits: Value = resources.iter().map(|resource| ((*resource).to_owned(), json!("1"))).collect();
    let container = json!({"name": "app", "image": IMAGE, "command": ["sh", "-ec", script],
        "resources": {"limits": limits}});
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container],
        "automountServiceAccountToken": false, "enableServiceLinks": false});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A pod's phase.
pub fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

/// The state of a pod's only container.
pub fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// What must stay as it is where a pod is left alone: its container's id, restarts, start and place in the pod's life.
pub fn life(pod: &Value) -> Value {
    let status = container(pod);
    json!([pod["metadata"]["uid"], status["containerID"], status["restartCount"], status["state"], phase(pod)])
}

impl<'c> Namespace<'c> {
    /// Makes it, with the service account that pods need.
    pub fn make(cluster: &'c Cluster, name: &str) -> Result<Self> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        cluster.api()?.create("/api/v1/namespaces", &object)?;
        let namespace = Self { cluster, name: name.to_owned() };
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
        namespace.follow(&path, "its service account is there", |accounts| {
            Ok(accounts.contains_key("default").then_some(()))
        })?;
        Ok(namespace)
    }

    /// The path of its pods.
    pub fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.name)
    }

    /// Makes a pod.
    pub fn start(&self, pod: &Value) -> Result<()> {
        self.cluster.api()?.create(&self.pods(), pod).map(drop)
    }

    /// Deletes a pod and waits until it is gone.
    pub fn delete(&self, pod: &str) -> Result<()> {
        self.cluster.api()?.delete(&format!("{}/{pod}?gracePeriodSeconds=0", self.pods()))?;
        self.until(&format!("{pod} is gone"), |pods| Ok((!pods.contains_key(pod)).then_some(())))
    }

    /// Waits until its pods are such. A component that ends meanwhile is a failure with its log, at once.
    pub fn until<T>(&self, what: &str, found: impl FnMut(&Objects) -> Result<Option<T>>) -> Result<T> {
        self.follow(&self.pods(), what, found)
    }

    /// Waits until these objects are such.
    pub fn follow<T>(&self, path: &str, what: &str, found: impl FnMut(&Objects) -> Result<Option<T>>) -> Result<T> {
        let glance = || self.cluster.is_whole().and_then(|()| self.cluster.has_no_crash());
        let followed = self.cluster.api()?.follow(path, PATIENCE, glance, found);
        followed.with_context(|| format!("while it was waited until {what}"))
    }

    /// Waits until a pod's container runs, and answers the pod.
    pub fn running(&self, pod: &str) -> Result<Value> {
        self.until(&format!("{pod} runs"), |pods| {
            let Some(pod) = pods.get(pod) else { return Ok(None) };
            anyhow::ensure!(!["Failed", "Succeeded"].contains(&phase(pod)), "it has ended: {}", pod["status"]);
            Ok(container(pod)["state"].get("running").map(|_| pod.clone()))
        })
    }

    /// A pod as it is now.
    pub fn get(&self, pod: &str) -> Result<Value> {
        self.cluster.api()?.get(&format!("{}/{pod}", self.pods()))
    }

    /// What a pod's container has said so far.
    pub fn said(&self, pod: &str) -> Result<String> {
        self.cluster.api()?.text(&format!("{}/{pod}/log", self.pods()))
    }

    /// Waits until a pod's container has said this many lines, and answers them.
    pub fn lines(&self, pod: &str, count: usize) -> Result<Vec<String>> {
        self.cluster.until_that(&self.name, &format!("{pod} says {count} lines"), || {
            Ok(count <= self.said(pod)?.lines().count())
        })?;
        Ok(self.said(pod)?.lines().map(str::to_owned).collect())
    }

    /// Removes all of it: its pods first, whose devices the next test wants.
    pub fn clear(self) -> Result<()> {
        let api = self.cluster.api()?;
        api.delete(&format!("{}?gracePeriodSeconds=0", self.pods()))?;
        self.until("its pods are gone", |pods| Ok(pods.is_empty().then_some(())))?;
        api.delete(&format!("/api/v1/namespaces/{}", self.name))
    }

    /// What an engineer would ask for.
    pub fn explain(&self) -> String {
        let mut told = format!("in the namespace {}:\n{}", self.name, self.cluster.explain(&self.name));
        let pods = self.cluster.api().and_then(|api| api.get(&self.pods())).unwrap_or_default();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let said = self.said(name).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(told, "{name} said: {}", said.trim_end());
        }
        told
    }
}
