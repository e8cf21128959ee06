//! The client's side of exec and attach.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::frame::{Decoder, Frame, FrameError};
use super::protocol::Size;

type Io = TokioIo<Upgraded>;

/// A command that runs in a container, or a container that is attached to. Dropping both halves ends the command; an
/// attached container goes on.
#[derive(Debug)]
pub struct Session {
    /// Towards the process.
    pub input: SessionInput,
    /// From the process.
    pub output: SessionOutput,
}

/// Towards the process. Whoever sends to one that has ended learns it from [`SessionOutput`] alone: what it wrote and how it
/// ended may still be on its way.
pub struct SessionInput {
    io: WriteHalf<Io>,
}

/// From the process.
pub struct SessionOutput {
    io: ReadHalf<Io>,
    decoder: Decoder,
    ready: VecDeque<Result<SessionEvent, String>>,
    ended: bool,
}

/// What comes from the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Bytes of stdout, or of the terminal.
    Stdout(Bytes),
    /// Bytes of stderr.
    Stderr(Bytes),
    /// For people, beside the output.
    Notice(String),
    /// The process has ended with this code (128 + signal where a signal ended it). Nothing follows.
    Exit(i32),
}

/// Why a session ended before its process did.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The runner says why.
    #[error("{0}")]
    Runner(String),
    /// The runner ended or was killed.
    #[error("the pod's runner ended before the process did")]
    Lost,
    /// What arrived is no frame.
    #[error("the pod's runner sent what this release does not understand")]
    Frame(#[from] FrameError),
    /// The connection failed.
    #[error("the connection to the pod's runner failed")]
    Io(#[from] io::Error),
}

impl Session {
    pub(super) fn new(io: Io) -> Self {
        let (read, write) = tokio::io::split(io);
        Self {
            input: SessionInput { io: write },
            output: SessionOutput { io: read, decoder: Decoder::default(), ready: VecDeque::new(), ended: false },
        }
    }
}

impl SessionInput {
    /// Sends bytes to the process's stdin. It waits where the process does not read.
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if bytes.is_empty() { Ok(()) } else { self.send(&Frame::Stdin(Bytes::copy_from_slice(bytes))).await }
    }

    /// Ends the process's stdin.
    pub async fn close_stdin(&mut self) -> Result<(), SessionError> {
        self.send(&Frame::CloseStdin).await
    }

    /// Tells the terminal's new size.
    pub async fn resize(&mut self, size: Size) -> Result<(), SessionError> {
        self.send(&Frame::Resize { columns: size.columns, rows: size.rows }).await
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), SessionError> {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        let sent = async {
            self.io.write_all(&wire).await?;
            self.io.flush().await
        };
        match sent.await {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl SessionOutput {
    /// What comes next; `None` after [`SessionEvent::Exit`]. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<SessionEvent>, SessionError> {
        let mut buffer = BytesMut::with_capacity(32 * 1024);
        loop {
            self.sort()?;
            if let Some(event) = self.ready.pop_front() {
                self.ended = matches!(event, Ok(SessionEvent::Exit(_)) | Err(_));
                return event.map(Some).map_err(SessionError::Runner);
            }
            if self.ended {
                return Ok(None);
            }
            buffer.clear();
            if self.io.read_buf(&mut buffer).await? == 0 {
                return Err(SessionError::Lost);
            }
            self.decoder.feed(&buffer);
        }
    }

    /// Moves the whole frames that have arrived to `ready`.
    fn sort(&mut self) -> Result<(), SessionError> {
        while let Some(frame) = self.decoder.next_frame()? {
            match frame {
                Frame::Stdout(bytes) => self.ready.push_back(Ok(SessionEvent::Stdout(bytes))),
                Frame::Stderr(bytes) => self.ready.push_back(Ok(SessionEvent::Stderr(bytes))),
                Frame::Notice(text) => self.ready.push_back(Ok(SessionEvent::Notice(text))),
                Frame::Exit(code) => self.ready.push_back(Ok(SessionEvent::Exit(code))),
                Frame::Error(text) => self.ready.push_back(Err(text)),
                Frame::Alive | Frame::Stdin(_) | Frame::Resize { .. } | Frame::CloseStdin => {}
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SessionInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionInput").finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOutput").finish_non_exhaustive()
    }
}
