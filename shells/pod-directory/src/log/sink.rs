//! One container's output: to live readers, and cut into records to its file.

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use outrigger_launcher::LogStream;
use outrigger_pod_core::life::Instance;
use tokio::sync::{broadcast, mpsc, watch};

use super::file::{LogFile, LogRules, Wrote};
use super::record::{Cutter, Stamp};

/// How many bytes of records are gathered before they are written.
const WRITE: usize = 64 * 1024;

/// A piece of what a container writes, as it was read: not cut at lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPiece {
    /// Which run of which container.
    pub instance: Instance,
    /// Which stream.
    pub stream: LogStream,
    /// The bytes.
    pub bytes: Bytes,
}

/// Where a container's output goes.
#[derive(Clone, Debug)]
pub struct LogSink {
    /// Which run of which container.
    pub instance: Instance,
    /// Where the log stands.
    pub path: PathBuf,
    /// How large it may get.
    pub rules: LogRules,
    /// Live readers.
    pub live: broadcast::Sender<OutputPiece>,
    /// Who follows the log.
    pub written: watch::Sender<()>,
    /// Where a refusing disk is told.
    pub trouble: mpsc::Sender<LogTrouble>,
}

/// What the disk does to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTrouble {
    /// Whose log.
    pub instance: Instance,
    /// What happened, for people.
    pub message: String,
    /// Whether it is over.
    pub over: bool,
}

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    instance: Instance,
    file: LogFile,
    live: broadcast::Sender<OutputPiece>,
    written: watch::Sender<()>,
    trouble: mpsc::Sender<LogTrouble>,
    records: Vec<u8>,
}

impl Log {
    pub fn open(sink: LogSink) -> Self {
        let LogSink { instance, path, rules, live, written, trouble } = sink;
        let (file, wrote) = LogFile::open(path, rules);
        let log = Self { instance, file, live, written, trouble, records: Vec::new() };
        log.tell(wrote);
        log
    }

    /// Passes bytes of one stream on to live readers and into the file.
    pub fn take(&mut self, cutter: &mut Cutter, bytes: &[u8], stamp: &Stamp) {
        if self.live.receiver_count() > 0 {
            let bytes = Bytes::copy_from_slice(bytes);
            let _ = self.live.send(OutputPiece { instance: self.instance.clone(), stream: cutter.stream(), bytes });
        }
        let Self { file, records, .. } = self;
        let mut wrote = Vec::new();
        cutter.cut(bytes, stamp, records, |records| {
            if records.len() >= WRITE {
                wrote.push(file.write(records));
                records.clear();
            }
        });
        for wrote in wrote {
            self.tell(wrote);
        }
        self.flush();
    }

    /// A stream has ended.
    pub fn end(&mut self, cutter: &mut Cutter, stamp: &Stamp) {
        cutter.end(stamp, &mut self.records);
        self.flush();
    }

    fn flush(&mut self) {
        let wrote = self.file.write(&self.records);
        self.records.clear();
        self.written.send_replace(());
        self.tell(wrote);
    }

    fn tell(&self, wrote: Wrote) {
        let (message, over) = match wrote {
            Wrote::Well => return,
            Wrote::Refused(error) => {
                let why = outrigger_config::plain(&error.to_string());
                (format!("the log cannot be written and stops here; the container goes on: {why}"), false)
            }
            Wrote::Again(dropped) => (format!("the log is written again; {dropped} bytes are missing in it"), true),
        };
        let _ = self.trouble.try_send(LogTrouble { instance: self.instance.clone(), message, over });
    }
}

/// Writes the log of a container whose output comes as messages, until there are no more.
///
/// It writes where it stands, not on the log thread: an engine that sends messages bounds them itself.
pub async fn write_messages(sink: LogSink, mut messages: mpsc::Receiver<(LogStream, Bytes)>) {
    let mut log = Log::open(sink);
    let mut stdout = Cutter::new(LogStream::Stdout);
    let mut stderr = Cutter::new(LogStream::Stderr);
    let mut stamp = Stamp::unset();
    while let Some((stream, bytes)) = messages.recv().await {
        stamp.set(Timestamp::now());
        match stream {
            LogStream::Stdout => log.take(&mut stdout, &bytes, &stamp),
            LogStream::Stderr => log.take(&mut stderr, &bytes, &stamp),
        }
    }
    log.end(&mut stdout, &stamp);
    log.end(&mut stderr, &stamp);
}
