//! A client's connection to a unix socket: one gRPC connection, made now or not at all.
//!
//! What it does not do: it never connects again by itself. When the peer has ended the connection, calls fail and the
//! caller decides.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::Authority;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::spawn::Owner;

/// The `:authority` that a kubelet sends to device plugins, and that we send to it.
pub const LOCALHOST: &str = "localhost";

/// How many bytes the peer may send before we have read them: HTTP/2's default, with which grpc-go begins too.
const WINDOW: u32 = 65_535;

/// A connection to a gRPC server. Clones share it; it ends with the last clone.
///
/// Given to a generated client:
///
/// ```no_run
/// use outrigger_kubelet_api::pod_resources::ListPodResourcesRequest;
/// use outrigger_kubelet_api::pod_resources::pod_resources_lister_client::PodResourcesListerClient;
/// use outrigger_kubelet_api::{Channel, LOCALHOST};
///
/// # async fn held() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = Channel::connect("/var/lib/kubelet/pod-resources/kubelet.sock", LOCALHOST).await?;
/// let mut client = PodResourcesListerClient::new(channel);
/// for pod in client.list(ListPodResourcesRequest {}).await?.into_inner().pod_resources {
///     println!("{}/{}", pod.namespace, pod.name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    requests: http2::SendRequest<Body>,
    authority: Authority,
    _connection: Arc<Owner>,
}

/// Why [`Channel::connect`] has no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The socket does not take connections. `NotFound`: there is no such file. `ConnectionRefused`: nobody serves it (any
    /// more, or not yet).
    #[error("cannot connect to {}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever serves the socket does not speak HTTP/2.
    #[error("{} does not speak HTTP/2", .path.display())]
    Handshake {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        source: hyper::Error,
    },
    /// The `:authority` to send is none.
    #[error("\"{authority}\" is no :authority that can be sent")]
    Authority {
        /// As it was given.
        authority: String,
    },
}

impl Channel {
    /// Connects to the socket at `path`; each call will carry `authority` (a kubelet sends [`LOCALHOST`]).
    pub async fn connect(path: impl AsRef<Path>, authority: &str) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|source| ConnectError::Connect { path: path.to_owned(), source })?;
        Self::over(stream, path, authority).await
    }

    /// The same over a connection that is there already; `path` is only for messages.
    pub async fn over(stream: UnixStream, path: &Path, authority: &str) -> Result<Self, ConnectError> {
        let authority =
            Authority::try_from(authority).map_err(|_| ConnectError::Authority { authority: authority.to_owned() })?;
        let connection = Owner::default();
        let (requests, driver) = http2::Builder::new(connection.spawner())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Handshake { path: path.to_owned(), source })?;
        connection.spawner().execute(driver);
        Ok(Self { requests, authority, _connection: Arc::new(connection) })
    }

    /// Whether the peer has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().cloned();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = path.or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).expect("a URI of scheme, authority and path is whole");
        Box::pin(self.requests.send_request(request))
    }
}
