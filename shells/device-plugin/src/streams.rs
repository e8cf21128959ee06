//! The streams that are open: each has a number, given in the order in which they begin.
//!
//! The kubelet's stream is the first one that begins after `Register` was sent. Its end is how the kubelet tells that it has
//! lost us; the end of anybody else's tells nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// The streams of one resource, over all its sockets.
#[derive(Clone, Debug)]
pub(crate) struct Streams(Arc<watch::Sender<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    open: BTreeSet<u64>,
}

/// The number of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamNumber(u64);

/// A stream is open as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenStream {
    streams: Streams,
    number: u64,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// A stream begins.
    pub(crate) fn begin(&self) -> OpenStream {
        let mut number = 0;
        self.0.send_modify(|streams| {
            number = streams.next;
            streams.next += 1;
            streams.open.insert(number);
        });
        OpenStream { streams: self.clone(), number }
    }

    /// The number of the stream that will begin next.
    pub(crate) fn next(&self) -> StreamNumber {
        StreamNumber(self.0.borrow().next)
    }

    /// Waits until a stream has begun; it may have ended since.
    pub(crate) async fn begun(&self, stream: StreamNumber) {
        let mut streams = self.0.subscribe();
        let begun = streams.wait_for(|streams| streams.next > stream.0).await;
        begun.expect("the sender lives as long as `self`");
    }

    /// Waits until a stream that has begun is no longer open.
    pub(crate) async fn ended(&self, stream: StreamNumber) {
        let mut streams = self.0.subscribe();
        let ended = streams.wait_for(|streams| !streams.open.contains(&stream.0)).await;
        ended.expect("the sender lives as long as `self`");
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.0.send_modify(|streams| {
            streams.open.remove(&self.number);
        });
    }
}
