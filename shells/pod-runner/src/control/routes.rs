//! From a request on the control socket to its answer. Every refusal becomes a status code here, and only here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use outrigger_launcher::{BoxFuture, ExecRequest, LaunchError, LogStream};
use outrigger_pod_directory::log::read::{LogReader, LogText, ReadOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::protocol::{
    ATTACH_PATH, AttachQuery, ContainerUsage, EXEC_PATH, ExecQuery, LOGS_PATH, LogQuery, Refusal, RefusalCode,
    STATUS_PATH, STOP_PATH, STREAM_PROTOCOL, Status, StopQuery, StreamChoice, USAGE_PATH, UsageByContainer,
};
use super::server::{READ_LIMIT, Shared};
use super::{query, runs, stream};
use crate::drive::in_words;
use crate::handle::{Handle, Request as PodRequest, RequestError};

/// The time limit for an answer that is not a stream.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes of a request's body.
const BODY_BYTES: usize = 1024 * 1024;

/// Pieces of a streamed body that wait for a slow reader. Then whoever makes them waits.
const PIECES: usize = 4;

/// What goes on after an answer's head has been written.
pub(super) type After = BoxFuture<'static, ()>;

/// An answer's head, and what goes on after it.
pub(super) struct Reply {
    pub(super) response: Response<Answer>,
    pub(super) after: Option<After>,
}

/// An answer's body.
pub(super) enum Answer {
    Whole(Full<Bytes>),
    /// Piece by piece. An error cuts the connection, so that a reader never takes it for the end.
    Pieces(mpsc::Receiver<Result<Bytes, anyhow::Error>>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, anyhow::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {}))),
            Self::Pieces(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// The answer to a peer that is another user.
pub(super) fn forbidden() -> Reply {
    let message = "this socket may only be used by the user who runs the pod, and by root".to_owned();
    refused(&Refusal { code: RefusalCode::Forbidden, message })
}

/// Answers a request.
pub(super) async fn reply(request: Request<Incoming>, shared: &Shared) -> Reply {
    let answer = timeout(ANSWER_LIMIT, route(request, shared)).await.unwrap_or_else(|_| {
        let message = format!("the pod's runner could not do this within {} s", ANSWER_LIMIT.as_secs());
        Err(Refusal { code: RefusalCode::Timeout, message })
    });
    answer.unwrap_or_else(|refusal| refused(&refusal))
}

async fn route(request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let handle = &shared.handle;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (&method, path.as_str()) {
        (&Method::GET, STATUS_PATH) => status(&request, shared),
        (&Method::GET, LOGS_PATH) => logs(&request, shared),
        (&Method::GET, USAGE_PATH) => usage(handle).await,
        (&Method::POST, STOP_PATH) => {
            let stop: StopQuery = body(request).await?;
            ask(handle, |reply| PodRequest::Stop { grace: stop.grace(), reply }).await?;
            Ok(json(&serde_json::json!({})))
        }
        (&Method::POST, EXEC_PATH) => exec(request, shared).await,
        (&Method::POST, ATTACH_PATH) => attach(request, shared).await,
        _ => Err(bad(format!("there is no {method} {path} here; this runner speaks version v1"))),
    }
}

fn status(request: &Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let pairs = query::decode(request.uri().query().unwrap_or_default())
        .map_err(|piece| bad(format!("{piece:?} in the query cannot be read")))?;
    let Handle { plan, status: mut statuses, .. } = shared.handle.clone();
    if !pairs.iter().any(|(name, value)| name == "watch" && value == "true") {
        let now = statuses.borrow().clone();
        return Ok(json(&Status::of(&plan, &now)));
    }
    let permit = stream_permit(shared)?;
    let (pieces, body) = mpsc::channel(1);
    let after = async move {
        let _permit = permit;
        loop {
            let now = statuses.borrow_and_update().clone();
            let mut line = to_json(&Status::of(&plan, &now));
            line.push(b'\n');
            if pieces.send(Ok(line.into())).await.is_err() {
                return;
            }
            tokio::select! {
                () = pieces.closed() => return,
                changed = statuses.changed() => if changed.is_err() { return },
            }
        }
    };
    Ok(streamed("application/x-ndjson", body, after))
}

fn logs(request: &Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let query = LogQuery::from_query(request.uri().query().unwrap_or_default()).map_err(bad)?;
    let handle = &shared.handle;
    let run = runs::logged(handle, &query.container, query.previous)?;
    let path = handle.directory.log(&run).map_err(|error| bad(error.to_string()))?;
    let permit = if query.follow { Some(stream_permit(shared)?) } else { None };
    let stream = match query.stream {
        StreamChoice::Both => None,
        StreamChoice::Stdout => Some(LogStream::Stdout),
        StreamChoice::Stderr => Some(LogStream::Stderr),
    };
    let options = ReadOptions { tail: query.tail, since: query.since, stream };
    let mut reader = if query.follow {
        let changes = handle.written.changes(&run, &path);
        LogReader::following(&path, options, changes, runs::over(handle.status.clone(), run))
    } else {
        LogReader::new(&path, options)
    };
    let (pieces, body) = mpsc::channel(PIECES);
    let mut text = LogText::new(query.timestamps);
    let taken = Arc::clone(&shared.taken);
    let after = async move {
        let _permit = permit;
        loop {
            let lines = tokio::select! {
                () = pieces.closed() => return,
                lines = reader.next() => lines,
            };
            let piece = match lines {
                Ok(Some(lines)) => Ok(text.of(&lines)),
                Ok(None) => return,
                Err(error) => Err(anyhow::Error::new(error)),
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                return;
            }
            taken.fetch_add(1, Ordering::Relaxed);
        }
    };
    Ok(streamed("text/plain; charset=utf-8", body, after))
}

async fn usage(handle: &Handle) -> Result<Reply, Refusal> {
    let used = ask(handle, |reply| PodRequest::Usage { reply }).await?;
    let by_container: UsageByContainer = used
        .into_iter()
        .map(|(name, usage)| {
            let cpu_nanoseconds = u64::try_from(usage.cpu.as_nanos()).unwrap_or(u64::MAX);
            (name.0, ContainerUsage { cpu_nanoseconds, memory_bytes: usage.memory })
        })
        .collect();
    Ok(json(&by_container))
}

async fn exec(mut request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let upgrade = upgrade(&mut request)?;
    let permit = stream_permit(shared)?;
    let ExecQuery { container, command, stdin, terminal } = body(request).await?;
    if command.is_empty() {
        return Err(bad("the command is empty".to_owned()));
    }
    let container = runs::container(&shared.handle, &container)?;
    let request = ExecRequest { command, stdin, terminal: terminal.map(|size| (size.columns, size.rows)) };
    let session = ask(&shared.handle, |reply| PodRequest::Exec { container, request, reply }).await??;
    Ok(switched(async move {
        let _permit = permit;
        if let Ok(io) = upgrade.await {
            stream::serve_exec(TokioIo::new(io), session).await;
        }
    }))
}

async fn attach(mut request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let upgrade = upgrade(&mut request)?;
    let permit = stream_permit(shared)?;
    let AttachQuery { container, stdin } = body(request).await?;
    let container = runs::container(&shared.handle, &container)?;
    let session = ask(&shared.handle, |reply| PodRequest::Attach { container, stdin, reply }).await??;
    let exit = runs::exit(shared.handle.status.clone(), session.instance.clone());
    Ok(switched(async move {
        let _permit = permit;
        if let Ok(io) = upgrade.await {
            stream::serve_attach(TokioIo::new(io), session, exit).await;
        }
    }))
}

/// The promise of an upgraded stream, where the request asks for ours.
fn upgrade(request: &mut Request<Incoming>) -> Result<OnUpgrade, Refusal> {
    let asked = request.headers().get(header::UPGRADE).is_some_and(|value| value == STREAM_PROTOCOL);
    if asked {
        Ok(hyper::upgrade::on(request))
    } else {
        Err(bad(format!("this request needs the header `Upgrade: {STREAM_PROTOCOL}`")))
    }
}

fn stream_permit(shared: &Shared) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| Refusal {
        code: RefusalCode::Busy,
        message: "too many logs, watches and sessions of this pod are open; close one and try again".to_owned(),
    })
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let read = timeout(READ_LIMIT, Limited::new(request.into_body(), BODY_BYTES).collect()).await;
    let collected = read.map_err(|_| bad(format!("the body did not arrive within {} s", READ_LIMIT.as_secs())))?;
    let text = collected.map_err(|error| {
        let why = if error.is::<LengthLimitError>() { "is longer than 1 MiB" } else { "did not arrive whole" };
        bad(format!("the body {why}"))
    })?;
    serde_json::from_slice(&text.to_bytes()).map_err(|error| bad(format!("the body is not understood: {error}")))
}

