//! What is told about each resource: to `/readyz`, to metrics, to people.
//!
//! What it does not do: it exports nothing. The values are counted here and named by the product.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::answers::RefusalCode;
use crate::resource::ResourceName;

/// The state of every resource that is served.
pub type States = BTreeMap<ResourceName, ResourceState>;

/// How a resource fares with the kubelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceState {
    /// The file name of its socket; `None` while it is not served.
    pub endpoint: Option<String>,
    /// Whether the kubelet has taken the last registration.
    pub registered: bool,
    /// Whether the kubelet reads our list.
    pub stream_connected: bool,
    /// Whether a newer instance is served, so that we send no lists; calls are answered all the same.
    pub silent: bool,
    /// What went wrong last, until it goes well again.
    pub last_error: Option<String>,
    /// Devices in the list that is sent.
    pub listed: usize,
    /// Devices that did not fit into a message.
    pub withheld: usize,
    /// Bytes that the whole list takes, at most.
    pub list_bytes: usize,
    /// Lists sent since the start, to all streams.
    pub lists_sent: u64,
    /// Registrations tried since the start.
    pub registrations: BTreeMap<(RegisterReason, RegisterResult), u64>,
    /// How long the registrations took that succeeded, added up.
    pub register_time: Duration,
    /// Calls answered since the start: what was called, and how it was refused.
    pub calls: BTreeMap<(Call, Option<RefusalCode>), u64>,
}

impl ResourceState {
    /// Whether the kubelet knows the resource and reads its list.
    pub fn is_ready(&self) -> bool {
        self.registered && self.stream_connected
    }
}

/// Why a resource was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterReason {
    /// It is served for the first time.
    Start,
    /// The kubelet's socket was made anew.
    KubeletSocket,
    /// Our own socket was removed or replaced.
    SocketGone,
    /// The kubelet ended our stream.
    StreamLost,
    /// The kubelet does not know our devices though its stream lives.
    Audit,
    /// A newer instance has ended, whom the kubelet asked since it registered.
    NewerEnded,
    /// The last attempt failed.
    Retry,
}

impl RegisterReason {
    /// As it stands in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::KubeletSocket => "kubelet_socket",
            Self::SocketGone => "socket_gone",
            Self::StreamLost => "stream_lost",
            Self::Audit => "audit",
            Self::NewerEnded => "newer_ended",
            Self::Retry => "retry",
        }
    }
}

/// How a registration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterResult {
    /// The kubelet took it.
    Taken,
    /// The kubelet answered with an error.
    Refused,
    /// The kubelet did not answer, or ended while it was asked.
    Unanswered,
}

impl RegisterResult {
    /// As it stands in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A call of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `Allocate`.
    Allocate,
    /// `GetPreferredAllocation`.
    Prefer,
    /// `PreStartContainer`.
    PreStart,
}

impl Call {
    /// As it stands in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Prefer => "prefer",
            Self::PreStart => "pre_start",
        }
    }
}

/// Where the state of one resource is written: its entry, and no other.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    states: watch::Sender<States>,
    name: ResourceName,
}

impl Board {
    pub(crate) fn new(states: watch::Sender<States>, name: ResourceName) -> Self {
        let board = Self { states, name };
        board.states.send_modify(|states| {
            states.entry(board.name.clone()).or_default();
        });
        board
    }

    /// Whose entry it is.
    pub(crate) fn name(&self) -> &ResourceName {
        &self.name
    }

    /// Changes the entry, and tells whoever watches only if it has changed.
    pub(crate) fn write(&self, change: impl FnOnce(&mut ResourceState)) {
        self.states.send_if_modified(|states| {
            let Some(state) = states.get_mut(&self.name) else { return false };
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    /// Strikes the entry: the resource is served no more.
    pub(crate) fn strike(&self) {
        self.states.send_if_modified(|states| states.remove(&self.name).is_some());
    }
}
