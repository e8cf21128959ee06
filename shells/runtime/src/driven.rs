//! An HTTP/1.1 client connection that is driven by whoever waits for its answer, so that it needs no task of its own.

use std::fmt;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};

/// The connection's half of the work. Without it being driven nothing is sent and nothing arrives.
pub struct Driven {
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven").field("open", &self.connection.is_some()).finish()
    }
}

impl Driven {
    /// Begins HTTP/1.1 on `io`. Names of headers are written like `Content-Type`.
    pub async fn begin<I>(io: I) -> hyper::Result<(http1::SendRequest<Full<Bytes>>, Self)>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().title_case_headers(true).handshake(io).await?;
        Ok((sender, Self { connection: Some(Box::pin(connection.with_upgrades())) }))
    }

    /// Awaits `work` while driving the connection. A connection's own error reaches `work` through what it awaits.
    pub async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
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