fn bad(message: String) -> Refusal {
    Refusal { code: RefusalCode::BadRequest, message }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own answers are plain values")
}

fn json(value: &impl Serialize) -> Reply {
    whole(StatusCode::OK, to_json(value))
}

fn refused(refusal: &Refusal) -> Reply {
    let status = match refusal.code {
        RefusalCode::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCode::Forbidden => StatusCode::FORBIDDEN,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::NotRunning => StatusCode::CONFLICT,
        RefusalCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
        RefusalCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        RefusalCode::Failed | RefusalCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    };
    whole(status, to_json(refusal))
}

fn whole(status: StatusCode, text: Vec<u8>) -> Reply {
    Reply { response: head(status, "application/json", Answer::Whole(Full::from(text))), after: None }
}

fn streamed(
    kind: &'static str,
    pieces: mpsc::Receiver<Result<Bytes, anyhow::Error>>,
    after: impl Future<Output = ()> + Send + 'static,
) -> Reply {
    Reply { response: head(StatusCode::OK, kind, Answer::Pieces(pieces)), after: Some(Box::pin(after)) }
}

fn switched(after: impl Future<Output = ()> + Send + 'static) -> Reply {
    let mut response = Response::new(Answer::Whole(Full::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(STREAM_PROTOCOL));
    Reply { response, after: Some(Box::pin(after)) }
}

fn head(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Asks the runner, and waits for its answer.
async fn ask<T>(handle: &Handle, request: impl FnOnce(oneshot::Sender<T>) -> PodRequest) -> Result<T, Refusal> {
    let ended = || Refusal { code: RefusalCode::NotRunning, message: "the pod has ended".to_owned() };
    let (reply, answer) = oneshot::channel();
    handle.requests.send(request(reply)).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::NoSuchContainer(_) => RefusalCode::NotFound,
            RequestError::NotRunning(_) | RequestError::NoStdin(_) | RequestError::Launch(LaunchError::Gone(_)) => {
                RefusalCode::NotRunning
            }
            RequestError::Launch(LaunchError::Unsupported { .. }) => RefusalCode::Unsupported,
            RequestError::Launch(LaunchError::Machine { .. } | LaunchError::NotExecuted { .. }) => RefusalCode::Failed,
        };
        Self { code, message: in_words(error) }
    }
}
