//! The server of a pod's control socket: one function that owns its connections.
//!
//! Each connection carries one request. What an answer does after its head (a followed log, a framed stream) runs beside
//! the connection in the same task, so that both end together.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_runtime::Children;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::routes::{self, After, Answer, Reply};
use super::socket;
use crate::handle::Handle;

/// The most connections at a time.
const CONNECTIONS: usize = 64;

/// The most of them that may be streams.
const STREAMS: usize = 48;

/// The time limit for the head of a request, and again for its body.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long, after the stop, no reader may take anything of a log before the connections that are open are cut.
const GRACE: Duration = Duration::from_secs(2);

/// The pause after a failure to accept that passes by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server ended though nothing asked it to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener is of no use any more.
    #[error("cannot accept connections on the control socket")]
    Accept(#[source] io::Error),
}

/// What every connection shares.
pub(super) struct Shared {
    pub(super) handle: Handle,
    pub(super) streams: Arc<Semaphore>,
    /// How many pieces of logs readers have taken.
    pub(super) taken: Arc<AtomicU64>,
}

/// Serves the control socket until `stop`. Open streams then come to their end: all of a log is sent, unless its reader takes
/// nothing for 2 s.
pub async fn serve(listener: UnixListener, handle: Handle, stop: CancellationToken) -> Result<(), ServeError> {
    let shared = Arc::new(Shared { handle, streams: Arc::new(Semaphore::new(STREAMS)), taken: Arc::default() });
    let mut connections = Children::new(CONNECTIONS);
    let served = accept(&listener, &shared, &mut connections, &stop).await;
    drop(listener);
    loop {
        let before = shared.taken.load(Ordering::Relaxed);
        let ended = timeout(GRACE, connections.all_ended()).await.is_ok();
        if ended || shared.taken.load(Ordering::Relaxed) == before {
            break;
        }
    }
    if let Err(overran) = connections.finish(Duration::ZERO).await {
        debug!("Control connections were cut: {overran}");
    }
    served
}

async fn accept(
    listener: &UnixListener,
    shared: &Arc<Shared>,
    connections: &mut Children,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = connections.room() => {}
        }
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let child = connection(stream, Arc::clone(shared));
                connections.start("control connection", child).expect("there was room, and only this loop starts");
            }
            Err(error) if passes(&error) => {
                warn!("The control socket cannot accept a connection now: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => return Err(ServeError::Accept(error)),
        }
    }
}

/// Whether a failure to accept passes by itself: a peer that has gone, or want of descriptors or memory.
fn passes(error: &io::Error) -> bool {
    let passing = [libc::ECONNABORTED, libc::EINTR, libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

async fn connection(stream: UnixStream, shared: Arc<Shared>) -> Result<(), Infallible> {
    let allowed = stream.peer_cred().is_ok_and(|peer| socket::may_speak(peer.uid()));
    let (after, mut afters) = mpsc::channel::<After>(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, after) = (Arc::clone(&shared), after.clone());
        async move {
            let Reply { response, after: work } =
                if allowed { routes::reply(request, &shared).await } else { routes::forbidden() };
            if let Some(work) = work {
                // The connection carries one request, so the one place is free.
                let _ = after.try_send(work);
            }
            Ok::<Response<Answer>, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(READ_LIMIT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // When the connection ends, its service drops the sender, and the second half ends too.
    let (served, ()) = tokio::join!(serving, async {
        while let Some(work) = afters.recv().await {
            work.await;
        }
    });
    if let Err(error) = served {
        debug!("A control connection ended: {error}");
    }
    Ok(())
}
