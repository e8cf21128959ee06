//! Probes and hooks against real small servers on loopback: HTTP, HTTPS with a certificate of nobody, gRPC health.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::EnvVar;
use outrigger_launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, ImageState, LaunchError, Launcher, PodRequest,
    PreparedPod, Running, Shortfall, StartError, StartRequest, Usage,
};
use outrigger_pod_core::life::{Found, HookOutcome, ProbeOutcome};
use outrigger_pod_core::plan::{ContainerPlan, Handler, PodPlan, ProbePlan};
use outrigger_probes::{Target, ask, hook};
use outrigger_sample_pods::{container, pod};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that answers each path with the bytes of a table, and remembers what was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

type Answers = fn(&str, u16) -> String;

impl Server {
    async fn start(answers: Answers, tls: bool) -> Self {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let acceptor = tls.then(acceptor);
        let (mut tasks, heard) = (JoinSet::new(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, acceptor) = (Arc::clone(&heard), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => answer(stream, answers, port, heard).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => answer(stream, answers, port, heard).await,
                            Err(error) => heard.lock().unwrap().push(error.to_string()),
                        },
                    }
                });
            }
        });
        Self { port, asked, _tasks: tasks }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Answers,
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().push(head);
    let text = answers(&path, port);
    if text == "silence" {
        return std::future::pending().await;
    }
    let _ = stream.write_all(text.as_bytes()).await;
    if text.ends_with("stall") {
        return std::future::pending().await;
    }
    let _ = stream.shutdown().await;
}

/// A port at which nobody listens, and at which nobody else can.
fn silent_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

/// TLS with a certificate that no authority knows.
fn acceptor() -> tokio_rustls::TlsAcceptor {
    let certificate = include_bytes!("tls/expired.der").to_vec().into();
    let key = rustls::pki_types::PrivateKeyDer::try_from(include_bytes!("tls/key.der").to_vec()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config).into()
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn table(path: &str, port: u16) -> String {
    let to = |location: &str| response("302 Found", &format!("Location: {location}\r\n"), "");
    match path {
        "/500" => response("500 Internal Server Error", "", "a secret"),
        "/399" => response("399 Odd", "", ""),
        "/304" => response("304 Not Modified", "", ""),
        "/long" => response("200 OK", "", &"x".repeat(100_000)),
        "/endless" => "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".to_owned() + &"x".repeat(20_000) + "stall",
        "/torn" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx".to_owned(),
        "/slow" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstall".to_owned(),
        "/silent" => "silence".to_owned(),
        "/nothing" => String::new(),
        "/garbage" => "SSH-2.0-x\r\n\r\n".to_owned(),
        "/here" => to("/500"),
        "/whole" => to(&format!("http://127.0.0.1:{port}/500")),
        "/away" => to("http://192.0.2.1/500"),
        "/round" => to("/round"),
        "/nowhere" => response("302 Found", "", ""),
        _ => response("200 OK", "", "ok"),
    }
}

fn main_container() -> ContainerPlan {
    let env = vec![EnvVar { name: "WHO".into(), value: Some("you".into()), value_from: None }];
    ContainerPlan { env, ..container("main") }
}

fn target() -> (Target, Arc<Commands>) {
    let plan = pod(vec![main_container()]);
    let commands = Arc::new(Commands::default());
    let launcher: Arc<dyn Launcher> = Arc::<Commands>::clone(&commands);
    (Target { plan: Arc::new(plan), launcher, id: ContainerId("c".into()), address: HERE }, commands)
}

/// A launcher that only runs commands: `echo CODE WORDS`, `flood`, `hang`, and what it does not know fails.
#[derive(Default)]
struct Commands {
    tries: Mutex<usize>,
}

impl Launcher for Commands {
    fn name(&self) -> &'static str {
        "commands"
    }

    fn shortfalls(&self, _: &PodPlan) -> Vec<Shortfall> {
        Vec::new()
    }

    fn prepare(&self, _: PodRequest) -> BoxFuture<'_, Result<PreparedPod, LaunchError>> {
        unreachable!("no test prepares a pod")
    }

    fn remove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        unreachable!("no test removes a pod")
    }

    fn image<'a>(&'a self, _: &'a ContainerPlan) -> BoxFuture<'a, Result<ImageState, ImageError>> {
        unreachable!("no test looks for an image")
    }

    fn pull<'a>(&'a self, _: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>> {
        unreachable!("no test pulls")
    }

    fn start(&self, _: StartRequest) -> BoxFuture<'_, Result<Running, StartError>> {
        unreachable!("no test starts a container")
    }

    fn adopt<'a>(&'a self, _: &'a ContainerId) -> BoxFuture<'a, Result<Running, LaunchError>> {
        unreachable!("no test adopts a container")
    }

    fn stop<'a>(&'a self, _: &'a ContainerId, _: &'a str, _: Duration) -> BoxFuture<'a, Result<(), LaunchError>> {
        unreachable!("no test stops a container")
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, Result<ExecSession, LaunchError>> {
        *self.tries.lock().unwrap() += 1;
        Box::pin(async move {
            let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
            let (code, out): (i32, Vec<u8>) = match words.as_slice() {
                ["echo", code, rest @ ..] => (code.parse().unwrap(), rest.join(" ").into_bytes()),
                ["flood"] => (1, vec![b'x'; 100_000]),
                ["hang"] => (i32::MIN, Vec::new()),
                ["gone"] => return Err(LaunchError::Gone(id.clone())),
                _ => return Err(LaunchError::NotExecuted { what: "exec: \"what\": not found".into(), code: 127 }),
            };
            Ok(ExecSession {
                stdin: None,
                stdout: Box::new(std::io::Cursor::new(out)),
                stderr: Some(Box::new(std::io::Cursor::new(b"!".to_vec()))),
                terminal: None,
                ended: Box::pin(async move { if code == i32::MIN { std::future::pending().await } else { Ok(code) } }),
            })
        })
    }

    fn usage<'a>(&'a self, _: &'a ContainerId) -> BoxFuture<'a, Result<Usage, LaunchError>> {
        unreachable!("no test asks for usage")
    }

    fn list<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>> {
        unreachable!("no test lists containers")
    }
}

