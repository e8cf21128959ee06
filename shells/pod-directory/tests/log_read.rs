//! Reading logs against a model: random records, cuts and rotations, read whole, from the end, by time, and followed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its tests do")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use outrigger_launcher::LogStream;
use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::changes::Changes;
use outrigger_pod_directory::log::read::{Line, LogReader, LogText, ReadOptions, latest_attempt};
use outrigger_pod_directory::log::{LogRules, LogSink, LogThread, WrittenLogs, rotated};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::{broadcast, mpsc, oneshot};

/// What happens to a log.
#[derive(Clone, Debug)]
enum Act {
    /// A record is written, its bytes cut in two at this place.
    Write { stream: LogStream, partial: bool, text: String, cut: usize },
    /// The file is put aside.
    Rotate,
    /// Readers get a turn.
    Turn,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let stream = || prop::sample::select(vec![LogStream::Stdout, LogStream::Stderr]);
    let write = (stream(), prop::bool::weighted(0.3), "[a-z ]{0,12}", 0..60usize);
    let act = prop_oneof![
        6 => write.prop_map(|(stream, partial, text, cut)| Act::Write { stream, partial, text, cut }),
        1 => Just(Act::Rotate),
        2 => Just(Act::Turn),
    ];
    vec(act, 0..80)
}

/// A line as the model knows it: second of its begin, stream, text, whether it ends.
type Known = (u32, LogStream, String, bool);

/// The log on disk, and beside it what a reader should see.
struct Log {
    _place: tempfile::TempDir,
    path: PathBuf,
    records: u32,
    rotated: u32,
    lines: Vec<Known>,
    begun: [Option<(u32, String)>; 2],
}

fn time(second: u32) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(second))
}

fn name(stream: LogStream) -> (&'static str, usize) {
    match stream {
        LogStream::Stdout => ("stdout", 0),
        LogStream::Stderr => ("stderr", 1),
    }
}

impl Log {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        Self { _place: place, path, records: 0, rotated: 0, lines: Vec::new(), begun: [None, None] }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Write { stream, partial, text, cut } => {
                let record = self.record(*stream, *partial, text);
                let (first, second) = record.split_at((*cut).min(record.len()));
                self.append(first);
                tokio::task::yield_now().await;
                self.append(second);
            }
            Act::Rotate => self.rotate(),
            Act::Turn => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// The text of a record, noted in the model.
    fn record(&mut self, stream: LogStream, partial: bool, text: &str) -> Vec<u8> {
        let (label, place) = name(stream);
        let (begin, before) = self.begun[place].take().unwrap_or((self.records, String::new()));
        let line = before + text;
        if partial {
            self.begun[place] = Some((begin, line));
        } else {
            self.lines.push((begin, stream, line, true));
        }
        let tag = if partial { "P" } else { "F" };
        let record = format!("{} {label} {tag} {text}\n", time(self.records));
        self.records += 1;
        record.into_bytes()
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().create(true).append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }

    fn rotate(&mut self) {
        if self.path.exists() {
            self.rotated += 1;
            fs::rename(&self.path, aside(&self.path, self.rotated)).unwrap();
            self.append(b"");
        }
    }

    /// What a reader of all of it should see.
    fn known(&self) -> Vec<Known> {
        let mut lines = self.lines.clone();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let begun = self.begun[name(stream).1].clone();
            lines.extend(begun.map(|(begin, text)| (begin, stream, text, false)));
        }
        lines
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    path.with_file_name(format!("0.log.{number}"))
}

fn known(lines: &[Line]) -> Vec<Known> {
    let of = |line: &Line| {
        let begin: Timestamp = std::str::from_utf8(&line.time).unwrap().parse().unwrap();
        let second = u32::try_from(begin.as_second()).unwrap();
        (second, line.stream, String::from_utf8(line.text.to_vec()).unwrap(), line.ends)
    };
    lines.iter().map(of).collect()
}

async fn read(mut reader: LogReader) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(more) = reader.next().await.unwrap() {
        assert!(!more.is_empty());
        lines.extend(more);
    }
    lines
}

