//! HTTP probes (`pkg/probe/http/http.go` and `request.go`), and the GET that hooks share with them.

use std::io;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use outrigger_pod_core::life::ProbeOutcome;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::dial::{self, go_text};
use super::tls;
use super::url::Url;
use outrigger_runtime::Driven;

/// How much of a body is read (`maxRespBodyLength`).
const BODY_BYTES: usize = 10 * 1024;

/// How many requests are made in a row before redirects are given up (`RedirectChecker`).
const REQUESTS: usize = 10;

/// Asks an HTTP probe once: 200 to 399 is good; a redirect to another host is not followed and is good too.
pub(super) async fn probe(url: Url, headers: &[(String, String)], limit: Duration) -> ProbeOutcome {
    let deadline = Instant::now() + limit;
    let headers = match Headers::new(headers, "probe") {
        Ok(headers) => headers,
        Err(text) => return ProbeOutcome::Failure(GetError::at(&url, text).to_string()),
    };
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    let begun = timeout_at(deadline, get(&url, &headers)).await;
    let (response, driven) = match begun.unwrap_or_else(|_| Err(GetError::at(&url, late))) {
        Ok(begun) => begun,
        Err(error) => return ProbeOutcome::Failure(error.to_string()),
    };
    let status = response.status();
    let late = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
    match timeout_at(deadline, read_body(response, driven)).await.unwrap_or_else(|_| Err(late.to_owned())) {
        Err(text) => ProbeOutcome::Unknown(text),
        Ok(()) if (200..400).contains(&status.as_u16()) => ProbeOutcome::Success,
        // The body stays out of the text: it could hold what must not be shown.
        Ok(()) => ProbeOutcome::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
    }
}

/// Why a GET got no answer: Go's text for it.
#[derive(Debug)]
pub(super) struct GetError {
    url: String,
    /// What went wrong, without the URL.
    pub(super) text: String,
}

impl std::fmt::Display for GetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Get \"{}\": {}", self.url, self.text)
    }
}

impl GetError {
    fn at(url: &Url, text: impl Into<String>) -> Self {
        Self { url: url.to_string(), text: text.into() }
    }
}

/// The headers of a request.
pub(super) struct Headers {
    map: HeaderMap,
    /// `Host`, where the manifest sets it.
    host: Option<HeaderValue>,
}

impl Headers {
    /// Those of the manifest, and a kubelet's own (`newProbeRequest`): an empty `Accept` or `User-Agent` takes it out.
    pub(super) fn new(given: &[(String, String)], purpose: &str) -> Result<Self, String> {
        let mut map = HeaderMap::new();
        for (name, value) in given {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| format!("net/http: invalid header field value for {name:?}"))?;
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("net/http: invalid header field name {name:?}"))?;
            map.append(name, value);
        }
        let agent = format!("kube-{purpose}/{}", super::VERSION);
        let agent = HeaderValue::from_str(&agent).expect("it is plain text");
        for (name, value) in [(header::USER_AGENT, agent), (header::ACCEPT, HeaderValue::from_static("*/*"))] {
            if map.entry(name.clone()).or_insert(value).is_empty() {
                map.remove(name);
            }
        }
        map.entry(header::CONNECTION).or_insert(HeaderValue::from_static("close"));
        // There is no body; what the manifest says of one is not sent (net/http, Request.write).
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER] {
            map.remove(name);
        }
        let host = map.remove(header::HOST).filter(|host| !host.is_empty());
        Ok(Self { map, host })
    }

    /// Without `Authorization`, for a hook that falls back to plain HTTP.
    pub(super) fn without_authorization(mut self) -> Self {
        self.map.remove(header::AUTHORIZATION);
        self
    }
}

/// Makes the request and follows redirects that stay on its host.
pub(super) async fn get(url: &Url, headers: &Headers) -> Result<(Response<Incoming>, Driven), GetError> {
    let mut at = url.clone();
    let mut host = headers.host.clone();
    let mut made = 0;
    loop {
        let (response, driven) = one(&at, headers, host.as_ref()).await.map_err(|text| GetError::at(&at, text))?;
        made += 1;
        let Some(location) = redirect(&response) else { return Ok((response, driven)) };
        let next = at.join(&location).map_err(|text| GetError::at(&at, text))?;
        if next.host != url.host {
            return Ok((response, driven));
        }
        if made >= REQUESTS {
            return Err(GetError::at(&next, format!("stopped after {REQUESTS} redirects")));
        }
        if location.contains("://") {
            host = None; // A whole URL names its own host (net/http, Client.do).
        }
        at = next;
    }
}

/// Where a response sends to, if it does.
fn redirect(response: &Response<Incoming>) -> Option<String> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let location = response.headers().get(header::LOCATION).filter(|_| redirects.contains(&response.status()))?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned()).filter(|location| !location.is_empty())
}

/// One request on a connection of its own; the error is a text for people.
async fn one(url: &Url, headers: &Headers, host: Option<&HeaderValue>) -> Result<(Response<Incoming>, Driven), String> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.target().parse::<Uri>().map_err(|error| error.to_string())?;
    let own = HeaderValue::from_str(&url.authority()).map_err(|_| format!("invalid host {:?}", url.host))?;
    request.headers_mut().insert(header::HOST, host.cloned().unwrap_or(own));
    request.headers_mut().extend(headers.map.clone());
    let stream = dial::connect(&url.host, url.port()).await.map_err(|error| error.to_string())?;
    if url.https {
        exchange(tls::begin(&url.host, stream).await?, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Driven), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, mut driven) = Driven::begin(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let response = driven.drive(sender.send_request(request)).await.map_err(|error| text(&error))?;
    Ok((response, driven))
}

/// Reads the body up to its limit; the rest is left.
pub(super) async fn read_body(response: Response<Incoming>, mut driven: Driven) -> Result<(), String> {
    let mut body = response.into_body();
    let mut length = 0;
    while length < BODY_BYTES {
        match driven.drive(body.frame()).await {
            None => return Ok(()),
            Some(Err(error)) => return Err(text(&error)),
            Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
        }
    }
    Ok(())
}

/// A failed exchange in Go's words where it has some.
fn text(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    if error.is_parse() {
        return format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}");
    }
    match std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        Some(cause) => go_text(cause),
        None => error.to_string(),
    }
}
