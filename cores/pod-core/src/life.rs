//! The pod's life as a state machine without I/O: events in, actions out, and the status a kubelet would write.
//!
//! The shell gives each [`Event`] with the time at which it happened and carries out the [`Action`]s in their order. When
//! nothing happens it calls again at the time that [`Machine::wake`] names, with [`Event::Tick`]. An action is answered
//! by an event that carries the same [`Instance`]; an answer for an instance that is gone changes nothing.
//!
//! ```text
//! pod         (new) --Tick--> preparing --Prepared--> running ----------------> ending -----------> final --Removed--> over
//!                              | ^  |                  init containers in order,  every container     phase Succeeded
//!                              +-+  +--fatal, Delete-> then main containers       stops within the    or Failed;
//!                            back-off     (ending)                                grace               Remove
//!
//! container   idle --its turn--> pulling --ImageReady--> starting --Started--> running --Exited--> idle, or over for good
//!              ^ ^                  |                       |                    |
//!              | +---back-off-------+--------back-off-------+                    +--probe or hook failed, pod ends:
//!              +--------------------------------------------------Exited--------------- preStop, turn, Stop
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use outrigger_pod_core::life::{Action, Event, Machine, Options};
//! use outrigger_pod_core::plan::PodPlan;
//!
//! # let manifest = serde_json::json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
//! let plan = Arc::new(PodPlan::new(serde_json::from_value(manifest)?, "1e9b5a3c-0000-4000-8000-000000000000")?);
//! # let now = jiff::Timestamp::UNIX_EPOCH;
//! let mut machine = Machine::new(plan, Options::default(), now);
//! assert_eq!(machine.step(now, Event::Tick), [Action::Prepare]);
//! assert_eq!(machine.status().phase.as_deref(), Some("Pending"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Ending begins by itself when no main container will run again or an init container failed for good, by the deadline
//! (`activeDeadlineSeconds`), by [`Event::Delete`] and by [`Event::Evict`]. The phase becomes final when the last
//! container has ended, never before (`pkg/kubelet/status/status_manager.go`, `mergePodStatus`).
//!
//! What it does not do: it measures nothing, runs nothing, and never asks for the time. It differs from a kubelet where
//! that works in rounds (`SyncPod`): what a round does at its next turn happens here at once, so a start that waits for
//! a hook of another container, or a deletion that waits for a running `postStart`, wait here only as long as the rule
//! behind it asks.

mod backoff;
mod conditions;
mod container;
mod ending;
mod event;
mod machine;
mod note;
mod phase;
mod probe;
mod record;
mod resources;
mod restart;
mod start;
mod status;
mod stop;

pub use event::{
    Action, Deletion, Event, Exit, Found, HookKind, HookOutcome, ImageProblem, Instance, LinuxUser, Note, PodAddresses,
    PrepareProblem, ProbeKind, ProbeOutcome, Pulled, StartProblem,
};
pub use machine::{Machine, Options};
pub use record::{Lost, RestoreError, World};
pub use status::LastExit;
