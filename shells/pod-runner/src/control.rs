//! A pod's control socket: how other processes ask a pod's runner, and how the runner answers.
//!
//! HTTP/1.1 with JSON under `/v1/` on a unix socket in the pod's directory. Server and client both live here; nobody else
//! builds these requests.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`]; with `?watch=true` one JSON document per line, again at each change |
//! | `GET /v1/logs?container=…` | the log as text; [`LogQuery`] has the options |
//! | `POST /v1/exec` | upgraded to a framed stream ([`Frame`]) with a new process |
//! | `POST /v1/attach` | upgraded to a framed stream with the container's main process |
//! | `POST /v1/stop` | the pod begins to end |
//! | `GET /v1/usage` | what each running container uses |
//!
//! The runner gives its [`Handle`](crate::handle::Handle) to [`serve`]; everyone else opens a [`Client`].
//!
//! # What happens at the limits
//!
//! | limit | at it |
//! |---|---|
//! | 64 connections | a further one waits in the kernel's queue until one ends |
//! | 48 of them streams (`watch`, `follow`, exec, attach) | 503 `busy`, so that `stop` always gets through |
//! | 10 s for the head and the body of a request | the connection is closed |
//! | 30 s for an answer that is not a stream | 504 `timeout` |
//! | 16 KiB of head, 1 MiB of body | 431, 413 |
//! | 64 KiB in a frame | the stream ends with an error frame |
//! | a reader that does not read | its stream waits; for attach the oldest output is dropped, and a notice says so |
//!
//! What it does not do: it decides nothing about the pod, and it starts nothing by itself.

mod client;
mod frame;
mod protocol;
mod query;
mod routes;
mod runs;
mod server;
mod session;
mod socket;
mod stream;

pub use client::{CallError, Client, LogText, OpenError, StatusChanges};
pub use frame::{Decoder, Frame, FrameError, MAX_PAYLOAD};
pub use protocol::{
    AttachQuery, ContainerUsage, ExecQuery, LogQuery, Refusal, RefusalCode, Size, Status, StopQuery, StreamChoice,
    VERSION,
};
pub use server::{ServeError, serve};
pub use session::{Session, SessionError, SessionEvent, SessionInput, SessionOutput};
pub use socket::{BindError, Bound, bind};
