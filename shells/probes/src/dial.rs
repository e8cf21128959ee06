//! Opens TCP connections, with Go's texts for failures. No name ever reaches the C library's resolver.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outrigger_host::names::resolve_with_port;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// The name has no address.
    Lookup { host: String, why: String },
    /// The last address that was tried refused.
    Connect { address: SocketAddr, source: io::Error },
    /// It took too long.
    Timeout { host: String, port: u16 },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup { host, why } => write!(f, "dial tcp: lookup {host}: {why}"),
            Self::Connect { address, source } => write!(f, "dial tcp {address}: connect: {}", go_text(source)),
            Self::Timeout { host, port } => write!(f, "dial tcp {}: i/o timeout", host_and_port(host, *port)),
        }
    }
}

/// Connects to a host, trying its addresses in their order.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let nowhere = |why: String| DialError::Lookup { host: host.to_owned(), why };
    let addresses = resolve_with_port(host, port).await;
    let mut failed = nowhere("no such host".to_owned());
    for address in addresses.map_err(|error| nowhere(format!("no such host ({})", error.source)))? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true); // Only a matter of speed.
                return Ok(stream);
            }
            Err(source) => failed = DialError::Connect { address, source },
        }
    }
    Err(failed)
}

/// Connects within a time limit.
pub(super) async fn within(limit: Duration, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let late = || DialError::Timeout { host: host.to_owned(), port };
    timeout(limit, connect(host, port)).await.unwrap_or_else(|_| Err(late()))
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An error of the system as Go writes it: `connection refused`.
pub(super) fn go_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
