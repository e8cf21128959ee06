//! The server's side of exec and attach: frames in to the process, its output out as frames.
//!
//! ```text
//! client ──frames──► listen ──► stdin, terminal
//! client ◄──frames── tell ◄──── output, exit code        and a fault of `listen` by a channel
//! ```
//!
//! Backpressure is the socket's: a process that does not read its stdin holds up the frames behind it (also a resize), and
//! a client that does not read holds up a command's output. An attached container is never held up: what the client misses
//! is dropped, and a notice says so.

use bytes::{Bytes, BytesMut};
use outrigger_launcher::{BoxFuture, ExecSession, Incoming, LaunchError, LogStream, Outgoing, Terminal};
use outrigger_pod_core::life::Instance;
use outrigger_pod_directory::log::OutputPiece;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Duration, sleep};

use super::frame::{Decoder, Frame};
use crate::handle::AttachSession;

/// How often a quiet stream shows that it is still there; by that a vanished client is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long the output may stay quiet after the process's end before a descendant that holds it open is left behind.
const DRAIN: Duration = Duration::from_secs(1);

/// How much output is read at once.
const PIECE: usize = 32 * 1024;

/// What a process takes.
struct Input {
    stdin: Option<Outgoing>,
    terminal: Option<std::sync::Arc<dyn Terminal>>,
}

/// What a process gives.
enum Source {
    Pipes { stdout: Option<Incoming>, stderr: Option<Incoming>, out: BytesMut, err: BytesMut },
    Shared { output: broadcast::Receiver<OutputPiece>, run: Instance },
}

/// Serves an exec until the command or the client ends. The client's end kills the command.
pub(super) async fn serve_exec(io: impl AsyncRead + AsyncWrite + Send, session: ExecSession) {
    let ExecSession { stdin, stdout, stderr, terminal, ended } = session;
    let source = Source::Pipes { stdout: Some(stdout), stderr, out: BytesMut::new(), err: BytesMut::new() };
    let ended = Box::pin(async { ended.await.map(Some) });
    converse(io, Input { stdin, terminal }, source, ended).await;
}

/// Serves an attach until the container or the client ends. The client's end leaves the container alone.
pub(super) async fn serve_attach(
    io: impl AsyncRead + AsyncWrite + Send,
    session: AttachSession,
    exit: BoxFuture<'static, Option<i32>>,
) {
    let AttachSession { instance: run, stdin, terminal, output } = session;
    converse(io, Input { stdin, terminal }, Source::Shared { output, run }, Box::pin(async { Ok(exit.await) })).await;
}

async fn converse(
    io: impl AsyncRead + AsyncWrite + Send,
    input: Input,
    source: Source,
    ended: BoxFuture<'static, Result<Option<i32>, LaunchError>>,
) {
    let (read, write) = tokio::io::split(io);
    let (fault, faults) = oneshot::channel();
    tokio::select! {
        // An error here is a client that has gone: nobody is left to tell.
        _ = tell(write, source, ended, faults) => {}
        () = listen(read, input, fault) => {}
    }
}

/// Passes what the client sends on; ends when the client has gone. After a fault it waits for `tell` to tell it.
async fn listen(mut read: impl AsyncRead + Unpin, mut input: Input, fault: oneshot::Sender<String>) {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                if let Err(frame) = input.take(frame).await {
                    let _ = fault.send(format!("a client does not send {frame:?}"));
                    return std::future::pending().await;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                let _ = fault.send(format!("the client sent {error}"));
                return std::future::pending().await;
            }
        }
        buffer.clear();
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => decoder.feed(&buffer),
        }
    }
}

impl Input {
    /// Carries out one frame; gives it back where a client may not send it.
    async fn take(&mut self, frame: Frame) -> Result<(), Frame> {
        match frame {
            Frame::Stdin(bytes) => {
                if let Some(stdin) = &mut self.stdin
                    && (stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err())
                {
                    self.stdin = None; // The process has closed its stdin; what follows is dropped, as with a pipe.
                }
            }
            Frame::CloseStdin => {
                if let Some(mut stdin) = self.stdin.take() {
                    let _ = stdin.shutdown().await; // It may be closed already.
                }
            }
            Frame::Resize { columns, rows } => {
                if let Some(terminal) = &self.terminal {
                    terminal.resize(columns, rows);
                }
            }
            Frame::Alive => {}
            other => return Err(other),
        }
        Ok(())
    }
}

