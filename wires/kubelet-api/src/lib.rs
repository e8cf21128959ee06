//! What a kubelet speaks on its unix sockets: the device plugin protocol v1beta1 ([`device_plugin`]) and the pod resources
//! API v1 ([`pod_resources`]), with gRPC to carry them ([`serve_connection`], [`Channel`]); and what it keeps of that in a
//! file ([`kept_answers`]).
//!
//! ```text
//! plugin ──Channel──► kubelet.sock              Registration.Register
//! kubelet ──────────► plugin's own socket       DevicePlugin.ListAndWatch, Allocate, …   (serve_connection)
//! anybody ──Channel─► pod-resources/kubelet.sock  PodResourcesLister.List, …
//! ```
//!
//! The messages are made from `proto/*.proto`, which state the numbers of fields as the kubelet has them. Their Rust names
//! are this crate's; the wire knows only numbers. The types of tonic that a server or a caller needs stand here too
//! ([`Request`], [`Response`], [`Status`], [`Code`]), so that nobody else names tonic.
//!
//! What it does not do: it decides nothing, retries nothing, and opens no listener.

mod channel;
mod checkpoint;
mod list;
mod server;
mod spawn;

pub use channel::{Channel, ConnectError, LOCALHOST};
pub use checkpoint::{CHECKPOINT, CheckpointError, kept_answers};
pub use prost::bytes::Bytes;
pub use server::{Activity, serve_connection};
pub use tonic::codegen::tokio_stream::Stream;
pub use tonic::{Code, Request, Response, Status, Streaming, async_trait};

/// The name of the kubelet's own socket in its device-plugins directory and in its pod-resources directory.
pub const KUBELET_SOCKET: &str = "kubelet.sock";

/// The largest message that a kubelet takes, in bytes: grpc-go's default, which the kubelet never raised.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The longest path that a unix socket can have, in bytes: `sun_path` has 108 and ends with a zero.
pub const MAX_SOCKET_PATH: usize = 107;

/// The device plugin protocol: package `v1beta1`.
///
/// Source: Kubernetes, `staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1`.
#[allow(clippy::pedantic, reason = "generated from proto/device_plugin.proto")]
pub mod device_plugin {
    /// The only version that kubelets speak.
    pub const VERSION: &str = "v1beta1";
    /// The health of a device that may be given.
    pub const HEALTHY: &str = "Healthy";
    /// The health of a device that may not be given.
    pub const UNHEALTHY: &str = "Unhealthy";
    /// How long a kubelet waits for `PreStartContainer`.
    pub const PRE_START_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

    pub use crate::list::{ListAndWatchResponse, encode_device};

    tonic::include_proto!("v1beta1");
}

/// Who holds what: package `v1`.
///
/// Source: Kubernetes, `staging/src/k8s.io/kubelet/pkg/apis/podresources/v1`.
#[allow(clippy::pedantic, reason = "generated from proto/pod_resources.proto")]
pub mod pod_resources {
    tonic::include_proto!("v1");
}
