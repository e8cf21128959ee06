//! What a product answers when a kubelet asks: the trait, and the plain values that cross it.
//!
//! What it does not do: no answer here knows gRPC. [`Refusal`]s become status codes in one place, inside this crate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;

/// A future of a trait that is used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers what a kubelet asks about the devices of one resource.
///
/// Calls come at any time and several at once, while lists are sent; a kubelet admits pods one after the other, so a slow
/// answer delays every pod of the node. Ids are neither empty nor doubled: this crate refuses such requests itself.
pub trait Answers: Send + Sync + 'static {
    /// What a container needs to use exactly these devices. A refusal fails the pod for good.
    fn allocate(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Allocation, Refusal>>;

    /// Which of the available devices to give. Asked only where [`Resource::preferred`](crate::Resource::preferred) is set.
    ///
    /// The answer holds `size` different ids of `available` and all of `must`; one that does not is logged as an error and
    /// replaced by a legal one.
    fn prefer(&self, choice: Choice) -> BoxFuture<'_, Result<Vec<String>, Refusal>>;

    /// A container with these devices is about to start, perhaps not for the first time. Asked only where
    /// [`Resource::pre_start`](crate::Resource::pre_start) is set; the kubelet waits 30 s. A refusal keeps it from starting.
    fn pre_start(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), Refusal>>;
}

/// What there is to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The ids that may be given, with those of `must`.
    pub available: Vec<String>,
    /// The ids that must be given.
    pub must: Vec<String>,
    /// How many ids are wanted.
    pub size: usize,
}

/// What one container gets with its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Environment variables. What the pod sets itself wins.
    pub env: BTreeMap<String, String>,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Device nodes.
    pub devices: Vec<DeviceNode>,
    /// Annotations of the container, as the container runtime (and NRI plugins) see them.
    pub annotations: BTreeMap<String, String>,
    /// Fully qualified CDI names: `vendor.example/class=device`. Kubelets before 1.28 drop them silently.
    pub cdi: Vec<String>,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where the container sees it.
    pub container_path: PathBuf,
    /// What is mounted.
    pub host_path: PathBuf,
    /// Whether the container may only read.
    pub read_only: bool,
}

/// A device node, or a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where the container sees it.
    pub container_path: PathBuf,
    /// The node on the host; no symbolic link, since not every container runtime follows one.
    pub host_path: PathBuf,
    /// One or more of `r`, `w` and `m` (mknod), each at most once.
    pub permissions: String,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the caller should make of it.
    pub code: RefusalCode,
    /// What was refused, with the id, the resource or device, and the reason.
    pub message: String,
}

/// What a caller should make of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// The id was never known.
    NotFound,
    /// The id is known, but may not be given now: withheld, unhealthy, vanished, or another device by now.
    FailedPrecondition,
    /// The request makes no sense.
    InvalidArgument,
    /// We are stopping; whoever comes next may answer.
    Unavailable,
}

impl RefusalCode {
    /// As it stands in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::FailedPrecondition => "failed_precondition",
            Self::InvalidArgument => "invalid_argument",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Refusal {
    /// An id that was never known.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::NotFound, message: message.into() }
    }

    /// A device that may not be given now.
    pub fn failed_precondition(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::FailedPrecondition, message: message.into() }
    }

    /// A request that makes no sense.
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::InvalidArgument, message: message.into() }
    }

    /// We are stopping.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: RefusalCode::Unavailable, message: message.into() }
    }
}
