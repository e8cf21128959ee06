//! The life of one resource: one task that connects, serves, registers, and watches over all three.
//!
//! ```text
//! waiting ─► serving ─► registering ─► registered ─► connected ─┐
//!    ▲          │            │             │                    │  (crate's documentation: what leads where)
//!    └──────────┴── delay ───┴─────────────┴────────────────────┘
//! ```
//!
//! What it does not do: lists are made ready in `publish`, calls answered in `calls`.

mod attempt;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use outrigger_host::Changes;
use outrigger_runtime::Children;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::audit;
use crate::back_off::BackOff;
use crate::calls::Calls;
use crate::newer::Newer;
use crate::place::Place;
use crate::publish::{Listing, publish};
use crate::resource::Resource;
use crate::server::LAST_CALLS;
use crate::socket::{FileId, OwnSocket};
use crate::state::{Board, RegisterReason};
use crate::streams::{StreamNumber, Streams};

/// How long after a registration the kubelet's stream may take.
const STREAM: Duration = Duration::from_secs(5);

/// A stream that lived as long as this was a good one: the next delay is short again.
const GOOD: Duration = Duration::from_secs(1);

/// For how long after the directory has stirred a kubelet that takes no connections is tried at least every [`SOON`]: it has
/// bound its socket and will listen in a moment, which nothing tells.
const STIRRED: Duration = Duration::from_secs(5);

/// See [`STIRRED`].
const SOON: Duration = Duration::from_millis(20);

/// How many sockets may be served beside the present one, for streams that still live.
const MAX_FORMER: usize = 4;

/// What a resource is served with.
pub(crate) struct Surroundings {
    pub(crate) place: Place,
    pub(crate) changes: Changes,
    pub(crate) board: Board,
    pub(crate) stop: CancellationToken,
}

/// The life of one resource.
struct Life {
    place: Place,
    /// Of the directory.
    changes: Changes,
    resource: watch::Receiver<Arc<Resource>>,
    calls: Calls,
    silence: watch::Sender<bool>,
    board: Board,
    /// Tasks that accept connections, one for each socket.
    servers: Children,
    /// The socket that we register.
    serving: Option<Serving>,
    /// Sockets that were served before and whose streams may still live.
    former: Vec<Serving>,
    /// A newer instance that is served.
    newer: Option<Newer>,
    /// `kubelet.sock`, as it was when we last connected to it.
    kubelet: Option<FileId>,
    /// The same, as it was at the last registration.
    registered_with: Option<FileId>,
    /// The last audits in a row at which the kubelet did not know our devices.
    unknown: u32,
}

/// A socket that is served.
struct Serving {
    socket: OwnSocket,
    /// Ends its connections.
    end: CancellationToken,
}

/// Why a resource has to be registered again, and how long its stream lived.
struct Lost {
    why: RegisterReason,
    lived: Duration,
}

/// Serves a resource until the stop; then lets calls be answered and removes our own sockets.
pub(crate) async fn live(resource: watch::Receiver<Arc<Resource>>, surroundings: Surroundings) {
    let Surroundings { place, changes, board, stop } = surroundings;
    let (listings, listed) = watch::channel(Listing { silent: true, ..Listing::default() });
    let (silence, silent) = watch::channel(false);
    let calls = Calls {
        resource: resource.clone(),
        listings: listed,
        streams: Streams::new(),
        board: board.clone(),
        stop: stop.clone(),
    };
    let publishing = publish(resource.clone(), silent, &listings, &board);
    let mut life = Life {
        place,
        changes,
        resource,
        calls,
        silence,
        board: board.clone(),
        servers: Children::new(MAX_FORMER + 2),
        serving: None,
        former: Vec::new(),
        newer: None,
        kubelet: None,
        registered_with: None,
        unknown: 0,
    };
    tokio::select! {
        () = stop.cancelled() => (),
        () = publishing => (),
        () = life.go_on() => (),
    }
    life.end().await;
}

