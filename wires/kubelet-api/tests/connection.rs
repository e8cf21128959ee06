//! Both ends of a connection over a real unix socket.

use std::future::{pending, ready};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::device_plugin::registration_server::{Registration, RegistrationServer};
use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, Empty, RegisterRequest, device_plugin_client::DevicePluginClient,
};
use outrigger_kubelet_api::{
    Activity, Channel, Code, ConnectError, LOCALHOST, Request, Response, Status, serve_connection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Takes every registration but that of `refused`, and that of `slow` once it may.
#[derive(Default)]
struct Taker {
    begun: Arc<Notify>,
    may_end: Arc<Notify>,
}

#[outrigger_kubelet_api::async_trait]
impl Registration for Taker {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        match request.into_inner().resource_name.as_str() {
            "refused" => Err(Status::invalid_argument("refused")),
            "slow" => {
                self.begun.notify_one();
                self.may_end.notified().await;
                Ok(Response::new(Empty {}))
            }
            _ => Ok(Response::new(Empty {})),
        }
    }
}

fn registration(resource_name: &str) -> RegisterRequest {
    RegisterRequest { resource_name: resource_name.into(), ..RegisterRequest::default() }
}

async fn channel(stream: UnixStream) -> Channel {
    Channel::over(stream, Path::new("pair"), LOCALHOST).await.expect("a pair takes connections")
}

#[tokio::test]
async fn a_call_and_its_refusal_cross_the_socket() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let calls = async {
        let mut client = RegistrationClient::new(channel(ours).await);
        client.register(registration("v.io/d")).await.unwrap();
        let refusal = client.register(registration("refused")).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "refused"));
    };
    let (served, ()) = tokio::join!(
        serve_connection(theirs, RegistrationServer::new(Taker::default()), Activity::default(), pending()),
        calls
    );
    served.unwrap();
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let calls = async {
        let status = DevicePluginClient::new(channel(ours).await).allocate(AllocateRequest::default()).await;
        assert_eq!(status.map(Response::into_inner).unwrap_err().code(), Code::Unimplemented);
    };
    let (served, ()) = tokio::join!(
        serve_connection(theirs, RegistrationServer::new(Taker::default()), Activity::default(), pending()),
        calls
    );
    served.unwrap();
}

#[tokio::test]
async fn a_call_under_way_is_answered_after_the_stop() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut client = RegistrationClient::new(channel(ours).await);
    let mut late = client.clone();
    let taker = Taker::default();
    let (begun, may_end) = (Arc::clone(&taker.begun), Arc::clone(&taker.may_end));
    let server = RegistrationServer::new(taker);
    let served = serve_connection(theirs, server, Activity::default(), async move { drop(stopped.await) });
    let calls = async {
        client.register(registration("v.io/d")).await.unwrap();
        let slow = client.register(registration("slow"));
        let others = async {
            begun.notified().await;
            stop.send(()).unwrap();
            // Calls are refused from when the peer has heard of the stop.
            while late.register(registration("v.io/d")).await.is_ok() {}
            may_end.notify_one();
        };
        let (answer, ()) = tokio::join!(slow, others);
        answer.unwrap();
    };
    let (served, ()) = timeout(Duration::from_secs(20), async { tokio::join!(served, calls) }).await.expect("it ends");
    served.unwrap();
}

#[tokio::test]
async fn what_is_no_http2_is_closed_with_an_error() {
    for noise in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0xff; 200]] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(noise).await.unwrap();
        serve_connection(theirs, RegistrationServer::new(Taker::default()), Activity::default(), pending())
            .await
            .unwrap_err();
        // The peer sees the end, after at most a few frames.
        let mut answer = Vec::new();
        drop(ours.read_to_end(&mut answer).await);
        assert!(answer.len() < 200, "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn an_idle_connection_ends_at_the_stop() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let served = serve_connection(theirs, RegistrationServer::new(Taker::default()), Activity::default(), ready(()));
    timeout(Duration::from_secs(20), served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_socket_that_nobody_serves_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let kind = |result| match result {
        Err(ConnectError::Connect { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(Channel::connect(&path, LOCALHOST).await), std::io::ErrorKind::NotFound);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(kind(Channel::connect(&path, LOCALHOST).await), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let refused = Channel::over(ours, Path::new("pair"), "%2Fvar%2Flib").await;
    assert!(matches!(refused, Err(ConnectError::Authority { .. })), "{refused:?}");
}
