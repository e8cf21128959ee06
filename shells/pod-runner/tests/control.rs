//! The control socket over the real thing: server and client, with a runner and processes played by the test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_launcher::{ExecRequest, ExecSession, LogStream, Terminal, Usage};
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::{ContainerName, ContainerPlan};
use outrigger_pod_directory::log::{OutputPiece, WrittenLogs};
use outrigger_pod_directory::{ObjectName, OwnedRun, PodSpec, StateDirectory};
use outrigger_pod_runner::control::{
    AttachQuery, CallError, Client, ContainerUsage, ExecQuery, LogQuery, OpenError, RefusalCode, Session, SessionError,
    SessionEvent, Size, StopQuery, StreamChoice, bind, serve,
};
use outrigger_pod_runner::handle::{AttachSession, Handle, Request, RequestError, Snapshot};
use outrigger_sample_pods::{container, pod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A pod whose runner is this test.
struct Pod {
    client: Client,
    owned: OwnedRun,
    status: watch::Sender<Arc<Snapshot>>,
    output: broadcast::Sender<OutputPiece>,
    asked: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _place: tempfile::TempDir,
    socket: PathBuf,
}

fn run(attempt: u32) -> Instance {
    Instance { container: ContainerName("main".into()), attempt }
}

fn snapshot(phase: &str, running: &[u32]) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        status: PodStatus { phase: Some(phase.into()), ..PodStatus::default() },
        running: running.iter().map(|attempt| (run(*attempt), Timestamp::UNIX_EPOCH)).collect(),
        ..Snapshot::default()
    })
}

fn ended(attempt: u32, code: i32) -> Arc<Snapshot> {
    let terminated = ContainerStateTerminated { exit_code: code, ..ContainerStateTerminated::default() };
    let status = ContainerStatus {
        name: "main".into(),
        restart_count: i32::try_from(attempt).unwrap(),
        state: Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() }),
        ..ContainerStatus::default()
    };
    Arc::new(Snapshot {
        status: PodStatus { container_statuses: Some(vec![status]), ..PodStatus::default() },
        ..Snapshot::default()
    })
}

impl Pod {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let spec = PodSpec {
            pod: serde_json::json!({}),
            launcher: "host".into(),
            created_at: Time(Timestamp::UNIX_EPOCH),
            job: None,
            keep: false,
            options: serde_json::Map::new(),
        };
        let name: ObjectName = "web".parse().unwrap();
        let owned = StateDirectory::at(place.path()).create_pod(&name, &spec).unwrap();
        let (status, statuses) = watch::channel(snapshot("Running", &[0]));
        let (output, _) = broadcast::channel(16);
        let (requests, asked_of_us) = mpsc::channel(4);
        let handle = Handle {
            plan: Arc::new(pod(vec![ContainerPlan { stdin: true, ..container("main") }])),
            directory: owned.directory().clone(),
            status: statuses,
            notes: broadcast::channel(1).0,
            output: output.clone(),
            written: WrittenLogs::default(),
            requests,
        };
        let mut bound = bind(owned.directory().path()).unwrap();
        let (listener, socket) = (bound.take_listener().unwrap(), bound.path().to_owned());
        let (stop, asked) = (CancellationToken::new(), Arc::default());
        let play = play(asked_of_us, output.clone(), Arc::clone(&asked));
        let token = stop.clone();
        let server = owned_task(async move {
            tokio::select! {
                served = serve(listener, handle, token) => served.unwrap(),
                () = play => {}
            }
            drop(bound);
        });
        Self { client: Client::at(&socket), owned, status, output, asked, stop, server, _place: place, socket }
    }

    /// Writes records to the log of a run.
    fn write(&self, attempt: u32, records: &[(&str, char, &str)]) {
        let path = self.owned.directory().log(&run(attempt)).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut text = String::new();
        for (stream, tag, content) in records {
            writeln!(text, "2026-01-01T00:00:00.000000000Z {stream} {tag} {content}").unwrap();
        }
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn logs(&self, query: LogQuery) -> Result<String, CallError> {
        let mut log = self.client.logs(&LogQuery { container: "main".into(), ..query }).await?;
        let mut text = Vec::new();
        while let Some(bytes) = log.next().await? {
            text.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8(text).unwrap())
    }

    async fn exec(&self, command: &[&str]) -> Result<Session, CallError> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let terminal = Some(Size { columns: 80, rows: 24 });
        self.client.exec(&ExecQuery { container: "main".into(), command, stdin: true, terminal }).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    async fn finish(self) {
        self.stop.cancel();
        self.server.await.unwrap();
        assert!(!self.socket.exists(), "the socket is left behind");
    }
}