impl Life {
    /// From one registration to the next.
    async fn go_on(&mut self) {
        let mut why = RegisterReason::Start;
        let mut delay = BackOff::new();
        let mut stirred: Option<Instant> = None;
        loop {
            self.while_newer_is_served().await;
            let mut is_absent = false;
            match self.attempt(why).await {
                Ok(stream) => {
                    let lost = self.watch_over(stream).await;
                    self.tell_lost(&lost);
                    why = lost.why;
                    if lost.lived >= GOOD {
                        delay.reset();
                        continue;
                    }
                }
                Err(trouble) => {
                    if trouble.was_registering() {
                        why = RegisterReason::Retry;
                    }
                    is_absent = !trouble.is_fault();
                    self.tell_trouble(trouble);
                }
            }
            let is_coming = is_absent && stirred.is_some_and(|stirred| stirred.elapsed() < STIRRED);
            let next = delay.next();
            tokio::select! {
                () = sleep(if is_coming { next.min(SOON) } else { next }) => (),
                () = self.kubelet_stirs(is_absent) => {
                    stirred = Some(Instant::now());
                    delay.reset();
                }
            }
        }
    }

    /// Waits until `kubelet.sock` is another one than we connected to last; or, where it takes no connections, until
    /// anything happens beside it, since a connect costs nothing.
    async fn kubelet_stirs(&mut self, is_absent: bool) {
        let socket = self.place.kubelet_socket();
        loop {
            self.changes.changed().await;
            if is_absent || FileId::of(&socket).is_ok_and(|id| Some(id) != self.kubelet) {
                return;
            }
        }
    }

    /// Waits, silently, as long as a newer instance is served: it registers, and we do not.
    async fn while_newer_is_served(&mut self) {
        self.look_for_newer().await;
        while let Some(newer) = &self.newer {
            newer.ended().await;
            self.look_for_newer().await;
        }
    }

    /// Looks whether a newer instance is served, and is silent or speaks accordingly. One that is known counts as long as
    /// its connection lasts, since the kubelet may have removed its socket's file.
    async fn look_for_newer(&mut self) {
        if self.newer.as_ref().is_some_and(Newer::is_served) {
            return;
        }
        let own = self.serving.as_ref().and_then(|serving| serving.socket.instance);
        let name = self.board.name().clone();
        self.newer = match own {
            Some(own) => Newer::find(&self.place.directory, &name, own).await,
            None => None,
        };
        let is_silent = self.newer.is_some();
        let changed = self.silence.send_if_modified(|silent| std::mem::replace(silent, is_silent) != is_silent);
        if changed && is_silent {
            info!(resource = %name, "A newer instance serves {name}; this one sends no more lists");
        } else if changed {
            info!(resource = %name, "The newer instance of {name} has ended; this one sends lists again");
        }
    }

