//! What stands before the kubelet's own servers: it lets in clients whose `:authority` these would refuse.
//!
//! ```text
//! client ──bytes──► Rewriter ──bytes──► server (on the other end of a pair of sockets)
//!    ◄─────────────────────────bytes──────┘
//! ```
//!
//! What it does not do: it knows no calls, and the end of either side is the end of the other.

use std::future::{Future, pending};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::UnixStream;

use crate::authority::Rewriter;

/// How many bytes are read at once.
const READ: usize = 16 * 1024;

/// Has a client's connection answered by `answer`, until the server ends it.
pub(crate) async fn let_in<F: Future<Output = ()>>(client: UnixStream, answer: impl FnOnce(UnixStream) -> F) {
    // Without descriptors no kubelet takes a connection either.
    let Ok((inside, outside)) = UnixStream::pair() else { return };
    tokio::join!(answer(inside), carry(client, outside));
}

async fn carry(client: UnixStream, server: UnixStream) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut rewriter = Rewriter::default();
        let mut bytes = vec![0; READ];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if to_server.write_all(&rewriter.push(&bytes[..count])).await.is_err() {
                break;
            }
        }
        drop(to_server); // The server reads the end, and ends the connection when it has answered.
        pending::<()>().await;
    };
    tokio::select! {
        () = there => (),
        // Whether it ended well or not, there is nobody left to tell.
        _ = copy(&mut from_server, &mut to_client) => (),
    }
}