async fn whole(path: &Path, options: ReadOptions) -> Vec<Known> {
    known(&read(LogReader::new(path, options)).await)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn last<T>(mut lines: Vec<T>, count: usize) -> Vec<T> {
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_finished_log_is_read_as_it_was_written(
        acts in acts(), tail in 0..12usize, since in 0..40u32, only in prop::option::of(any::<bool>()),
    ) {
        runtime().block_on(async {
            let mut log = Log::new();
            for act in &acts {
                log.act(act).await;
            }
            let stream = only.map(|stdout| if stdout { LogStream::Stdout } else { LogStream::Stderr });
            let wanted = |known: &Known| stream.is_none_or(|stream| stream == known.1);
            let all: Vec<Known> = log.known().into_iter().filter(wanted).collect();
            let options = ReadOptions { stream, ..ReadOptions::default() };
            prop_assert_eq!(&whole(&log.path, options).await, &all);
            let count = Some(u64::try_from(tail).unwrap());
            let tailed = whole(&log.path, ReadOptions { tail: count, ..options }).await;
            prop_assert_eq!(tailed, last(all.clone(), tail));
            let later: Vec<Known> = all.into_iter().filter(|known| known.0 >= since).collect();
            let options = ReadOptions { since: Some(time(since)), ..options };
            prop_assert_eq!(&whole(&log.path, options).await, &later);
            let tailed = whole(&log.path, ReadOptions { tail: count, ..options }).await;
            prop_assert_eq!(tailed, last(later, tail));
            Ok(())
        })?;
    }

    #[test]
    fn followers_neither_lose_nor_repeat_a_line(before in acts(), after in acts(), tail in 0..12usize) {
        runtime().block_on(async {
            let mut log = Log::new();
            for act in &before {
                log.act(act).await;
            }
            // Where the first turn of a follower comes decides where its tail begins; so each has one before more is written.
            let expected_before = last(log.known(), tail);
            let (stop, stopped) = oneshot::channel::<()>();
            let (stop_tail, stopped_tail) = oneshot::channel::<()>();
            let over = |stopped: oneshot::Receiver<()>| Box::pin(async move { let _ = stopped.await; });
            let all = LogReader::following(&log.path, ReadOptions::default(), Changes::beside(&log.path), over(stopped));
            let options = ReadOptions { tail: Some(u64::try_from(tail).unwrap()), ..ReadOptions::default() };
            let mut ends = LogReader::following(&log.path, options, Changes::beside(&log.path), over(stopped_tail));
            let mut tailed = Vec::new();
            let whole_before = expected_before.iter().filter(|known| known.3).count();
            while tailed.len() < whole_before {
                tailed.extend(ends.next().await.unwrap().unwrap());
            }
            let writer = async {
                for act in &after {
                    log.act(act).await;
                }
                drop((stop, stop_tail));
            };
            let (all, rest, ()) = tokio::join!(read(all), read(ends), writer);
            tailed.extend(rest);
            prop_assert_eq!(known(&all), log.known());
            if whole_before > 0 {
                let (all, tailed) = (log.known(), known(&tailed));
                prop_assert!(all.ends_with(&tailed), "{:?} is no end of {:?}", tailed, all);
                prop_assert!(tailed.len() >= expected_before.len());
            }
            Ok(())
        })?;
    }
}

fn record(text: &str) -> String {
    format!("1970-01-01T00:00:01Z stdout F {text}\n")
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| std::str::from_utf8(&line.text).unwrap()).collect()
}

fn never_over() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(std::future::pending())
}

#[tokio::test]
async fn a_record_that_a_crash_cut_off_is_shown_without_a_line_end() {
    let log = Log::new();
    log.append((record("whole") + "1970-01-01T00:00:02Z stdout F cut o").as_bytes());
    let lines = read(LogReader::new(&log.path, ReadOptions::default())).await;
    assert_eq!(LogText::new(false).of(&lines), "whole\ncut o");
    let last = read(LogReader::new(&log.path, ReadOptions { tail: Some(1), ..ReadOptions::default() })).await;
    assert_eq!(LogText::new(true).of(&last), "1970-01-01T00:00:02Z cut o");
    log.append(b"\n1970-01-01T00:0");
    let lines = read(LogReader::new(&log.path, ReadOptions::default())).await;
    assert_eq!(texts(&lines), ["whole", "cut o"], "half a time stamp is nothing to show");
}

#[tokio::test]
async fn a_log_that_is_not_there_is_empty_and_may_come_later() {
    let log = Log::new();
    assert_eq!(read(LogReader::new(&log.path, ReadOptions::default())).await, []);
    let mut follower =
        LogReader::following(&log.path, ReadOptions::default(), Changes::beside(&log.path), never_over());
    let (lines, ()) = tokio::join!(follower.next(), async { log.append(record("first").as_bytes()) });
    assert_eq!(texts(&lines.unwrap().unwrap()), ["first"]);
}

