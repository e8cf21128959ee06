//! The configuration as it is meant: which devices make which resource, and how they are handed out.
//!
//! Every default is filled in, save those that depend on the host. [`validate`] finds all that is wrong with it.
//!
//! What it does not do: it reads no text. Patterns stay text here, since that is what an operator reads of them.

mod fault;
mod select;
mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

pub use fault::{Fault, FieldPath, Severity, Step};
pub use select::{
    BlockRule, Child, CountedRule, PathKind, PathPattern, PathRule, Select, SerialRule, TextPattern, Transport,
    UsbIdentity, UsbRule, VideoRule,
};
pub use validate::{is_cdi_kind, is_resource_name, socket_path_length, validate};

/// The whole configuration that decisions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The resources in the order of the file: an earlier one has a device before a later one.
    pub resources: Vec<Resource>,
    /// How ids are made.
    pub ids: IdScheme,
    /// What to do where evidence about a disk's use is missing.
    pub evidence: EvidencePolicy,
    /// The plugin directory as the *kubelet* sees it; only its length matters, for the sockets in it.
    pub plugin_directory: String,
}

/// Where the kubelet looks for sockets unless it is told otherwise.
pub const PLUGIN_DIRECTORY: &str = "/var/lib/kubelet/device-plugins/";

impl Default for Rules {
    fn default() -> Self {
        Self {
            resources: Vec::new(),
            ids: IdScheme::Short,
            evidence: EvidencePolicy::Required,
            plugin_directory: PLUGIN_DIRECTORY.to_owned(),
        }
    }
}

/// How ids are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdScheme {
    /// Ten characters of a digest of what the device is.
    Short,
    /// Those of generic-device-plugin: a digest of paths.
    Gdp,
}

/// What to do where evidence about a disk's use is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidencePolicy {
    /// Withhold the disk: it cannot be verified.
    Required,
    /// Offer what sysfs shows as free, as replaced programs do that cannot see more.
    Sysfs,
}

/// Whose configuration a resource was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Ours.
    Own,
    /// That of generic-device-plugin: resources may name the same node.
    Gdp,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The full name, `domain/name`. With `per_match` it may hold `{path}`.
    pub name: String,
    /// Whose keys it was written with.
    pub dialect: Dialect,
    /// A fixed socket name in the plugin directory.
    pub socket: Option<String>,
    /// All groups feed the same resource.
    pub groups: Vec<Group>,
    /// Whether CDI names are answered instead of nodes.
    pub cdi: bool,
    /// How the kubelet is advised to choose.
    pub prefer: Prefer,
    /// Whether a container's start checks the device again; `None` is the default, see [`Resource::verifies_start`].
    pub pre_start: Option<PreStart>,
    /// Whether another resource of this node may offer the same node. Both must say so.
    pub share: bool,
    /// When a device is unhealthy and when it is well again.
    pub health: HealthPolicy,
    /// Variables added to each answer; values are templates.
    pub env: BTreeMap<String, String>,
    /// Annotations added to each answer; values are templates.
    pub annotations: BTreeMap<String, String>,
    /// Mounts added to each answer; paths are templates.
    pub mounts: Vec<MountTemplate>,
    /// Whether each match of a path becomes a resource of its own.
    pub per_match: bool,
}

impl Resource {
    /// A resource of ours with every default.
    pub fn new(name: impl Into<String>, groups: Vec<Group>) -> Self {
        Self {
            name: name.into(),
            dialect: Dialect::Own,
            socket: None,
            groups,
            cdi: false,
            prefer: Prefer::None,
            pre_start: None,
            share: false,
            health: HealthPolicy::default(),
            env: BTreeMap::new(),
            annotations: BTreeMap::new(),
            mounts: Vec::new(),
            per_match: false,
        }
    }

    /// Whether a container's start checks the device again: a cached answer is repeated at a container's restart, and a
    /// disk must then be the same. With CDI the runtime looks the name up itself.
    pub fn verifies_start(&self) -> bool {
        let is_block = self.groups.iter().any(|group| matches!(group.select, Select::Block(_)));
        self.pre_start.map_or(is_block && !self.cdi, |chosen| chosen == PreStart::Verify)
    }
}

/// How the kubelet is advised to choose among free devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// Not at all.
    None,
    /// Fewest NUMA nodes, then controllers, then devices.
    Packed,
    /// Most of them.
    Spread,
}

/// What a container's start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreStart {
    /// Nothing.
    None,
    /// Checks that the device is the one that was assigned, and refuses otherwise.
    Verify,
}

/// When a device is unhealthy, when it is well again, and how long one that is gone stays listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// This many failed checks in a row.
    pub unhealthy_after: u32,
    /// Uninterrupted good for so long.
    pub healthy_after: Duration,
    /// A vanished device stays listed for so long, and as long as it is claimed.
    pub vanish_grace: Duration,
    /// How often to check what nothing announces.
    pub every: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            unhealthy_after: 3,
            healthy_after: Duration::from_secs(10),
            vanish_grace: Duration::from_secs(300),
            every: Duration::from_secs(10),
        }
    }
}

/// A mount that is added to each answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountTemplate {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// Some units of a resource, all found by the same rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many may hold one device at once; at least 1.
    pub count: u32,
    /// Where the nodes of a unit appear in the container; a trailing `/` means a directory. Paths have their own.
    pub mount_path: Option<String>,
    /// A subset of `rwm`; `None` is the default of the kind.
    pub permissions: Option<String>,
    /// Owner and mode of the node in the container; needs CDI.
    pub owner: Option<Owner>,
    /// Further groups of the container's processes; needs CDI.
    pub additional_gids: Vec<u32>,
    /// Whether each match is a unit, or all together are one.
    pub unit: UnitOf,
    /// What it selects.
    pub select: Select,
}

impl Group {
    /// A group with every default: each match is a unit, held by one.
    pub fn new(select: Select) -> Self {
        Self {
            count: 1,
            mount_path: None,
            permissions: None,
            owner: None,
            additional_gids: Vec::new(),
            unit: UnitOf::Each,
            select,
        }
    }
}

/// What makes one unit. Paths always combine as generic-device-plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitOf {
    /// Each match.
    Each,
    /// All matches together: what generic-device-plugin's `usb` means.
    All,
}

/// Owner and mode of a node in the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}
