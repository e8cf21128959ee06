//! What a test sees of the kubelet, all of it in one value that can be waited for.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// What the kubelet knows and what has happened to it since the first start.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whether it runs.
    pub running: bool,
    /// Every `Register` that came, in order, over all restarts.
    pub registrations: Vec<Registration>,
    /// By name, what it knows since its last start.
    pub resources: BTreeMap<String, ResourceView>,
    /// Every time that a resource lost all its devices while the kubelet ran, in order. Whoever watches a value may miss
    /// a moment; here none is missed.
    pub gaps: Vec<Gap>,
    /// Pods with devices that `PodResources` has told of: `namespace/pod`.
    pub told: BTreeSet<String>,
}

/// A time without devices, of a resource that had some.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The resource.
    pub resource: String,
    /// When the last device went.
    pub from: Instant,
    /// When the first came back; `None` as long as there is none.
    pub until: Option<Instant>,
}

/// One call of `Register`.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The resource.
    pub resource: String,
    /// The socket's file name.
    pub endpoint: String,
    /// The protocol's version.
    pub version: String,
    /// When it came.
    pub at: Instant,
    /// `None` while it is pending, then how it was answered.
    pub answer: Option<Result<(), String>>,
}

/// One resource.
#[derive(Clone, Debug, Default)]
pub struct ResourceView {
    /// The devices of the last list.
    pub devices: BTreeMap<String, Listed>,
    /// Devices that pods could get: healthy ones, and 0 without a stream.
    pub allocatable: usize,
    /// Streams that are open now, of all instances.
    pub streams: usize,
    /// Streams that have ended.
    pub ended: u64,
    /// Why the last one ended.
    pub last_end: Option<String>,
    /// Lists read.
    pub lists: u64,
    /// Bytes of the largest list.
    pub largest: usize,
}

/// One device of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As the plugin said it.
    pub health: String,
    /// NUMA nodes; `None` without topology.
    pub numa: Option<Vec<i64>>,
}

impl View {
    /// Pods could get so many of this resource.
    pub fn allocatable(&self, resource: &str) -> usize {
        self.resources.get(resource).map_or(0, |resource| resource.allocatable)
    }

    /// The times in which pods could get none of this resource, though the kubelet ran and had known some.
    pub fn gaps_of(&self, resource: &str) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(move |gap| gap.resource == resource)
    }

    /// How many times this resource was registered.
    pub fn registrations_of(&self, resource: &str) -> usize {
        self.registrations.iter().filter(|registration| registration.resource == resource).count()
    }
}
