//! The pipes and terminals between a container's processes and the runner.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outrigger_launcher::Terminal;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sys::watched;

/// What a container's stdout holds where the kernel allows it, so that a burst of output does not wait for the runner.
const PIPE_SIZE: usize = 1 << 20;

/// Both sides of a process' stdin, stdout and stderr.
#[derive(Debug)]
pub struct Stdio {
    /// The process' side: stdin, stdout, stderr.
    pub theirs: [OwnedFd; 3],
    /// Where its stdin is written, if it has one.
    pub stdin: Option<OwnedFd>,
    /// Where its stdout is read, or all of its terminal.
    pub stdout: OwnedFd,
    /// Where its stderr is read; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// The main side of its terminal.
    pub terminal: Option<Arc<OwnedFd>>,
}

impl Stdio {
    /// Lets a burst of output wait in the pipe of stdout. Not for hundreds of containers at once: once a user's pipes hold
    /// 64 MiB together (`fs.pipe-user-pages-soft`), the kernel makes new ones tiny.
    pub fn widen(&self) {
        // Where the kernel refuses, 64 KiB must do; a terminal has no such size.
        let _ = fcntl_setpipe_size(&self.stdout, PIPE_SIZE);
    }

    /// Pipes for stdout and stderr; stdin is a pipe or `/dev/null`.
    pub fn pipes(with_stdin: bool) -> io::Result<Self> {
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdin, their_stdin) = if with_stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(write), read)
        } else {
            (None, File::open("/dev/null")?.into())
        };
        let theirs = [their_stdin, their_stdout, their_stderr];
        Ok(Self { theirs, stdin, stdout, stderr: Some(stderr), terminal: None })
    }

    /// A terminal, of this size if it is known.
    pub fn terminal(with_stdin: bool, size: Option<(u16, u16)>) -> io::Result<Self> {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&main)?;
        unlockpt(&main)?;
        let side = ioctl_tiocgptpeer(&main, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        if let Some((columns, rows)) = size {
            resize(&main, columns, rows);
        }
        let theirs = [side.try_clone()?, side.try_clone()?, side];
        let stdin = if with_stdin { Some(main.try_clone()?) } else { None };
        let stdout = main.try_clone()?;
        Ok(Self { theirs, stdin, stdout, stderr: None, terminal: Some(Arc::new(main)) })
    }
}

fn resize(main: &OwnedFd, columns: u16, rows: u16) {
    // A terminal whose processes have ended has no size to set.
    let _ = tcsetwinsize(main, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
}

/// The main side of a terminal, for its size.
#[derive(Debug)]
pub struct Screen(pub Arc<OwnedFd>);

impl Terminal for Screen {
    fn resize(&self, columns: u16, rows: u16) {
        resize(&self.0, columns, rows);
    }
}

/// A pipe or terminal as an asynchronous stream. Reading a terminal whose other side is closed is its end, not an error.
#[derive(Debug)]
pub struct AsyncFile(AsyncFd<File>);

impl AsyncFile {
    /// Takes the descriptor over, which becomes non-blocking. Must be called within a runtime.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let flags = fcntl_getfl(descriptor.as_fd())?;
        fcntl_setfl(descriptor.as_fd(), flags | OFlags::NONBLOCK)?;
        Ok(Self(watched(File::from(descriptor))?))
    }
}

impl AsyncRead for AsyncFile {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match ready.try_io(|file| file.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for AsyncFile {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(outcome) = ready.try_io(|file| file.get_ref().write(bytes)) {
                return Poll::Ready(outcome);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