/// Writes output, then the exit code, or a fault.
async fn tell(
    mut write: impl AsyncWrite + Unpin,
    mut source: Source,
    mut ended: BoxFuture<'static, Result<Option<i32>, LaunchError>>,
    mut faults: oneshot::Receiver<String>,
) -> std::io::Result<()> {
    let mut exit = None;
    let mut more = true;
    while more || exit.is_none() {
        let quiet = if exit.is_some() { DRAIN } else { HEARTBEAT };
        tokio::select! {
            biased;
            Ok(fault) = &mut faults => return send(&mut write, &Frame::Error(fault)).await,
            output = source.next(), if more => match output {
                Some(frame) => send(&mut write, &frame).await?,
                None => more = false,
            },
            code = &mut ended, if exit.is_none() => exit = Some(code),
            () = sleep(quiet) => {
                if exit.is_some() {
                    break;
                }
                send(&mut write, &Frame::Alive).await?;
            }
        }
    }
    let last = match exit {
        Some(Ok(Some(code))) => Frame::Exit(code),
        Some(Ok(None)) => Frame::Error("the container has ended, and its exit code is not known".to_owned()),
        Some(Err(LaunchError::Gone(_))) => Frame::Exit(128 + libc::SIGKILL),
        Some(Err(LaunchError::NotExecuted { what, code })) => {
            send(&mut write, &Frame::Stderr(Bytes::from(format!("{what}\n")))).await?;
            Frame::Exit(code)
        }
        Some(Err(error)) => Frame::Error(format!("{:#}", anyhow::Error::new(error))),
        None => return Ok(()),
    };
    send(&mut write, &last).await?;
    write.shutdown().await
}

async fn send(write: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> std::io::Result<()> {
    let mut wire = BytesMut::new();
    frame.encode(&mut wire);
    write.write_all(&wire).await?;
    write.flush().await
}

impl Source {
    /// The next output; `None` when no more comes. Cancelling it loses nothing.
    async fn next(&mut self) -> Option<Frame> {
        match self {
            Self::Pipes { stdout, stderr, out, err } => loop {
                if stdout.is_none() && stderr.is_none() {
                    return None;
                }
                tokio::select! {
                    bytes = piece(stdout, out), if stdout.is_some() => {
                        if let Some(bytes) = bytes {
                            return Some(Frame::Stdout(bytes));
                        }
                    }
                    bytes = piece(stderr, err), if stderr.is_some() => {
                        if let Some(bytes) = bytes {
                            return Some(Frame::Stderr(bytes));
                        }
                    }
                }
            },
            Self::Shared { output, run } => loop {
                match output.recv().await {
                    Ok(piece) if piece.instance != *run => {}
                    Ok(OutputPiece { stream: LogStream::Stdout, bytes, .. }) => return Some(Frame::Stdout(bytes)),
                    Ok(OutputPiece { stream: LogStream::Stderr, bytes, .. }) => return Some(Frame::Stderr(bytes)),
                    Err(RecvError::Lagged(missed)) => {
                        let text = format!("{missed} pieces of output were dropped: this reader was too slow");
                        return Some(Frame::Notice(text));
                    }
                    Err(RecvError::Closed) => return None,
                }
            },
        }
    }
}

/// Reads a piece; at the end of the stream, or its failure, closes it and answers `None`.
async fn piece(from: &mut Option<Incoming>, buffer: &mut BytesMut) -> Option<Bytes> {
    let stream = from.as_mut()?;
    buffer.reserve(PIECE);
    match stream.read_buf(buffer).await {
        Ok(read) if read > 0 => Some(buffer.split().freeze()),
        // The main side of a terminal answers EIO when the other side is closed.
        Ok(_) | Err(_) => {
            *from = None;
            None
        }
    }
}
