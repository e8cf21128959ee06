//! A command or a container at the user's own terminal: what `exec` and `attach` share.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use outrigger_pod_runner::control::{Session, SessionEvent, SessionInput, SessionOutput, Size};
use outrigger_terminal::device::{self, Raw};
use outrigger_terminal::out;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How the user's terminal takes part.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Standard input is passed on.
    pub stdin: bool,
    /// The terminal is the process's own.
    pub terminal: bool,
    /// Ctrl-P Ctrl-Q leaves.
    pub leaves: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process ended with this code.
    Process(i32),
    /// The user left it.
    Left,
}

/// What `-t` comes to here: without a terminal at standard input it is told and left out, as kubectl does.
pub fn terminal_size(wanted: bool, stdin: bool) -> Option<Size> {
    if !wanted {
        return None;
    }
    if stdin && !io::stdin().is_terminal() {
        out::note("outrigger: there is no terminal at standard input, so the command gets none (-t is left out)");
        return None;
    }
    let size = device::size(io::stdout().as_fd()).or_else(|| device::size(io::stdin().as_fd()));
    let size = size.unwrap_or_default();
    Some(wire_size(size))
}

fn wire_size(size: device::Size) -> Size {
    let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    Size { columns: short(size.columns), rows: short(size.rows) }
}

/// Passes everything on until the process ends, the user leaves it, or `stop` is cancelled.
pub async fn pass_on(session: Session, wishes: Wishes, stop: &CancellationToken) -> anyhow::Result<Ended> {
    let Session { input, mut output } = session;
    let raw = (wishes.terminal && wishes.stdin && io::stdin().is_terminal()).then(Raw::begin).transpose()?;
    let ended = tokio::select! {
        ended = show(&mut output) => ended,
        left = feed(input, wishes) => left,
        () = stop.cancelled() => Ok(Ended::Left),
    };
    drop(raw);
    ended
}

async fn show(output: &mut SessionOutput) -> anyhow::Result<Ended> {
    while let Some(event) = output.next().await? {
        match event {
            SessionEvent::Stdout(bytes) => out::whole(&mut io::stdout().lock(), &bytes)?,
            SessionEvent::Stderr(bytes) => out::whole(&mut io::stderr().lock(), &bytes)?,
            SessionEvent::Notice(text) => out::note(&format!("outrigger: {text}")),
            SessionEvent::Exit(code) => return Ok(Ended::Process(code)),
        }
    }
    Ok(Ended::Process(0))
}

/// Passes keys and sizes on; ends only when the user leaves.
async fn feed(mut input: SessionInput, wishes: Wishes) -> anyhow::Result<Ended> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut keys = if wishes.stdin { read_stdin() } else { mpsc::channel(1).1 };
    let mut open = wishes.stdin;
    let mut leaving = Leaving::default();
    loop {
        tokio::select! {
            bytes = keys.recv(), if open => match bytes {
                Some(bytes) if wishes.leaves && leaving.sees(&bytes) => return Ok(Ended::Left),
                Some(bytes) => input.stdin(&bytes).await?,
                None => {
                    open = false;
                    input.close_stdin().await?;
                }
            },
            _ = resized.recv() => if let Some(size) = device::size(io::stdout().as_fd()).filter(|_| wishes.terminal) {
                input.resize(wire_size(size)).await?;
            },
        }
    }
}

/// Standard input, read by a thread of its own: a blocked read must not hold up the end.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        let mut stdin = io::stdin().lock();
        while let Ok(count) = stdin.read(&mut buffer) {
            if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Sees Ctrl-P Ctrl-Q in what is typed, also over two pieces. Until it is whole the keys go on as they are.
#[derive(Debug, Default)]
struct Leaving {
    began: bool,
}

impl Leaving {
    fn sees(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.began && byte == 0x11 {
                return true;
            }
            self.began = byte == 0x10;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_is_seen_over_two_pieces_and_only_whole() {
        let mut leaving = Leaving::default();
        assert!(!leaving.sees(b"a\x10"));
        assert!(leaving.sees(b"\x11"));
        let mut leaving = Leaving::default();
        assert!(!leaving.sees(b"\x10x\x11"));
    }
}
