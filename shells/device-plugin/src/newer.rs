//! Whether a newer instance serves the same resource, so that we are silent.
//!
//! ```text
//! speaking ──a newer socket takes our connection──► silent ──that connection ends, and no other takes one──► speaking
//! ```
//!
//! The connection is held for as long as it lasts: its end is how we learn that the newer instance has ended, however it
//! ended, and also when the kubelet has removed both sockets meanwhile.
//!
//! What it does not do: it asks the newer instance nothing.

use std::io::ErrorKind;
use std::path::Path;

use tokio::net::UnixStream;

use crate::resource::ResourceName;
use crate::socket::{Instance, Served, derived, served};

/// A connection to the newer instance.
#[derive(Debug)]
pub(crate) struct Newer(UnixStream);

impl Newer {
    /// The newest instance after `own` that takes a connection.
    pub(crate) async fn find(directory: &Path, resource: &ResourceName, own: Instance) -> Option<Self> {
        let mut sockets = derived(directory, resource);
        sockets.retain(|(instance, _)| *instance > own);
        sockets.sort();
        for (_, path) in sockets.iter().rev() {
            if let Served::By(connection) = served(path).await {
                return Some(Self(connection));
            }
        }
        None
    }

    /// Waits until the connection ends. The newer instance ends it after a while, since we never call; then one looks again.
    pub(crate) async fn ended(&self) {
        while self.is_served() {
            if self.0.readable().await.is_err() {
                return;
            }
        }
    }

    /// Whether the connection has not ended.
    pub(crate) fn is_served(&self) -> bool {
        let mut said = [0; 256]; // The beginning of HTTP/2, which a server says unasked.
        loop {
            match self.0.try_read(&mut said) {
                Ok(0) => return false,
                Ok(_) => (),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}
