//! The admin endpoint of a long-running process: plain HTTP/1.1 on a listener that the caller has bound.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | the registry as `OpenMetrics` text |
//! | `/healthz`, `/health` | 200 while the process runs; the second name is that of programs which we stand in for |
//! | `/readyz` | 200 when ready, else 503 with the names of what is missing |
//! | `/loglevel` | GET: what is logged; PUT changes it, only over loopback or a unix socket |
//!
//! Everything is bounded. At 64 connections the next waits in the kernel's queue; a connection that sends no complete
//! request for 10 s is closed, and none lives longer than two minutes; a head may have 16 KiB and a body 1 KiB.
//!
//! What it does not do: no TLS and no tokens. Whoever binds it wider than loopback shows metrics, and nothing else, to
//! whoever can connect.

mod answer;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Children, LogLevel, Readiness};
use answer::Endpoint;

/// The most connections at a time.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head, and how long it may idle between two.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may live. It ends after the answer that is under way.
const CONNECTION_TIME: Duration = Duration::from_mins(2);
/// How long an answer under way may take when its connection is to end.
const LAST_ANSWER_TIME: Duration = Duration::from_secs(2);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// How long to wait where the process has no descriptors or memory left for one more connection.
const EXHAUSTED_WAIT: Duration = Duration::from_secs(1);

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// At an address. Its callers may change something where they are on this machine.
    Tcp(TcpListener),
    /// At a path, whose mode says who may connect. Its callers may change something.
    Unix(UnixListener),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Tcp(SocketAddr),
    Unix,
}

/// Why the admin endpoint ended before it was stopped.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The listener itself is broken; a lack of descriptors or memory is waited out instead.
    #[error("the admin endpoint cannot accept connections")]
    Accept {
        /// What accept(2) said.
        source: io::Error,
    },
}

/// Serves the admin endpoint until `stop`.
pub async fn serve(
    listener: impl Into<Listener>,
    metrics: Arc<Registry>,
    readiness: Readiness,
    log_level: LogLevel,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    let listener = listener.into();
    info!(address = %listener, "Admin endpoint at {listener}");
    let endpoint = Arc::new(Endpoint { metrics, readiness, log_level });
    let mut connections = Children::new(CONNECTIONS);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = async {
                connections.room().await;
                listener.accept().await
            } => accepted,
        };
        match accepted {
            Ok((stream, caller)) => {
                let connection = converse(stream, caller, Arc::clone(&endpoint), stop.clone());
                let started = connections.start(format!("admin connection from {caller}"), connection);
                started.expect("`room` was waited for, and nobody else starts connections");
            }
            Err(source) if passes(&source) => debug!("A connection to the admin endpoint ended early: {source}"),
            Err(source) if exhausted(&source) => {
                warn!("The admin endpoint waits a second to accept its next connection: {source}");
                let _stopped = timeout(EXHAUSTED_WAIT, stop.cancelled()).await;
            }
            Err(source) => return Err(AdminError::Accept { source }),
        }
    }
    if let Err(overran) = connections.finish(LAST_ANSWER_TIME * 2).await {
        warn!("While the admin endpoint stopped: {overran}");
    }
    Ok(())
}

/// Answers the requests of one connection until it ends, idles, or is to stop.
async fn converse(
    stream: Box<dyn Stream>,
    caller: Caller,
    endpoint: Arc<Endpoint>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let service = service_fn(|request| {
        let endpoint = Arc::clone(&endpoint);
        async move { Ok::<_, Infallible>(endpoint.answer(request, caller).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = sleep(CONNECTION_TIME) => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        ended = timeout(LAST_ANSWER_TIME, connection).await.ok();
    }
    match ended {
        Some(Ok(())) => (),
        Some(Err(cause)) => debug!("The admin connection from {caller} broke: {:#}", anyhow::Error::new(cause)),
        None => debug!("The admin connection from {caller} did not take its last answer in time"),
    }
    Ok(())
}

/// The two kinds of connection, seen as one.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Box::new(stream), Caller::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Caller::Unix))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("an unknown address"),
            },
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                match address.as_ref().and_then(|address| address.as_pathname()) {
                    Some(path) => write!(f, "unix://{}", path.display()),
                    None => f.write_str("an unnamed socket"),
                }
            }
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("a unix socket"),
        }
    }
}

/// Whether only the connection that was being accepted is at fault.
fn passes(source: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(source.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether the process or the machine lacks what a connection needs, for now.
fn exhausted(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::{LogFilter, LogFormat, subscriber};

    /// A connection, and the other end of it.
    fn connection(stop: CancellationToken) -> (DuplexStream, impl Future<Output = Result<(), Infallible>>) {
        let (_, log_level) = subscriber(LogFilter::default(), LogFormat::Json, io::sink);
        let endpoint = Endpoint { metrics: Arc::default(), readiness: Readiness::new(), log_level };
        let (near, far) = duplex(64 * 1024);
        (near, converse(Box::new(far), Caller::Unix, Arc::new(endpoint), stop))
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_no_complete_request_is_closed() {
        for begun in [&b""[..], b"GET /hea", REQUEST] {
            let (mut near, connection) = connection(CancellationToken::new());
            let start = Instant::now();
            near.write_all(begun).await.unwrap();
            connection.await.unwrap();
            assert_eq!(start.elapsed().as_secs(), HEAD_TIME.as_secs(), "{}", String::from_utf8_lossy(begun));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_the_stop() {
        let stop = CancellationToken::new();
        let (mut near, connection) = connection(stop.clone());
        near.write_all(REQUEST).await.unwrap();
        let start = Instant::now();
        let client = async {
            let mut answer = [0; 15];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(connection, client);
        ended.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_answer_does_not_hold_its_connection() {
        let (mut near, connection) = connection(CancellationToken::new());
        let start = Instant::now();
        let flood = async { while near.write_all(REQUEST).await.is_ok() {} };
        let (ended, ()) = tokio::join!(connection, flood);
        ended.unwrap();
        assert!(start.elapsed() <= CONNECTION_TIME + LAST_ANSWER_TIME + Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_beyond_the_limit_is_refused() {
        let (mut near, connection) = connection(CancellationToken::new());
        let request = format!("GET /healthz HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES));
        near.write_all(request.as_bytes()).await.unwrap();
        connection.await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn it_serves_at_a_unix_socket_until_it_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (_, log_level) = subscriber(LogFilter::default(), LogFormat::Json, io::sink);
        let stop = CancellationToken::new();
        let server = serve(listener, Arc::default(), Readiness::new(), log_level, stop.clone());
        let client = async {
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            stream.write_all(b"PUT /loglevel HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwarn").await.unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(server, client);
        ended.unwrap();
    }

    #[test]
    fn a_lack_of_descriptors_is_waited_out_and_a_broken_listener_is_not() {
        assert!(exhausted(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(passes(&io::Error::from_raw_os_error(libc::ECONNABORTED)));
        let broken = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(!exhausted(&broken) && !passes(&broken));
    }
}