#[expect(clippy::disallowed_methods, reason = "the test awaits it in `finish`")]
fn owned_task(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

struct Screen(Arc<Mutex<Vec<String>>>);

impl Terminal for Screen {
    fn resize(&self, columns: u16, rows: u16) {
        self.0.lock().unwrap().push(format!("resize {columns}x{rows}"));
    }
}

/// The runner: `cat` gives stdin back and ends with it, `fail` answers an error, `long` writes a lot, others say hello.
async fn play(
    mut requests: mpsc::Receiver<Request>,
    output: broadcast::Sender<OutputPiece>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Stop { grace, reply } => {
                asked.lock().unwrap().push(format!("stop {grace:?}"));
                reply.send(()).unwrap();
            }
            Request::Usage { reply } => {
                let usage = Usage { cpu: Duration::from_millis(5), memory: 7 };
                reply.send([(ContainerName("main".into()), usage)].into()).unwrap();
            }
            Request::Attach { stdin: true, container, reply } => {
                reply.send(Err(RequestError::NoStdin(container))).unwrap();
            }
            Request::Attach { reply, .. } => {
                let session =
                    AttachSession { instance: run(0), stdin: None, terminal: None, output: output.subscribe() };
                reply.send(Ok(session)).unwrap();
            }
            Request::Exec { request, container, reply } if request.command == ["fail"] => {
                reply.send(Err(RequestError::NotRunning(container))).unwrap();
            }
            Request::Exec { request, reply, .. } => reply.send(Ok(process(&request, &asked))).unwrap(),
        }
    }
}

fn process(request: &ExecRequest, asked: &Arc<Mutex<Vec<String>>>) -> ExecSession {
    let (ours, stdin) = tokio::io::duplex(1024);
    let (stdout, mut out) = tokio::io::duplex(1024);
    let (stderr, mut err) = tokio::io::duplex(1024);
    let (mut input, _) = tokio::io::split(ours);
    let command = request.command.join(" ");
    let code = async move {
        match command.as_str() {
            "cat" => {
                tokio::io::copy(&mut input, &mut out).await.unwrap();
            }
            "long" => {
                for piece in 0..1000u32 {
                    let mut block = vec![b'.'; 1024];
                    block[..4].copy_from_slice(&piece.to_be_bytes());
                    out.write_all(&block).await.unwrap();
                }
            }
            _ => {
                out.write_all(b"hello").await.unwrap();
                err.write_all(b"trouble").await.unwrap();
            }
        }
        drop((out, err));
        Ok(3)
    };
    let (done, exit) = tokio::sync::oneshot::channel();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _ = done.send(code.await);
    });
    ExecSession {
        stdin: Some(Box::new(stdin)),
        stdout: Box::new(stdout),
        stderr: Some(Box::new(stderr)),
        terminal: request.terminal.map(|_| Arc::new(Screen(Arc::clone(asked))) as Arc<dyn Terminal>),
        ended: Box::pin(async move {
            let code = exit.await.unwrap();
            drop(tasks);
            code
        }),
    }
}

/// Everything that a session gives: stdout, stderr and the exit code.
async fn everything(session: &mut Session) -> Result<(Vec<u8>, Vec<u8>, i32), SessionError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.output.next().await? {
            Some(SessionEvent::Stdout(bytes)) => out.extend_from_slice(&bytes),
            Some(SessionEvent::Stderr(bytes)) => err.extend_from_slice(&bytes),
            Some(SessionEvent::Notice(text)) => err.extend_from_slice(text.as_bytes()),
            Some(SessionEvent::Exit(code)) => return Ok((out, err, code)),
            None => panic!("the end came without an exit code"),
        }
    }
}

