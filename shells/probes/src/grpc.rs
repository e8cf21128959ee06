//! gRPC probes: `grpc.health.v1.Health/Check` over HTTP/2 without TLS (`pkg/probe/grpc/grpc.go`).
//!
//! Of gRPC only what one unary call needs: a message after five bytes of head, and the status in the trailers.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use outrigger_pod_core::life::ProbeOutcome;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::dial::{self, host_and_port};
use super::go_duration;
use super::url::unescaped;

/// The pause after a refused connection: grpc-go's first back-off.
const RETRY: Duration = Duration::from_secs(1);

/// The most bytes of an answer; a health answer has three.
const ANSWER_BYTES: usize = 4096;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;

/// A gRPC status that is not OK.
struct Failed {
    code: u32,
    message: String,
}

const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// The names of the codes, in their order (`google.golang.org/grpc/codes`).
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Asks a gRPC probe once. A refused connection is tried again until the limit, as grpc-go does when it blocks.
pub(super) async fn probe(address: IpAddr, port: u16, service: &str, limit: Duration) -> ProbeOutcome {
    let deadline = Instant::now() + limit;
    let authority = host_and_port(&address.to_string(), port);
    let Ok(stream) = timeout_at(deadline, connected(address, port)).await else {
        return ProbeOutcome::Failure(format!(
            "timeout: failed to connect service {authority:?} within {}: context deadline exceeded",
            go_duration(limit)
        ));
    };
    let late = |_| Err(Failed { code: DEADLINE_EXCEEDED, message: "context deadline exceeded".to_owned() });
    match timeout_at(deadline, check(stream, &authority, service, limit)).await.unwrap_or_else(late) {
        Ok(SERVING) => ProbeOutcome::Success,
        Ok(status) => ProbeOutcome::Failure(format!("service unhealthy (responded with {:?})", serving_name(status))),
        Err(failed) => ProbeOutcome::Failure(failed.text(limit)),
    }
}

impl Failed {
    fn text(&self, limit: Duration) -> String {
        match self.code {
            UNIMPLEMENTED => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                self.message
            ),
            DEADLINE_EXCEEDED => format!("timeout: health rpc did not complete within {}", go_duration(limit)),
            code => {
                let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
                let name = known.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned());
                format!("error: health rpc probe failed: rpc error: code = {name} desc = {}", self.message)
            }
        }
    }
}

fn serving_name(status: i32) -> String {
    let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let name = usize::try_from(status).ok().and_then(|status| names.get(status));
    name.map_or_else(|| status.to_string(), |name| (*name).to_owned())
}

async fn connected(address: IpAddr, port: u16) -> tokio::net::TcpStream {
    loop {
        match dial::connect(&address.to_string(), port).await {
            Ok(stream) => return stream,
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// The tasks of one HTTP/2 connection; dropping the last clone ends them.
#[derive(Clone, Default)]
struct Owned(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Owned {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).spawn(task);
    }
}

async fn check(stream: tokio::net::TcpStream, authority: &str, service: &str, limit: Duration) -> Result<i32, Failed> {
    let tasks = Owned::default();
    let (mut sender, connection) =
        http2::handshake(tasks.clone(), TokioIo::new(stream)).await.map_err(|error| unavailable(&error))?;
    tasks.execute(async move {
        let _ = connection.await; // Its error reaches the call.
    });
    let request = request(authority, service, limit)?;
    let response = sender.send_request(request).await.map_err(|error| unavailable(&error))?;
    answer(response).await
}

fn request(authority: &str, service: &str, limit: Duration) -> Result<Request<Full<Bytes>>, Failed> {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(length);
    body.put_slice(&message);
    Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, format!("kube-probe/{} outrigger", super::VERSION))
        .header("grpc-timeout", format!("{}m", limit.as_millis().clamp(1, 99_999_999)))
        .body(Full::new(body.freeze()))
        .map_err(|error| Failed { code: INTERNAL, message: error.to_string() })
}

async fn answer(response: Response<Incoming>) -> Result<i32, Failed> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(of_http(status));
    }
    if let Some(failed) = grpc_status(response.headers()) {
        return Err(failed); // "Trailers only": the call failed before any message.
    }
    let mut body = response.into_body();
    let (mut text, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| unavailable(&error))?.into_data() {
            Ok(data) if text.len() + data.len() <= ANSWER_BYTES => text.extend_from_slice(&data),
            Ok(_) => {
                return Err(Failed { code: INTERNAL, message: "the answer is longer than 4096 bytes".to_owned() });
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    match trailers.as_ref().map(grpc_status) {
        Some(None) => message(text.freeze()),
        Some(Some(failed)) => Err(failed),
        None => {
            let message = "server closed the stream without sending trailers".to_owned();
            Err(Failed { code: INTERNAL, message })
        }
    }
}

fn message(mut text: Bytes) -> Result<i32, Failed> {
    let bad = || Failed { code: INTERNAL, message: "the answer is no health message".to_owned() };
    if text.len() < 5 || text.get_u8() != 0 {
        return Err(bad());
    }
    let length = usize::try_from(text.get_u32()).map_err(|_| bad())?;
    let message = text.get(..length).ok_or_else(bad)?;
    HealthCheckResponse::decode(message).map(|answer| answer.status).map_err(|_| bad())
}

/// The status in headers or trailers, where it is there and not OK.
fn grpc_status(headers: &HeaderMap) -> Option<Failed> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    // The message is percent-encoded.
    (code != 0).then(|| Failed { code, message: String::from_utf8_lossy(&unescaped(message)).into_owned() })
}

/// What an HTTP status means as a gRPC one (grpc-go, `internal/transport/http_util.go`, `HTTPStatusConvTab`).
fn of_http(status: StatusCode) -> Failed {
    let code = match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let status = status.as_u16();
    Failed { code, message: format!("unexpected HTTP status code received from server: {status} ({reason})") }
}

fn unavailable(error: &hyper::Error) -> Failed {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    Failed { code: UNAVAILABLE, message: text }
}
