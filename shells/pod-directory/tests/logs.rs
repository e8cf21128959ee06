//! The log thread on real pipes: no byte lost, followers across rotation, slow readers, strays that keep a pipe open.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions only, not in their helpers.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use outrigger_pod_core::life::Instance;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::{LogRules, LogSink, LogThread, LogTrouble, OutputPiece, rotated};
use tokio::sync::{broadcast, mpsc, watch};

struct Bench {
    place: tempfile::TempDir,
    thread: LogThread,
    live: broadcast::Sender<OutputPiece>,
    trouble: mpsc::Receiver<LogTrouble>,
    tell: mpsc::Sender<LogTrouble>,
}

impl Bench {
    fn new() -> Self {
        let (tell, trouble) = mpsc::channel(8);
        let (live, _) = broadcast::channel(4);
        Self { place: tempfile::tempdir().unwrap(), thread: LogThread::start().unwrap(), live, trouble, tell }
    }

    fn sink(&self, path: &Path, rules: LogRules) -> LogSink {
        let instance = Instance { container: ContainerName("main".into()), attempt: 0 };
        LogSink {
            instance,
            path: path.to_owned(),
            rules,
            live: self.live.clone(),
            written: watch::channel(()).0,
            trouble: self.tell.clone(),
        }
    }
}

/// The contents of all files of a log, oldest first, without the records' heads.
fn contents(path: &Path) -> Vec<u8> {
    let mut files: Vec<_> = rotated(path).unwrap().into_iter().map(|(_, path)| path).collect();
    files.push(path.to_owned());
    let mut contents = Vec::new();
    for file in files {
        for record in fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n') {
            let (head, content) = record.split_at("2016-10-06T00:17:09.669794202Z stdout F ".len());
            let partial = head.ends_with(b" P ");
            contents.extend_from_slice(&content[..content.len() - usize::from(partial)]);
        }
    }
    contents
}

fn pipe() -> (OwnedFd, fs::File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (read, fs::File::from(write))
}

const LARGE: LogRules = LogRules { size: 1 << 40, files: 2 };

#[tokio::test]
async fn no_byte_is_lost_across_rotation_and_however_large_the_lines_are() {
    let bench = Bench::new();
    let path = bench.place.path().join("0.log");
    let (read, mut write) = pipe();
    let rules = LogRules { size: 100_000, files: 1000 };
    let mut drained = bench.thread.drain(bench.sink(&path, rules), read, None).await;
    let writer = thread::spawn(move || {
        let mut written = Vec::new();
        for number in 0..20_000usize {
            let line = format!("{number} {}\n", "x".repeat(number * 7919 % 300));
            write.write_all(line.as_bytes()).unwrap();
            written.extend(line.into_bytes());
        }
        let long = vec![b'y'; 100_000];
        write.write_all(&long).unwrap();
        written.extend(long);
        written
    });
    drained.done().await;
    let written = writer.join().unwrap();
    assert!(rotated(&path).unwrap().len() > 10);
    assert!(contents(&path) == written, "the log differs from what was written");
}

#[tokio::test]
async fn stdout_and_stderr_of_many_containers_are_kept_apart() {
    let bench = Bench::new();
    let mut all = Vec::new();
    for number in 0..50 {
        let path = bench.place.path().join(format!("{number}.log"));
        let ((stdout, mut out), (stderr, mut err)) = (pipe(), pipe());
        let drained = bench.thread.drain(bench.sink(&path, LARGE), stdout, Some(stderr)).await;
        writeln!(out, "out {number}").unwrap();
        writeln!(err, "err {number}").unwrap();
        all.push((number, path, drained));
    }
    for (number, path, mut drained) in all {
        drained.done().await;
        let log = fs::read_to_string(path).unwrap();
        let mut lines: Vec<&str> = log.lines().map(|line| &line[31..]).collect();
        lines.sort_unstable();
        assert_eq!(lines, [format!("stderr F err {number}"), format!("stdout F out {number}")]);
    }
}

#[tokio::test]
async fn a_slow_reader_slows_nothing_and_is_told_what_it_missed() {
    let bench = Bench::new();
    let path = bench.place.path().join("0.log");
    let mut slow = bench.live.subscribe();
    let (read, mut write) = pipe();
    let mut drained = bench.thread.drain(bench.sink(&path, LARGE), read, None).await;
    let writer = thread::spawn(move || (0..64).for_each(|_| write.write_all(&vec![b'z'; 64 * 1024]).unwrap()));
    drained.done().await;
    writer.join().unwrap();
    assert!(matches!(slow.recv().await, Err(broadcast::error::RecvError::Lagged(missed)) if missed > 10));
    assert_eq!(contents(&path).len(), 64 * 64 * 1024);
}

#[tokio::test]
async fn a_pipe_that_a_stranger_holds_open_is_cut_with_everything_that_was_in_it() {
    let bench = Bench::new();
    let path = bench.place.path().join("0.log");
    let (read, mut write) = pipe();
    let mut drained = bench.thread.drain(bench.sink(&path, LARGE), read, None).await;
    write.write_all(b"last words\nand mo").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), drained.done()).await.is_err(), "the pipe is still open");
    drained.cut().await;
    assert_eq!(contents(&path), b"last words\nand mo");
    assert!(write.write_all(b"nobody reads").is_err());
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_not_the_container_and_is_told_once() {
    let mut bench = Bench::new();
    let (read, mut write) = pipe();
    let mut drained = bench.thread.drain(bench.sink(Path::new("/dev/full"), LARGE), read, None).await;
    let writer = thread::spawn(move || (0..100).for_each(|_| write.write_all(&vec![b'\n'; 64 * 1024]).unwrap()));
    drained.done().await;
    writer.join().unwrap();
    let told = bench.trouble.recv().await.unwrap();
    assert!(told.message.contains("No space left on device") && !told.over, "{told:?}");
    assert!(bench.trouble.try_recv().is_err(), "it was told twice");
}

#[tokio::test]
async fn the_end_of_the_thread_leaves_nothing_undrained() {
    let bench = Bench::new();
    let path = bench.place.path().join("0.log");
    let (read, mut write) = pipe();
    let _drained = bench.thread.drain(bench.sink(&path, LARGE), read, None).await;
    write.write_all(b"before the end\n").unwrap();
    let place = bench.place;
    drop(bench.thread);
    assert!(fs::read_to_string(path).unwrap().ends_with("stdout F before the end\n"));
    drop(place);
}
