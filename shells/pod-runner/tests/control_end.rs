//! The end of a control socket's server: who follows a log gets all of it, and who reads nothing holds nobody up.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::WrittenLogs;
use outrigger_pod_directory::{OwnedRun, PodSpec, StateDirectory};
use outrigger_pod_runner::control::{Client, LogQuery, bind, serve};
use outrigger_pod_runner::handle::{Handle, Snapshot};
use outrigger_sample_pods::{container, pod};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// More than sockets and queues hold.
const LINES: usize = 100_000;

const LINE: &str = "a line of some length, so that there are many bytes\n";

fn run() -> Instance {
    Instance { container: ContainerName("main".into()), attempt: 0 }
}

/// A pod whose only container has written its log and has ended.
fn ended_pod(place: &std::path::Path) -> (OwnedRun, Handle) {
    let created_at = Time(jiff::Timestamp::UNIX_EPOCH);
    let options = serde_json::Map::new();
    let spec =
        PodSpec { pod: serde_json::json!({}), launcher: "host".into(), created_at, job: None, keep: false, options };
    let owned = StateDirectory::at(place).create_pod(&"web".parse().unwrap(), &spec).unwrap();
    let log = owned.directory().make_place_of_log(&run()).unwrap();
    fs::write(log, format!("2026-01-01T00:00:00.000000000Z stdout F {LINE}").repeat(LINES)).unwrap();
    let running = [(run(), jiff::Timestamp::UNIX_EPOCH)].into();
    let handle = Handle {
        plan: Arc::new(pod(vec![container("main")])),
        directory: owned.directory().clone(),
        status: watch::channel(Arc::new(Snapshot { running, ..Snapshot::default() })).1,
        notes: broadcast::channel(1).0,
        output: broadcast::channel(1).0,
        written: WrittenLogs::default(),
        requests: mpsc::channel(1).0,
    };
    (owned, handle)
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_gets_all_of_a_log_and_one_that_reads_nothing_is_cut() {
    let place = tempfile::tempdir().unwrap();
    let (owned, handle) = ended_pod(place.path());
    let mut bound = bind(owned.directory().path()).unwrap();
    let client = Client::at(bound.path());
    let stop = CancellationToken::new();
    let server = serve(bound.take_listener().unwrap(), handle, stop.clone());
    let readers = async {
        let query = LogQuery { container: "main".into(), ..LogQuery::default() };
        let (mut slow, still) = (client.logs(&query).await.unwrap(), client.logs(&query).await.unwrap());
        stop.cancel();
        let (mut received, begun) = (0, Instant::now());
        while let Some(bytes) = slow.next().await.unwrap() {
            received += bytes.len();
            sleep(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() > Duration::from_secs(5), "{:?}: it was not slow", begun.elapsed());
        (received, still)
    };
    // The server ends although one reader is still there.
    let (served, (received, _still)) =
        timeout(Duration::from_secs(3600), async { tokio::join!(server, readers) }).await.unwrap();
    served.unwrap();
    assert_eq!(received, LINES * LINE.len());
}