fn probe(handler: Handler, timeout: Duration) -> ProbePlan {
    ProbePlan {
        handler,
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout,
        success_threshold: 1,
        failure_threshold: 3,
        grace: None,
    }
}

fn http(port: u16, path: &str) -> Handler {
    Handler::Http { https: false, host: None, port, path: path.into(), headers: Vec::new() }
}

async fn asked(handler: Handler, timeout: Duration) -> ProbeOutcome {
    ask(&target().0, &main_container(), &probe(handler, timeout)).await.expect("the container runs")
}

const LONG: Duration = Duration::from_secs(10);
/// What ends by it does so at its end; what answers before may be slow on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

fn failure(text: impl Into<String>) -> ProbeOutcome {
    ProbeOutcome::Failure(text.into())
}

#[tokio::test]
async fn http_answers_are_judged_as_a_kubelet_judges_them() {
    let server = Server::start(table, false).await;
    let port = server.port;
    let code_500 = || failure("HTTP probe failed with statuscode: 500");
    let at = |path: &str, text: &str| failure(format!("Get \"http://127.0.0.1:{port}{path}\": {text}"));
    let cases = [
        ("/", ProbeOutcome::Success),
        ("/399", ProbeOutcome::Success),
        ("/304", ProbeOutcome::Success),
        ("/long", ProbeOutcome::Success),
        ("/endless", ProbeOutcome::Success),
        ("/500", code_500()),
        ("/here", code_500()),
        ("/whole", code_500()),
        ("/away", ProbeOutcome::Success),
        ("/nowhere", ProbeOutcome::Success),
        ("/round", at("/round", "stopped after 10 redirects")),
        ("/nothing", at("/nothing", "EOF")),
        ("/torn", ProbeOutcome::Unknown("unexpected EOF".into())),
    ];
    for (path, expected) in cases {
        assert_eq!(asked(http(port, path), LONG).await, expected, "{path}");
    }
    let outcome = asked(http(port, "/garbage"), LONG).await;
    assert!(matches!(&outcome, ProbeOutcome::Failure(text) if text.contains("malformed HTTP response")), "{outcome:?}");
}

#[tokio::test]
async fn an_http_probe_that_is_late_fails_in_a_kubelets_words() {
    let server = Server::start(table, false).await;
    let url = format!("http://127.0.0.1:{}/silent", server.port);
    assert_eq!(
        asked(http(server.port, "/silent"), SHORT).await,
        failure(format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
    );
    assert_eq!(
        asked(http(server.port, "/slow"), SHORT).await,
        ProbeOutcome::Unknown(
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)".into()
        )
    );
    assert_eq!(server.asked().len(), 4, "one that cannot be asked is tried three times");
}