fn refusal(error: CallError) -> (RefusalCode, String) {
    match error {
        CallError::Refused(refusal) => (refusal.code, refusal.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_status_is_told_and_told_again_at_each_change_until_the_pod_is_gone() {
    let pod = Pod::start();
    let status = pod.client.status().await.unwrap();
    assert_eq!((status.name.as_str(), status.uid.as_str()), ("web", "u-1"));
    assert_eq!(status.status.phase.as_deref(), Some("Running"));

    let mut changes = pod.client.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap().status.phase.as_deref(), Some("Running"));
    pod.status.send_replace(snapshot("Succeeded", &[]));
    assert_eq!(changes.next().await.unwrap().unwrap().status.phase.as_deref(), Some("Succeeded"));
    let Pod { status, stop, server, .. } = pod;
    drop(status);
    assert_eq!(changes.next().await.unwrap(), None);
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_stop_and_the_usage_reach_the_runner() {
    let pod = Pod::start();
    pod.client.stop(StopQuery { grace_seconds: Some(0) }).await.unwrap();
    pod.client.stop(StopQuery::default()).await.unwrap();
    assert_eq!(pod.asked(), ["stop Some(0ns)", "stop None"]);
    let usage = pod.client.usage().await.unwrap();
    assert_eq!(usage["main"], ContainerUsage { cpu_nanoseconds: 5_000_000, memory_bytes: 7 });
    pod.finish().await;
}

#[tokio::test]
async fn a_log_is_read_with_its_options() {
    let pod = Pod::start();
    pod.write(0, &[("stdout", 'F', "one"), ("stderr", 'P', "tw"), ("stdout", 'F', "three"), ("stderr", 'F', "o")]);
    assert_eq!(pod.logs(LogQuery::default()).await.unwrap(), "one\nthree\ntwo\n");
    assert_eq!(pod.logs(LogQuery { tail: Some(1), ..LogQuery::default() }).await.unwrap(), "two\n");
    let stderr = LogQuery { stream: StreamChoice::Stderr, timestamps: true, ..LogQuery::default() };
    assert_eq!(pod.logs(stderr).await.unwrap(), "2026-01-01T00:00:00.000000000Z two\n");
    let (code, message) = refusal(pod.logs(LogQuery { previous: true, ..LogQuery::default() }).await.unwrap_err());
    assert_eq!(code, RefusalCode::NotFound);
    assert_eq!(message, "container \"main\" has no previous log: it has not been restarted");

    pod.status.send_replace(snapshot("Running", &[1]));
    pod.write(1, &[("stdout", 'F', "again")]);
    assert_eq!(pod.logs(LogQuery::default()).await.unwrap(), "again\n");
    let previous = LogQuery { previous: true, tail: Some(1), ..LogQuery::default() };
    assert_eq!(pod.logs(previous).await.unwrap(), "two\n");
    pod.finish().await;
}

#[tokio::test]
async fn a_follower_gets_what_is_written_later_and_ends_with_the_run() {
    let pod = Pod::start();
    pod.write(0, &[("stdout", 'F', "one")]);
    let query = LogQuery { container: "main".into(), follow: true, ..LogQuery::default() };
    let mut log = pod.client.logs(&query).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), "one\n");
    pod.write(0, &[("stdout", 'F', "two")]);
    assert_eq!(log.next().await.unwrap().unwrap(), "two\n");
    pod.write(0, &[("stdout", 'P', "end")]);
    pod.status.send_replace(snapshot("Running", &[]));
    assert_eq!(log.next().await.unwrap().unwrap(), "end");
    assert_eq!(log.next().await.unwrap(), None);
    pod.finish().await;
}

#[tokio::test]
async fn an_unknown_container_and_one_that_has_not_run_are_refused_by_name() {
    let pod = Pod::start();
    let query = LogQuery { container: "nope".into(), ..LogQuery::default() };
    let (code, message) = refusal(pod.client.logs(&query).await.unwrap_err());
    assert_eq!((code, message.as_str()), (RefusalCode::NotFound, "the pod has no container \"nope\"; it has main"));
    pod.status.send_replace(snapshot("Pending", &[]));
    let (code, _) = refusal(pod.logs(LogQuery::default()).await.unwrap_err());
    assert_eq!(code, RefusalCode::NotRunning);
    let (code, message) = refusal(pod.exec(&["fail"]).await.unwrap_err());
    assert_eq!((code, message.as_str()), (RefusalCode::NotRunning, "container main does not run now"));
    pod.finish().await;
}

#[tokio::test]
async fn a_command_gets_its_stdin_and_sizes_and_gives_its_output_and_code() {
    let pod = Pod::start();
    let mut session = pod.exec(&["cat"]).await.unwrap();
    session.input.resize(Size { columns: 100, rows: 30 }).await.unwrap();
    let sent: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
    let Session { mut input, output } = session;
    let feed = async {
        input.stdin(&sent).await.unwrap();
        input.close_stdin().await.unwrap();
        input
    };
    let drain = async {
        let mut session = (Vec::new(), output);
        loop {
            match session.1.next().await.unwrap() {
                Some(SessionEvent::Stdout(bytes)) => session.0.extend_from_slice(&bytes),
                Some(SessionEvent::Exit(code)) => return (session.0, code),
                other => panic!("{other:?}"),
            }
        }
    };
    let (_input, (got, code)) = tokio::join!(feed, drain);
    assert_eq!(code, 3);
    assert!(got == sent, "{} bytes came back of {}", got.len(), sent.len());
    assert_eq!(pod.asked(), ["resize 100x30"]);

    let mut session = pod.exec(&["hello"]).await.unwrap();
    assert_eq!(everything(&mut session).await.unwrap(), (b"hello".to_vec(), b"trouble".to_vec(), 3));
    assert_eq!(session.output.next().await.unwrap(), None);
    pod.finish().await;
}

#[tokio::test]
async fn a_slow_reader_of_a_command_loses_nothing() {
    let pod = Pod::start();
    let mut session = pod.exec(&["long"]).await.unwrap();
    // Other requests are answered while nobody reads.
    pod.client.usage().await.unwrap();
    let (out, _, code) = everything(&mut session).await.unwrap();
    assert_eq!((out.len(), code), (1_024_000, 3));
    pod.finish().await;
}

#[tokio::test]
async fn an_attached_reader_sees_its_run_alone_and_is_told_what_it_missed() {
    let pod = Pod::start();
    let query = AttachQuery { container: "main".into(), stdin: true };
    let (code, _) = refusal(pod.client.attach(&query).await.unwrap_err());
    assert_eq!(code, RefusalCode::NotRunning);

    let mut session = pod.client.attach(&AttachQuery { stdin: false, ..query }).await.unwrap();
    let piece = |instance, text: &'static str| OutputPiece {
        instance,
        stream: LogStream::Stderr,
        bytes: Bytes::from_static(text.as_bytes()),
    };
    pod.output.send(piece(run(7), "another run")).unwrap();
    pod.output.send(piece(run(0), "mine")).unwrap();
    assert_eq!(session.output.next().await.unwrap(), Some(SessionEvent::Stderr(Bytes::from_static(b"mine"))));
    for _ in 0..40 {
        pod.output.send(piece(run(0), "flood")).unwrap();
    }
    let notice = session.output.next().await.unwrap();
    assert!(matches!(&notice, Some(SessionEvent::Notice(text)) if text.contains("were dropped")), "{notice:?}");
    pod.status.send_replace(ended(0, 9));
    let (_, rest, code) = everything(&mut session).await.unwrap();
    assert_eq!((rest.len(), code), (16 * 5, 9));
    pod.finish().await;
}

