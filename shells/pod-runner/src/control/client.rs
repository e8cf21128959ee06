//! The client of a pod's control socket. Each call makes a connection of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::protocol::{
    ATTACH_PATH, AttachQuery, ContainerUsage, EXEC_PATH, ExecQuery, LOGS_PATH, LogQuery, Refusal, RefusalCode,
    STATUS_PATH, STOP_PATH, STREAM_PROTOCOL, Status, StopQuery, USAGE_PATH, UsageByContainer,
};
use super::session::Session;
use super::socket::{self, SOCKET_NAME};
use outrigger_runtime::Driven;

/// How long an answer may take to begin; a little more than the server allows itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// The most bytes of an answer that is no stream.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Speaks to the runner of one pod.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no runner to speak to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No runner listens: it has ended, or has not begun.
    #[error("no runner answers at {}; the pod has ended, or its runner was killed", path.display())]
    NoRunner {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The socket is another user's.
    #[error("{} may only be used by the user who runs the pod, and by root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Connecting failed in another way.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no runner to speak to.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The runner refused; its text says why and what to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer came in time.
    #[error("the pod's runner gave no answer within {} s; it may be stopped or overloaded", ANSWER_LIMIT.as_secs())]
    Silent,
    /// The connection broke: the runner ended or was killed.
    #[error("the connection to the pod's runner broke")]
    Broken(#[source] hyper::Error),
    /// The answer is none that this release understands.
    #[error("the pod's runner answered what this release does not understand: {0}")]
    NotUnderstood(String),
}

impl Client {
    /// The client for the socket at this path, as the pod's status file names it. Nothing is opened yet.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The client for the pod in this directory; `named` is the socket that its status file names, if it does.
    ///
    /// Fails where no runner listens.
    pub async fn open(directory: &Path, named: Option<&Path>) -> Result<Self, OpenError> {
        let client = Self::at(named.map_or_else(|| directory.join(SOCKET_NAME), Path::to_owned));
        client.connect().await?;
        Ok(client)
    }

    /// Where the pod stands.
    pub async fn status(&self) -> Result<Status, CallError> {
        self.call(request(Method::GET, STATUS_PATH, Bytes::new())).await
    }

    /// Where the pod stands now, and again after each change until the pod is gone.
    pub async fn watch(&self) -> Result<StatusChanges, CallError> {
        let path = format!("{STATUS_PATH}?watch=true");
        let text = self.stream(request(Method::GET, &path, Bytes::new())).await?;
        Ok(StatusChanges { text, held: BytesMut::new(), ready: VecDeque::new() })
    }

    /// A container's log.
    pub async fn logs(&self, query: &LogQuery) -> Result<LogText, CallError> {
        let path = format!("{LOGS_PATH}{}", query.to_query());
        self.stream(request(Method::GET, &path, Bytes::new())).await
    }

    /// Runs a command in a container.
    pub async fn exec(&self, query: &ExecQuery) -> Result<Session, CallError> {
        self.upgrade(EXEC_PATH, query).await
    }

    /// Attaches to a container's main process.
    pub async fn attach(&self, query: &AttachQuery) -> Result<Session, CallError> {
        self.upgrade(ATTACH_PATH, query).await
    }

    /// Lets the pod end. Answers when its runner has taken that up; [`Client::watch`] tells when it is done.
    pub async fn stop(&self, query: StopQuery) -> Result<(), CallError> {
        let accepted: serde_json::Value = self.call(request(Method::POST, STOP_PATH, json(&query))).await?;
        drop(accepted);
        Ok(())
    }

    /// What the running containers use, by name.
    pub async fn usage(&self) -> Result<BTreeMap<String, ContainerUsage>, CallError> {
        self.call::<UsageByContainer>(request(Method::GET, USAGE_PATH, Bytes::new())).await
    }

    async fn connect(&self) -> Result<tokio::net::UnixStream, OpenError> {
        socket::connect(&self.socket).await.map_err(|source| {
            let path = self.socket.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => OpenError::NoRunner { path, source },
                io::ErrorKind::PermissionDenied => OpenError::Forbidden { path, source },
                _ => OpenError::Connect { path, source },
            }
        })
    }

    /// Sends a request and waits until the answer begins.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Driven), CallError> {
        let exchange = async {
            let io = TokioIo::new(self.connect().await?);
            let (mut sender, mut driven) = Driven::begin(io).await.map_err(CallError::Broken)?;
            let response = driven.drive(sender.send_request(request)).await.map_err(CallError::Broken)?;
            Ok((response, driven))
        };
        timeout(ANSWER_LIMIT, exchange).await.map_err(|_| CallError::Silent)?
    }

    async fn call<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Result<T, CallError> {
        let (response, mut driven) = self.send(request).await?;
        let status = response.status();
        let text = whole(response, &mut driven).await?;
        if !status.is_success() {
            return Err(refusal(status, &text));
        }
        serde_json::from_slice(&text).map_err(|error| CallError::NotUnderstood(error.to_string()))
    }

    async fn stream(&self, request: Request<Full<Bytes>>) -> Result<LogText, CallError> {
        let (response, mut driven) = self.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, &whole(response, &mut driven).await?));
        }
        Ok(LogText { body: response.into_body(), driven })
    }

    async fn upgrade(&self, path: &str, query: &(impl Serialize + Sync)) -> Result<Session, CallError> {
        let mut request = request(Method::POST, path, json(query));
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static(STREAM_PROTOCOL));
        let (response, mut driven) = self.send(request).await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(status, &whole(response, &mut driven).await?));
        }
        let upgraded = driven.drive(hyper::upgrade::on(response)).await.map_err(CallError::Broken)?;
        Ok(Session::new(TokioIo::new(upgraded)))
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "pod")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("the paths are ours, and a query is escaped")
}

fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("our own requests are plain values"))
}

async fn whole(response: Response<Incoming>, driven: &mut Driven) -> Result<Bytes, CallError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
    let collected = timeout(ANSWER_LIMIT, driven.drive(body)).await.map_err(|_| CallError::Silent)?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(CallError::Broken(*error)),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(CallError::NotUnderstood(format!("more than {ANSWER_BYTES} bytes")))
            }
            Err(error) => Err(CallError::NotUnderstood(error.to_string())),
        },
    }
}

fn refusal(status: StatusCode, text: &[u8]) -> CallError {
    let unknown = || Refusal { code: RefusalCode::Unknown, message: format!("the pod's runner answered {status}") };
    CallError::Refused(serde_json::from_slice(text).unwrap_or_else(|_| unknown()))
}

/// A log as it arrives. Dropping it ends the request.
pub struct LogText {
    body: Incoming,
    driven: Driven,
}

impl fmt::Debug for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogText").finish_non_exhaustive()
    }
}

impl LogText {
    /// The next bytes, cut anywhere; `None` at the end. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.driven.drive(self.body.frame()).await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(CallError::Broken)?.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// A pod's status as it changes. A reader that falls behind misses changes, never the last one.
#[derive(Debug)]
pub struct StatusChanges {
    text: LogText,
    held: BytesMut,
    ready: VecDeque<Status>,
}

impl StatusChanges {
    /// The next status; `None` when the pod is gone. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Status>, CallError> {
        loop {
            if let Some(status) = self.ready.pop_front() {
                return Ok(Some(status));
            }
            let Some(bytes) = self.text.next().await? else { return Ok(None) };
            self.held.extend_from_slice(&bytes);
            while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end + 1);
                let status = serde_json::from_slice(&line);
                self.ready.push_back(status.map_err(|error| CallError::NotUnderstood(error.to_string()))?);
            }
            if self.held.len() > ANSWER_BYTES {
                return Err(CallError::NotUnderstood(format!("more than {ANSWER_BYTES} bytes")));
            }
        }
    }
}