#[tokio::test]
async fn a_request_is_a_kubelets_request() {
    let server = Server::start(table, false).await;
    let headers = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Handler::Http {
            https: false,
            host: Some("localhost".into()),
            port: server.port,
            path: "/a b?c".into(),
            headers: pairs.collect(),
        }
    };
    assert_eq!(asked(headers(&[]), LONG).await, ProbeOutcome::Success);
    let given = [("Host", "shop.example"), ("Accept", ""), ("User-Agent", "me"), ("X-A", "1"), ("x-a", "2")];
    assert_eq!(asked(headers(&given), LONG).await, ProbeOutcome::Success);
    let port = server.port;
    let sorted = |head: &str| {
        let mut lines: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
        lines[1..].sort();
        lines
    };
    let heard = server.asked();
    let expected = [
        "GET /a%20b?c HTTP/1.1".to_owned(),
        "Accept: */*".to_owned(),
        "Connection: close".to_owned(),
        format!("Host: localhost:{port}"),
        "User-Agent: kube-probe/1.36".to_owned(),
    ];
    assert_eq!(sorted(&heard[0]), expected);
    let expected =
        ["GET /a%20b?c HTTP/1.1", "Connection: close", "Host: shop.example", "User-Agent: me", "X-A: 1", "X-A: 2"];
    assert_eq!(sorted(&heard[1]), expected);
    let outcome = asked(headers(&[("X-A", "a\nb")]), LONG).await;
    assert!(matches!(&outcome, ProbeOutcome::Failure(text) if text.contains("invalid header field value")));
}

#[tokio::test]
async fn https_takes_every_certificate_and_tells_plain_http_apart() {
    let server = Server::start(table, true).await;
    let https =
        |port, path: &str| Handler::Http { https: true, host: None, port, path: path.into(), headers: Vec::new() };
    assert_eq!(asked(https(server.port, "/"), LONG).await, ProbeOutcome::Success);
    assert_eq!(asked(https(server.port, "/500"), LONG).await, failure("HTTP probe failed with statuscode: 500"));
    // A server that answers TLS's first words in plain HTTP, as Go's does.
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut plain = JoinSet::new();
    plain.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let text = "http: server gave HTTP response to HTTPS client";
    assert_eq!(asked(https(port, "/"), LONG).await, failure(format!("Get \"https://127.0.0.1:{port}/\": {text}")));
    // A hook asks again in plain HTTP, and takes whatever comes.
    let (target, _) = target();
    assert_eq!(hook(&target, &main_container(), &https(port, "/"), None).await, HookOutcome::Done);
}

#[tokio::test]
async fn tcp_asks_for_a_connection() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let tcp = |host: Option<&str>, port| Handler::Tcp { host: host.map(str::to_owned), port };
    let port = listener.local_addr().unwrap().port();
    assert_eq!(asked(tcp(None, port), LONG).await, ProbeOutcome::Success);
    assert_eq!(asked(tcp(Some("localhost"), port), LONG).await, ProbeOutcome::Success);
    let (port, _taken) = silent_port();
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(asked(tcp(None, port), LONG).await, failure(refused));
}

#[tokio::test]
async fn commands_are_judged_by_their_code() {
    let exec = |words: &[&str]| Handler::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!(asked(exec(&["echo", "0", "fine"]), LONG).await, ProbeOutcome::Success);
    let said = asked(exec(&["echo", "3", "not for $(WHO) or $(NOBODY)"]), LONG).await;
    assert_eq!(said, failure("not for you or $(NOBODY)!"));
    let ProbeOutcome::Failure(text) = asked(exec(&["flood"]), LONG).await else { panic!("it succeeded") };
    assert_eq!(text.len(), 10 * 1024);
    let ProbeOutcome::Failure(text) = asked(exec(&["hang"]), SHORT).await else { panic!("it succeeded") };
    assert!(text.starts_with("command timed out: ") && text.contains("timeout 3s exceeded"), "{text}");

    let (target, commands) = target();
    let outcome = ask(&target, &main_container(), &probe(exec(&["what"]), LONG)).await;
    assert_eq!(outcome, Some(ProbeOutcome::Unknown("failed to exec in container: exec: \"what\": not found".into())));
    assert_eq!(*commands.tries.lock().unwrap(), 3);
    assert_eq!(ask(&target, &main_container(), &probe(exec(&["gone"]), LONG)).await, None);
    assert_eq!(*commands.tries.lock().unwrap(), 4, "a container that has ended is not asked again");
}