#[tokio::test]
async fn without_a_runner_the_client_says_so() {
    let place = tempfile::tempdir().unwrap();
    let error = Client::open(place.path(), None).await.unwrap_err();
    assert!(matches!(error, OpenError::NoRunner { .. }), "{error:?}");
    let pod = Pod::start();
    let client = Client::open(pod.owned.directory().path(), None).await.unwrap();
    pod.finish().await;
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, CallError::Open(OpenError::NoRunner { .. })), "{error:?}");
}

/// Sends bytes as they are and reads the answer to its end.
async fn raw(pod: &Pod, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(&pod.socket).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_hostile_client_is_refused_and_others_are_served() {
    let pod = Pod::start();
    let huge = format!("GET /v1/status HTTP/1.1\r\nHost: pod\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert!(raw(&pod, huge.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(raw(&pod, b"\x16\x03\x01\x02\x00\x01").await.starts_with("HTTP/1.1 400"));
    let answer = raw(&pod, b"GET /v9/x HTTP/1.1\r\nHost: pod\r\n\r\n").await;
    assert!(answer.contains("there is no GET /v9/x here; this runner speaks version v1"), "{answer}");
    let answer = raw(&pod, b"POST /v1/exec HTTP/1.1\r\nHost: pod\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(answer.contains("outrigger-stream/1"), "{answer}");
    let body = "x".repeat(2 * 1024 * 1024);
    let huge = format!("POST /v1/stop HTTP/1.1\r\nHost: pod\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = UnixStream::connect(&pod.socket).await.unwrap();
    let _ = stream.write_all(huge.as_bytes()).await; // The server may cut the connection before all of it is sent.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(pod.asked(), Vec::<String>::new(), "an oversized request was carried out");
    pod.client.status().await.unwrap();
    pod.finish().await;
}

#[tokio::test]
async fn an_oversized_frame_ends_the_stream_with_a_text() {
    let pod = Pod::start();
    let mut stream = UnixStream::connect(&pod.socket).await.unwrap();
    let body = r#"{"container":"main","command":["cat"],"stdin":true}"#;
    let head = "POST /v1/exec HTTP/1.1\r\nHost: pod\r\nConnection: upgrade\r\nUpgrade: outrigger-stream/1\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    stream.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.ends_with("the client sent a frame of 4294967295 bytes; the most is 65536"), "{answer}");
    pod.finish().await;
}

/// The clock stands still but for what everybody waits for, so the limits of 10 s pass at once.
#[tokio::test(start_paused = true)]
async fn requests_that_do_not_arrive_are_given_up() {
    let pod = Pod::start();
    let begun = tokio::time::Instant::now();
    assert_eq!(raw(&pod, b"GET /v1/status HTTP/1.1\r\nHost:").await, "");
    assert_eq!(begun.elapsed().as_secs(), 10);
    let answer = raw(&pod, b"POST /v1/stop HTTP/1.1\r\nHost: pod\r\nContent-Length: 9\r\n\r\n{").await;
    assert!(answer.contains("the body did not arrive within 10 s"), "{answer}");
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!(pod.asked(), Vec::<String>::new());
    pod.finish().await;
}

#[tokio::test]
async fn half_open_connections_do_not_keep_a_stop_from_getting_through() {
    let pod = Pod::start();
    let mut followers = Vec::new();
    pod.write(0, &[("stdout", 'F', "one")]);
    let query = LogQuery { container: "main".into(), follow: true, ..LogQuery::default() };
    for _ in 0..48 {
        followers.push(pod.client.logs(&query).await.unwrap());
    }
    let (code, _) = refusal(pod.client.logs(&query).await.unwrap_err());
    assert_eq!(code, RefusalCode::Busy);
    let mut half_open = Vec::new();
    for _ in 0..10 {
        half_open.push(UnixStream::connect(&pod.socket).await.unwrap());
    }
    pod.client.stop(StopQuery::default()).await.unwrap();
    drop(followers);
    drop(half_open);
    pod.finish().await;
}
