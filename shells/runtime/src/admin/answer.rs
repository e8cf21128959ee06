//! What the admin endpoint answers to one request: status, text, and who may change something.
//!
//! What it does not do: it knows nothing of connections; `admin.rs` bounds them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tracing::{error, info};

use super::Caller;
use crate::{LogFilter, LogLevel, Readiness};

/// The largest body of a request, in bytes.
const BODY_BYTES: usize = 1024;
/// How long a request may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// `OpenMetrics` 1.0, "Overall Structure", names this type.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the endpoint speaks of.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) metrics: Arc<Registry>,
    pub(super) readiness: Readiness,
    pub(super) log_level: LogLevel,
}

type Answer = Response<Full<Bytes>>;

impl Endpoint {
    /// Answers one request. HEAD is answered as GET; the body is left out below us.
    pub(super) async fn answer<B>(&self, request: Request<B>, caller: Caller) -> Answer
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/metrics" if reads => self.metrics(),
            "/healthz" | "/health" if reads => plain(StatusCode::OK, "alive\n"),
            "/readyz" if reads => self.readiness(),
            "/loglevel" if reads => plain(StatusCode::OK, format!("{}\n", self.log_level.get())),
            "/loglevel" if request.method() == Method::PUT => self.change_log_level(request, caller).await,
            "/metrics" | "/healthz" | "/health" | "/readyz" => method_not_allowed(&request, "GET, HEAD"),
            "/loglevel" => method_not_allowed(&request, "GET, HEAD, PUT"),
            path => {
                let text = format!("nothing is at {path}: /metrics, /healthz, /readyz and /loglevel are here\n");
                plain(StatusCode::NOT_FOUND, text)
            }
        }
    }

    fn metrics(&self) -> Answer {
        let mut lines = String::new();
        match text::encode(&mut lines, &self.metrics) {
            Ok(()) => respond(StatusCode::OK, OPEN_METRICS, lines),
            Err(cause) => {
                error!("The metrics cannot be written: {cause}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; the log says why\n")
            }
        }
    }

    fn readiness(&self) -> Answer {
        match self.readiness.missing().as_slice() {
            [] => plain(StatusCode::OK, "ready\n"),
            missing => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: waiting for {}\n", missing.join(", ")))
            }
        }
    }

    async fn change_log_level<B>(&self, request: Request<B>, caller: Caller) -> Answer
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        if let Err(refusal) = may_change(&request, caller) {
            return plain(StatusCode::FORBIDDEN, refusal);
        }
        let filter = match read_text(request).await {
            Ok(text) => text.trim().parse::<LogFilter>(),
            Err(answer) => return answer,
        };
        match filter {
            Ok(filter) => {
                self.log_level.set(filter.clone());
                info!(level = %filter, "Logging {filter} from now on, asked for by {caller}");
                plain(StatusCode::OK, format!("{filter}\n"))
            }
            Err(wrong) => plain(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
        }
    }
}

/// Whether a caller may change something: over a unix socket or loopback, and no web page that a browser here shows.
fn may_change<B>(request: &Request<B>, caller: Caller) -> Result<(), String> {
    if let Caller::Tcp(address) = caller
        && !address.ip().to_canonical().is_loopback()
    {
        return Err(format!("a change is answered only over loopback or a unix socket, not to {}\n", address.ip()));
    }
    if request.headers().contains_key(ORIGIN) {
        return Err("a change is not answered to web pages: send it without an Origin header\n".to_owned());
    }
    Ok(())
}

