//! The stdin of a container, lent to one attached session at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use outrigger_launcher::Outgoing;
use outrigger_pod_core::life::Instance;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

/// A stdin that has come back from its session.
pub(super) struct Returned {
    pub instance: Instance,
    pub stdin: Outgoing,
}

/// A stdin that is lent. Dropping it gives it back, or closes it where the manifest says `stdinOnce`.
pub(super) struct Lent {
    instance: Instance,
    stdin: Option<Outgoing>,
    /// `None`: it is closed after its first session.
    back: Option<mpsc::Sender<Returned>>,
}

impl Lent {
    pub fn new(instance: Instance, stdin: Outgoing, back: Option<mpsc::Sender<Returned>>) -> Self {
        Self { instance, stdin: Some(stdin), back }
    }

    fn with<T>(&mut self, act: impl FnOnce(Pin<&mut Outgoing>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.stdin {
            Some(stdin) => act(Pin::new(stdin)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stdin| stdin.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stdin| stdin.poll_flush(context))
    }

    /// The session has no more to write. With `stdinOnce` that is the end of the container's stdin too.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.back.is_some() {
            return self.with(|stdin| stdin.poll_flush(context));
        }
        let shut = self.with(|stdin| stdin.poll_shutdown(context));
        if shut.is_ready() {
            self.stdin = None;
        }
        shut
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stdin), Some(back)) = (self.stdin.take(), &self.back) {
            // There is room for the stdin of every container; a runner that has ended needs none back.
            let _ = back.try_send(Returned { instance: self.instance.clone(), stdin });
        }
    }
}