#[tokio::test]
async fn a_follower_finishes_a_file_that_was_removed_and_goes_on_with_the_oldest_that_is_left() {
    let mut log = Log::new();
    log.append(record("one").as_bytes());
    let mut follower =
        LogReader::following(&log.path, ReadOptions::default(), Changes::beside(&log.path), never_over());
    assert_eq!(texts(&follower.next().await.unwrap().unwrap()), ["one"]);
    log.append(record("two").as_bytes());
    log.rotate();
    fs::remove_file(aside(&log.path, 1)).unwrap();
    log.append(record("gone").as_bytes());
    log.rotate();
    fs::remove_file(aside(&log.path, 2)).unwrap();
    log.append(record("three").as_bytes());
    log.rotate();
    log.append(record("four").as_bytes());
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(follower.next().await.unwrap().unwrap());
    }
    assert_eq!(texts(&seen), ["two", "three", "four"]);
}

#[tokio::test]
async fn a_log_of_a_single_file_that_begins_anew_is_followed() {
    let log = Log::new();
    let mut follower =
        LogReader::following(&log.path, ReadOptions::default(), Changes::beside(&log.path), never_over());
    for text in ["one", "two", "three"] {
        log.append(record(text).as_bytes());
        assert_eq!(texts(&follower.next().await.unwrap().unwrap()), [text]);
        fs::remove_file(&log.path).unwrap();
    }
}

#[tokio::test]
async fn a_very_long_line_comes_in_parts_and_what_is_no_record_as_it_stands() {
    let log = Log::new();
    let piece = "x".repeat(16 * 1024);
    for number in 0..40 {
        log.append(format!("1970-01-01T00:00:01Z stdout P {piece}\n").as_bytes());
        if number == 20 {
            log.append(b"1970-01-01T00:00:01Z stderr F between\n");
        }
    }
    log.append(b"1970-01-01T00:00:01Z stdout F end\nnot a record\n");
    let lines = read(LogReader::new(&log.path, ReadOptions::default())).await;
    let text = LogText::new(false).of(&lines);
    let text = std::str::from_utf8(&text).unwrap();
    let (first, second) = text.split_once("\nbetween\n").unwrap();
    assert_eq!(first.len() + second.len(), 40 * piece.len() + "end\nnot a record\n".len());
    assert!(second.ends_with("xend\nnot a record\n"));
    let last = read(LogReader::new(&log.path, ReadOptions { tail: Some(2), ..ReadOptions::default() })).await;
    assert!(last.iter().all(|line| line.text.len() < 300 * 1024), "a part is bounded");
}

/// What the pod runner itself writes, through a pipe and over many rotations, reaches a follower byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_of_the_real_writer_gets_every_byte() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("0.log");
    let (pipe, written) = std::io::pipe().unwrap();
    let instance = Instance { container: ContainerName("main".into()), attempt: 0 };
    let logs = WrittenLogs::default();
    let sink = LogSink {
        instance: instance.clone(),
        path: path.clone(),
        rules: LogRules { size: 64 * 1024, files: 1000 },
        live: broadcast::channel(1).0,
        written: logs.begin(&instance),
        trouble: mpsc::channel(1).0,
    };
    let thread = LogThread::start().unwrap();
    let mut drained = thread.drain(sink, pipe.into(), None).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let over = Box::pin(async move {
        let _ = stopped.await;
    });
    let follower = LogReader::following(&path, ReadOptions::default(), logs.changes(&instance, &path), over);
    let writing = std::thread::spawn(move || {
        let (mut written, mut sent) = (written, Vec::new());
        for number in 0..3000usize {
            let length = if number % 100 == 0 { 40_000 } else { number % 700 };
            let line = format!("{number} {}\n", "x".repeat(length));
            written.write_all(line.as_bytes()).unwrap();
            sent.extend_from_slice(line.as_bytes());
        }
        written.write_all(b"no end").unwrap();
        sent.extend_from_slice(b"no end");
        sent
    });
    let ended = async {
        drained.done().await;
        drop(stop);
    };
    let (lines, ()) = tokio::join!(read(follower), ended);
    let sent = writing.join().unwrap();
    assert!(LogText::new(false).of(&lines) == sent, "what was followed is not what was written");
    assert!(rotated(&path).unwrap().len() > 10);
}

#[test]
fn the_newest_run_is_found_by_its_log() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(latest_attempt(&place.path().join("none")).unwrap(), None);
    for name in ["0.log", "9.log", "10.log", "11.log.1", "x.log"] {
        fs::write(place.path().join(name), "").unwrap();
    }
    assert_eq!(latest_attempt(place.path()).unwrap(), Some(10));
}
