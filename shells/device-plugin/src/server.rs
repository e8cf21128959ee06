//! Accepts connections at one socket, and bounds what they may take.
//!
//! ```text
//! accepted ──first call within 10 s──► used ──peer ends it, or we stop──► ended
//!    ├──────── no call within 10 s ──────────────────────────────────────► ended
//!    └──────── 128 are open, and it is the oldest without a call ────────► ended
//! ```
//!
//! A kubelet has one connection for each resource and calls on it at once. So a thousand connections that ask for nothing
//! keep nobody out.
//!
//! What it does not do: it answers no call itself, and it removes no file.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use outrigger_kubelet_api::device_plugin::device_plugin_server::DevicePluginServer;
use outrigger_kubelet_api::{Activity, serve_connection};
use outrigger_runtime::Children;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::calls::Calls;

/// The most connections to one socket.
const MAX_CONNECTIONS: usize = 128;

/// How long a connection may be open before its first call.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// How long calls that are under way may take after the stop.
pub(crate) const LAST_CALLS: Duration = Duration::from_millis(1500);

/// A connection that is open.
struct Open {
    activity: Activity,
    /// Ends it; cancelled too when it has ended by itself.
    end: CancellationToken,
}

/// Answers everybody who connects, until `stop`; then lets calls under way be answered.
pub(crate) async fn serve(listener: UnixListener, calls: Calls, stop: CancellationToken) -> Result<(), Infallible> {
    let mut children = Children::new(2 * MAX_CONNECTIONS);
    let mut open = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async { children.room().await; listener.accept().await } => accepted,
        };
        let connection = match accepted {
            Ok((connection, _)) => connection,
            Err(error) => {
                warn!("Cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await; // Out of descriptors, most likely.
                continue;
            }
        };
        let Some(one) = admit(&mut open) else {
            debug!("Refused a connection: {MAX_CONNECTIONS} are in use");
            continue;
        };
        let task = answer(connection, calls.clone(), one.activity.clone(), one.end.clone(), stop.clone());
        open.push_back(one);
        if let Err(no_room) = children.start("connection", task) {
            debug!("{no_room}");
        }
    }
    drop(listener);
    if let Err(overran) = children.finish(LAST_CALLS).await {
        warn!("While stopping: {overran}");
    }
    Ok(())
}

/// Makes room for one more connection: at the limit the oldest without a call has to go.
fn admit(open: &mut VecDeque<Open>) -> Option<Open> {
    open.retain(|one| !one.end.is_cancelled());
    if open.len() >= MAX_CONNECTIONS {
        let idle = open.iter().position(|one| !one.activity.was_called())?;
        open.remove(idle)?.end.cancel();
    }
    Some(Open { activity: Activity::default(), end: CancellationToken::new() })
}

/// One connection, to its end.
async fn answer(
    connection: UnixStream,
    calls: Calls,
    activity: Activity,
    end: CancellationToken,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let _ended = end.clone().drop_guard();
    let service = DevicePluginServer::new(calls);
    let served = serve_connection(connection, service, activity.clone(), stop.cancelled_owned());
    let idle = async {
        sleep(FIRST_CALL).await;
        if activity.was_called() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            debug!("A connection ended: {error}");
        },
        () = end.cancelled() => (),
        () = idle => (),
    }
    Ok(())
}
