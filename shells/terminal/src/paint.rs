//! Writing to the terminal, by a thread of its own: when the terminal is slow, only what is shown waits.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::out;

/// Texts that wait for a slow reader; then whoever has more waits.
const WAITING: usize = 2;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Painter {
    texts: mpsc::Sender<(Channel, Vec<u8>)>,
    thread: JoinHandle<()>,
}

impl Painter {
    /// Starts it.
    pub fn start() -> Self {
        let (texts, mut wanted) = mpsc::channel::<(Channel, Vec<u8>)>(WAITING);
        let thread = std::thread::spawn(move || {
            while let Some((channel, text)) = wanted.blocking_recv() {
                // Nobody is left to be told that nobody reads.
                let _ = match channel {
                    Channel::Out => out::whole(&mut io::stdout().lock(), &text),
                    Channel::Err => out::whole(&mut io::stderr().lock(), &text),
                };
            }
        });
        Self { texts, thread }
    }

    /// Waits until a text can be taken without being kept for long, and answers the place for it.
    pub async fn room(&self) -> Option<mpsc::Permit<'_, (Channel, Vec<u8>)>> {
        self.texts.reserve().await.ok()
    }

    /// Waits until everything is written.
    pub async fn finish(self) {
        drop(self.texts);
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}
