//! The first signal stops the process in order, the second ends it at once.
//!
//! ```text
//! running ──SIGINT, SIGTERM or SIGHUP──► stopping ──SIGINT or SIGTERM──► gone, exit code 128 + signal
//! ```
//!
//! The second signal is acted on in the signal handler itself, so it works also where the runtime no longer does. SIGHUP
//! (the terminal is gone) begins a stop but never cuts one short: shells send it after a Ctrl-C. A signal that was
//! ignored when the process started stays ignored (`nohup`, a background job of a script), except SIGTERM.
//!
//! SIGPIPE needs nothing: Rust ignores it before `main`, so a closed pipe is an error of the write. Whoever starts a
//! program without `std::process` must set it back to its default.
//!
//! What it does not do: it ends no task. Tasks watch [`Stop::token`], and [`Tasks`](crate::Tasks) waits for them.
#![allow(unsafe_code)]

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::signal::unix::{Signal as Deliveries, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The number of the first signal, written by the handler; 0 before it.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// A signal that stops a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: `kill`, systemd, Kubernetes.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

/// What the first signal does: the token to watch, and which signal it was.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    _listener: Arc<JoinSet<()>>,
}

impl StopSignal {
    const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    /// The kernel's number.
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
        }
    }

    /// The exit code by which a shell tells this end: 128 + number (130 after Ctrl-C).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::HangUp => 129,
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.number() == number)
    }

    /// What the second signal says before the process is gone; empty where the signal does not end it.
    fn last_words(self) -> &'static [u8] {
        match self {
            Self::Interrupt => b"Second signal (SIGINT): ending at once\n",
            Self::Terminate => b"Second signal (SIGTERM): ending at once\n",
            Self::HangUp => b"",
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

impl Stop {
    /// Cancelled by the first signal. Cancelling it stops the process in the same order without a signal.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The first stop signal of this process; none where it was stopped otherwise, or not yet.
    pub fn signal(&self) -> Option<StopSignal> {
        StopSignal::from_number(FIRST.load(Ordering::Relaxed))
    }
}

/// Makes the first SIGINT, SIGTERM or SIGHUP cancel the token of the returned [`Stop`], and a second end the process.
///
/// To be called early, within a tokio runtime, and kept as long as the process runs: without the value the first signal
/// does nothing. Fails only where the kernel refuses a signal handler.
pub fn stop_on_signals() -> io::Result<Stop> {
    stop_on(&StopSignal::ALL)
}

/// As [`stop_on_signals`], for a server that reads its configuration again at SIGHUP and so leaves that to its caller.
pub fn stop_on_signals_but_hangup() -> io::Result<Stop> {
    stop_on(&[StopSignal::Interrupt, StopSignal::Terminate])
}

fn stop_on(signals: &[StopSignal]) -> io::Result<Stop> {
    let mut deliveries = Vec::new();
    for watched in install_handlers(signals)? {
        deliveries.push(signal(SignalKind::from_raw(watched.number()))?);
    }
    let token = CancellationToken::new();
    let mut listener = JoinSet::new();
    listener.spawn(listen(token.clone(), deliveries));
    Ok(Stop { token, _listener: Arc::new(listener) })
}

/// Cancels the token when the first signal is delivered.
async fn listen(token: CancellationToken, mut deliveries: Vec<Deliveries>) {
    poll_fn(|context| {
        let delivered = deliveries.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if delivered { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if let Some(signal) = StopSignal::from_number(FIRST.load(Ordering::Relaxed)) {
        info!(%signal, "Stopping in order after {signal}; a second SIGINT or SIGTERM ends at once");
    }
    token.cancel();
}

/// Installs our handlers once for the process, and returns the signals that are watched: all that were not ignored.
fn install_handlers(signals: &[StopSignal]) -> io::Result<Vec<StopSignal>> {
    static WATCHED: Mutex<Option<Vec<StopSignal>>> = Mutex::new(None);
    let mut installed = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watched) = installed.as_ref() {
        return Ok(watched.clone());
    }
    let mut watched = Vec::new();
    for &signal in signals {
        if signal == StopSignal::Terminate || !is_ignored(signal)? {
            // SAFETY: `on_signal` is async-signal-safe: it touches an atomic, and calls write(2) and _exit(2).
            unsafe { signal_hook_registry::register(signal.number(), move || on_signal(signal))? };
            watched.push(signal);
        }
    }
    *installed = Some(watched.clone());
    Ok(watched)
}

/// Whether the process was started with the signal ignored.
fn is_ignored(signal: StopSignal) -> io::Result<bool> {
    // SAFETY: all zeros is a valid sigaction, and a null new action makes the call only read the old one.
    let (outcome, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal.number(), std::ptr::null(), &raw mut action), action)
    };
    if outcome == 0 { Ok(action.sa_sigaction == libc::SIG_IGN) } else { Err(io::Error::last_os_error()) }
}

/// Runs in the signal handler: remembers the first signal, and ends the process at the second.
fn on_signal(signal: StopSignal) {
    let is_first = FIRST.compare_exchange(0, signal.number(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if is_first || signal == StopSignal::HangUp {
        return;
    }
    let words = signal.last_words();
    // SAFETY: both calls are async-signal-safe, and the buffer outlives the write. That the write may fail is all right.
    unsafe {
        libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len());
        libc::_exit(signal.exit_code().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for signal in StopSignal::ALL {
            assert_eq!(i32::from(signal.exit_code()), 128 + signal.number(), "{signal}");
            assert_eq!(StopSignal::from_number(signal.number()), Some(signal));
        }
        assert_eq!(StopSignal::from_number(0), None);
    }
}