    /// Waits for the kubelet's stream, and then for anything that makes another registration necessary.
    async fn watch_over(&mut self, stream: StreamNumber) -> Lost {
        let streams = self.calls.streams.clone();
        if timeout(STREAM, streams.begun(stream)).await.is_err() {
            return Lost { why: RegisterReason::Retry, lived: Duration::ZERO };
        }
        let begun = Instant::now();
        self.board.write(|state| {
            state.stream_connected = true;
            state.last_error = None;
        });
        for former in self.former.drain(..) {
            former.end();
        }
        let mut ended = pin!(streams.ended(stream));
        let mut audit = interval_at(begun + self.place.audit, self.place.audit);
        let why = loop {
            if let Some(why) = self.look().await {
                break why;
            }
            let newer_ended = async {
                match &self.newer {
                    Some(newer) => newer.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut ended => break RegisterReason::StreamLost,
                () = self.changes.changed() => (),
                () = newer_ended => (),
                _ = audit.tick() => if self.is_unknown_to_kubelet().await {
                    break RegisterReason::Audit;
                },
            }
        };
        if why != RegisterReason::StreamLost {
            self.retire(); // Its stream may live: the next registration has another socket.
        }
        Lost { why, lived: begun.elapsed() }
    }

    /// Looks at our own socket and for a newer instance. The kubelet allocates from whoever registered last: when the newer
    /// instance has ended that is nobody, though our stream may live and our list be read.
    async fn look(&mut self) -> Option<RegisterReason> {
        let was_older = self.newer.is_some();
        self.look_for_newer().await;
        if was_older && self.newer.is_none() {
            return Some(RegisterReason::NewerEnded);
        }
        let is_there = self.serving.as_ref().is_some_and(|serving| serving.socket.is_there());
        (self.newer.is_none() && !is_there).then_some(RegisterReason::SocketGone)
    }

    /// Whether the kubelet has not known our devices at two audits in a row.
    async fn is_unknown_to_kubelet(&mut self) -> bool {
        let Some(pod_resources) = &self.place.pod_resources else { return false };
        let listing = self.calls.listings.borrow().clone();
        let has_healthy = listing.list.healthy() > 0;
        if listing.silent || !has_healthy || audit::known(pod_resources, self.board.name()).await != Some(0) {
            self.unknown = 0;
            return false;
        }
        self.unknown += 1;
        self.unknown >= 2
    }

    /// Stops registering the present socket, but goes on serving it for the stream that may live; except at a fixed name,
    /// where the next socket needs the place.
    fn retire(&mut self) {
        let Some(former) = self.serving.take() else { return };
        if former.socket.instance.is_none() {
            former.end();
            return;
        }
        self.former.push(former);
        while self.former.len() > MAX_FORMER {
            self.former.remove(0).end();
        }
    }

    fn tell_lost(&mut self, lost: &Lost) {
        let name = self.board.name();
        self.unknown = 0;
        self.board.write(|state| (state.registered, state.stream_connected) = (false, false));
        let lived = lost.lived;
        match lost.why {
            RegisterReason::SocketGone => {
                warn!(resource = %name, "Somebody removed or replaced the socket of {name}; registering another");
            }
            RegisterReason::Audit => {
                warn!(resource = %name, "The kubelet reads the list of {name} and does not know its devices; registering again");
            }
            RegisterReason::NewerEnded => {
                info!(resource = %name, "The newer instance of {name} has ended; registering again");
            }
            RegisterReason::Retry => {
                warn!(resource = %name, "The kubelet took {name} and opened no stream within {STREAM:?}; registering again");
            }
            _ => info!(resource = %name, "The kubelet ended its stream of {name} after {lived:.1?}; registering again"),
        }
    }

    /// Tells a failed attempt once: the same failure again is not news.
    fn tell_trouble(&mut self, trouble: attempt::Trouble) {
        let name = self.board.name();
        let is_expected = !trouble.is_fault();
        let text = format!("{:#}", anyhow::Error::new(trouble));
        let mut is_news = false;
        self.board.write(|state| {
            is_news = state.last_error.as_ref() != Some(&text);
            (state.registered, state.stream_connected) = (false, false);
            state.last_error = Some(text.clone());
        });
        if is_news && is_expected {
            info!(resource = %name, "{name} waits for the kubelet: {text}");
        } else if is_news {
            warn!(resource = %name, "Cannot register {name}: {text}");
        }
    }

    /// Removes our own sockets, and lets calls under way be answered.
    async fn end(mut self) {
        for serving in self.serving.take().into_iter().chain(self.former.drain(..)) {
            serving.end();
        }
        if let Err(overran) = self.servers.finish(LAST_CALLS + Duration::from_millis(200)).await {
            warn!("While stopping: {overran}");
        }
        self.board.write(|state| {
            (state.endpoint, state.registered, state.stream_connected) = (None, false, false);
        });
    }
}

impl Serving {
    /// Removes the socket if it is ours, and ends its connections.
    fn end(self) {
        self.socket.remove();
        self.end.cancel();
    }
}
