//! The pod's life as a state machine without I/O: events in, actions out, and the status a kubelet would write.
//!
//! The shell gives each [`Event`] with the time at which it happened and carries out the [`Action`]s in their order. When
//! nothing happens it calls again at the time that [`Machine::wake`] names, with [`Event::Tick`]. An action is answered
//! by an event that carries the same [`Instance`]; an answer for an instance that is gone changes nothing.
//!
//! What it does not do: it measures nothing, runs nothing, and never asks for the time.

mod event;

pub use event::{
    Action, Deletion, Event, Exit, Found, HookKind, HookOutcome, ImageProblem, Instance, Note, PodAddresses, ProbeKind,
    ProbeOutcome, StartProblem,
};