/// The body as text, or the answer that says what is wrong with it.
async fn read_text<B>(request: Request<B>) -> Result<String, Answer>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let body = Box::pin(Limited::new(request.into_body(), BODY_BYTES).collect());
    let Ok(read) = timeout(BODY_TIME, body).await else {
        return Err(plain(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {BODY_TIME:?}\n")));
    };
    let bytes = read.map_err(|cause| {
        if cause.is::<LengthLimitError>() {
            plain(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {BODY_BYTES} bytes\n"))
        } else {
            plain(StatusCode::BAD_REQUEST, format!("the body could not be read: {cause}\n"))
        }
    })?;
    String::from_utf8(bytes.to_bytes().into())
        .map_err(|_| plain(StatusCode::BAD_REQUEST, "the body is not UTF-8 text\n"))
}

fn method_not_allowed<B>(request: &Request<B>, allowed: &'static str) -> Answer {
    let text = format!("{} is not allowed at {}: {allowed} are\n", request.method(), request.uri().path());
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    respond(status, PLAIN, text)
}

fn respond(status: StatusCode, content_type: HeaderValue, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use hyper::header::HOST;

    use super::*;
    use crate::logging::{LogFormat, subscriber};

    fn endpoint() -> Endpoint {
        let (_, log_level) = subscriber(LogFilter::default(), LogFormat::Json, std::io::sink);
        Endpoint { metrics: Arc::default(), readiness: Readiness::new(), log_level }
    }

    fn from(address: &str) -> Caller {
        Caller::Tcp(address.parse().unwrap())
    }

    async fn ask(endpoint: &Endpoint, method: Method, path: &str, body: &str, caller: Caller) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header(HOST, "here");
        let answer = endpoint.answer(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap(), caller).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn it_answers_each_path_and_method_with_a_sentence() {
        let endpoint = endpoint();
        for (method, path, status, text) in [
            (Method::GET, "/healthz", 200, "alive\n"),
            (Method::HEAD, "/healthz", 200, "alive\n"),
            (Method::GET, "/health", 200, "alive\n"),
            (Method::GET, "/readyz", 200, "ready\n"),
            (Method::GET, "/metrics", 200, "# EOF\n"),
            (Method::GET, "/loglevel?x=y", 200, "info\n"),
            (Method::POST, "/healthz", 405, "POST is not allowed at /healthz: GET, HEAD are\n"),
            (Method::DELETE, "/loglevel", 405, "DELETE is not allowed at /loglevel: GET, HEAD, PUT are\n"),
            (Method::GET, "/", 404, "nothing is at /: /metrics, /healthz, /readyz and /loglevel are here\n"),
        ] {
            let expected = (status, text.to_owned());
            assert_eq!(ask(&endpoint, method.clone(), path, "", Caller::Unix).await, expected, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn readyz_names_what_is_missing() {
        let endpoint = endpoint();
        let kubelet = endpoint.readiness.condition("kubelet");
        let _pools = endpoint.readiness.condition("pools");
        let (status, text) = ask(&endpoint, Method::GET, "/readyz", "", Caller::Unix).await;
        assert_eq!((status, text.as_str()), (503, "not ready: waiting for kubelet, pools\n"));
        kubelet.met();
        let (status, text) = ask(&endpoint, Method::GET, "/readyz", "", Caller::Unix).await;
        assert_eq!((status, text.as_str()), (503, "not ready: waiting for pools\n"));
    }

    #[tokio::test]
    async fn the_log_level_changes_for_callers_on_this_machine_only() {
        for (caller, may) in [
            (Caller::Unix, true),
            (from("127.0.0.1:4"), true),
            (from("[::1]:4"), true),
            (from("[::ffff:127.0.0.1]:4"), true),
            (from("192.0.2.7:4"), false),
            (from("[2001:db8::7]:4"), false),
        ] {
            let endpoint = endpoint();
            let (status, text) = ask(&endpoint, Method::PUT, "/loglevel", "debug\n", caller).await;
            assert_eq!(status, if may { 200 } else { 403 }, "{caller}: {text}");
            assert_eq!(text.contains("only over loopback or a unix socket"), !may, "{caller}: {text}");
        }
    }

    #[tokio::test]
    async fn a_web_page_may_not_change_the_log_level() {
        let request = Request::put("/loglevel").header(ORIGIN, "http://localhost:9412");
        let request = request.body(Full::new(Bytes::from("debug"))).unwrap();
        let answer = endpoint().answer(request, from("127.0.0.1:4")).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_wrong_body_is_refused_and_changes_nothing() {
        let endpoint = endpoint();
        for (body, expected) in [("loud".to_owned(), 400), (String::new(), 400), ("x".repeat(BODY_BYTES + 1), 413)] {
            let (status, text) = ask(&endpoint, Method::PUT, "/loglevel", &body, Caller::Unix).await;
            assert_eq!(status, expected, "{text}");
        }
        assert_eq!(endpoint.log_level.get(), LogFilter::default());
    }
}
