//! Serves gRPC on one connection of a unix socket.
//!
//! ```text
//! accepted ──preface──► answering ──stop──► no new calls ──calls answered──► ended
//!     └──── nothing sensible in time ────────────────────────────────────────► ended
//! ```
//!
//! What it does not do: it accepts no connections and limits only what one of them may take.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::spawn::Owner;

/// How many calls one connection may have under way. A kubelet has one stream and a few calls.
const MAX_CALLS: u32 = 256;

/// The most bytes of headers of one call. A kubelet sends about 200.
const MAX_HEADERS: u32 = 16 * 1024;

/// How many bytes of answers one call may hold unsent inside the connection; a larger message is held whole, but only one.
const SEND_BUFFER: usize = 64 * 1024;

/// What a connection has been used for; shared with whoever decides about its end.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<AtomicBool>);

impl Activity {
    /// Whether a call has come on the connection.
    pub fn was_called(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers calls on a connection until its peer ends it or `stop` completes; then no new call is taken, and those under way
/// are answered first. Dropping the future ends the connection and every call on it at once.
///
/// `service` is a generated server, for example
/// [`DevicePluginServer`](crate::device_plugin::device_plugin_server::DevicePluginServer). What is no HTTP/2 ends the
/// connection with an error. An `:authority` that is no URI authority (a percent-encoded path, as a kubelet's plugin
/// watcher sends it) is refused by the h2 crate before any service sees it.
pub async fn serve_connection<S>(
    connection: UnixStream,
    service: S,
    activity: Activity,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let calls = Owner::default();
    let called = activity.clone();
    let answer = service_fn(move |request| {
        called.0.store(true, Ordering::Relaxed);
        service.clone().call(request)
    });
    let served = http2::Builder::new(calls.spawner())
        .max_concurrent_streams(MAX_CALLS)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(connection), answer);
    let (mut served, stop) = (pin!(served), pin!(stop));
    tokio::select! {
        ended = served.as_mut() => return ended,
        () = stop => (),
    }
    if !activity.was_called() {
        return Ok(()); // Perhaps not even the preface has come; hyper would wait for it.
    }
    served.as_mut().graceful_shutdown();
    served.await
}
