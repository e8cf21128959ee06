//! An HTTP/1.1 client connection that is driven by whoever waits for its answer, so that it needs no task of its own.

use std::pin::pin;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use outrigger_launcher::BoxFuture;

/// The connection's half of the work. Without it being driven nothing is sent and nothing arrives.
pub(crate) struct Driven {
    connection: Option<BoxFuture<'static, hyper::Result<()>>>,
}

impl Driven {
    /// Begins HTTP/1.1 on `io`. Names of headers are written like `Content-Type`.
    pub(crate) async fn begin<I>(io: I) -> hyper::Result<(http1::SendRequest<Full<Bytes>>, Self)>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().title_case_headers(true).handshake(io).await?;
        Ok((sender, Self { connection: Some(Box::pin(connection.with_upgrades())) }))
    }

    /// Awaits `work` while driving the connection. A connection's own error reaches `work` through what it awaits.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        while let Some(connection) = &mut self.connection {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = connection => self.connection = None,
            }
        }
        work.await
    }
}