#[tokio::test]
async fn hooks_do_what_a_kubelet_does() {
    let server = Server::start(table, false).await;
    let (target, _) = target();
    let run = async |handler: Handler, limit| hook(&target, &main_container(), &handler, limit).await;
    assert_eq!(run(http(server.port, "/500"), None).await, HookOutcome::Done, "any answer will do");
    assert_eq!(run(Handler::Sleep(Duration::ZERO), None).await, HookOutcome::Done);
    assert_eq!(run(Handler::Sleep(LONG), Some(SHORT)).await, HookOutcome::TimedOut);
    let of = "for Container \"main\" in Pod \"web_default(u-1)\" failed";
    let echo = Handler::Exec(vec!["echo".into(), "3".into(), "no".into()]);
    let text = format!(
        "Exec lifecycle hook ([echo 3 no]) {of} - error: command 'echo 3 no' exited with 3: no!, message: \"no!\""
    );
    assert_eq!(run(echo, None).await, HookOutcome::Failed(text));
    let url = format!("http://127.0.0.1:{}/nothing", server.port);
    let text = format!("HTTP lifecycle hook (/nothing) {of} - error: Get \"{url}\": EOF");
    assert_eq!(run(http(server.port, "/nothing"), None).await, HookOutcome::Failed(text));
    assert!(server.asked()[0].contains("User-Agent: kube-lifecycle/1.36"));
    let tcp = Handler::Tcp { host: None, port: server.port };
    assert!(matches!(run(tcp, None).await, HookOutcome::Failed(text) if text.contains("invalid handler")));
}

/// A gRPC health server: the service's name says what it answers.
async fn grpc_server() -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(health));
            let _ = serving.await;
        }
    });
    (port, tasks)
}

type HealthBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn health(request: Request<Incoming>) -> Result<Response<HealthBody>, Infallible> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let service = String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned();
    let trailers = |code: &'static str, message: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        trailers.insert("grpc-message", HeaderValue::from_static(message));
        trailers
    };
    let mut response = Response::builder().header("content-type", "application/grpc");
    let text: &'static [u8] = match service.as_str() {
        "" | "good" => &[0, 0, 0, 0, 2, 8, 1],
        "bad" => &[0, 0, 0, 0, 2, 8, 2],
        "broken" => &[0, 0, 0, 0, 9, 8],
        "wait" => return std::future::pending().await,
        "page" => return Ok(Response::builder().status(404).body(Full::default().boxed()).unwrap()),
        other => {
            let (code, message) = if other == "old" { ("12", "unknown%20service") } else { ("5", "no such") };
            response.headers_mut().unwrap().extend(trailers(code, message));
            return Ok(response.body(Full::default().boxed()).unwrap());
        }
    };
    let whole = Full::new(Bytes::from_static(text)).with_trailers(async move { Some(Ok(trailers("0", ""))) });
    Ok(response.body(whole.boxed()).unwrap())
}

#[tokio::test]
async fn grpc_answers_are_judged_as_a_kubelet_judges_them() {
    let (port, _tasks) = grpc_server().await;
    let grpc = |service: &str| Handler::Grpc { port, service: service.to_owned() };
    let rpc = "error: health rpc probe failed: rpc error: code = ";
    let cases = [
        ("", ProbeOutcome::Success),
        ("good", ProbeOutcome::Success),
        ("bad", failure("service unhealthy (responded with \"NOT_SERVING\")")),
        ("missing", failure(format!("{rpc}NotFound desc = no such"))),
        ("broken", failure(format!("{rpc}Internal desc = the answer is no health message"))),
        (
            "old",
            failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service",
            ),
        ),
        (
            "page",
            failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): \
                 unexpected HTTP status code received from server: 404 (Not Found)",
            ),
        ),
    ];
    for (service, expected) in cases {
        assert_eq!(asked(grpc(service), LONG).await, expected, "{service:?}");
    }
    assert_eq!(asked(grpc("wait"), SHORT).await, failure("timeout: health rpc did not complete within 3s"));
}

#[tokio::test]
async fn a_refused_grpc_connection_is_tried_until_the_limit() {
    let (port, _taken) = silent_port();
    let text = format!("timeout: failed to connect service \"127.0.0.1:{port}\" within 3s: context deadline exceeded");
    assert_eq!(asked(Handler::Grpc { port, service: String::new() }, SHORT).await, failure(text));
}
