//! The example process, over the wire: start, ready, metrics, log level, first and second signal.
//!
//! The example prints its address in its first log line, as JSON since its stderr is a pipe.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, also in its helpers")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

/// No step takes this long; a test that hangs should say where.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running example, killed when the test ends.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Process {
    /// Starts it with the signals as a terminal's shell leaves them: a background shell has its programs ignore SIGINT.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,HUP").arg(example()).args(arguments);
        Self::start_command(command)
    }

    fn start_command(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.split("\"address\":\"http://").nth(1).unwrap_or_else(|| panic!("no address in {line}"));
        let address = address.split('"').next().unwrap().to_owned();
        Self { child, log, address }
    }

    /// Sends one request and returns the whole response.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn become_ready(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        while !self.ask("GET", "/readyz", "").starts_with("HTTP/1.1 200 ") {
            std::thread::yield_now();
        }
    }

    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// The next log line that holds the text.
    fn log_line_with(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log ended before a line with \"{text}\"");
        }
        line
    }

    fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo builds examples beside the directory of the test executable.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/idle");
    assert!(example.exists(), "no {}: `cargo build -p outrigger-runtime --examples` makes it", example.display());
    example
}

#[test]
fn it_becomes_ready_and_counts() {
    let mut process = Process::start(&["127.0.0.1:0"]);
    let response = process.ask("GET", "/readyz", "");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.ends_with("\r\n\r\nnot ready: waiting for first-line\n"), "{response}");
    assert!(process.ask("GET", "/healthz", "").starts_with("HTTP/1.1 200 "));

    process.become_ready();
    let response = process.ask("GET", "/metrics", "");
    assert!(
        response.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{response}"
    );
    assert!(response.contains("\noutrigger_idle_lines_total 1\n") && response.ends_with("# EOF\n"), "{response}");
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let mut process = Process::start(&["127.0.0.1:0"]);
    assert!(process.ask("GET", "/loglevel", "").ends_with("\r\n\r\ninfo\n"));
    let response = process.ask("PUT", "/loglevel", "debug,hyper=off");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(process.ask("GET", "/loglevel", "").ends_with("\r\n\r\ndebug,hyper=off\n"));
    process.log_line_with("Logging debug,hyper=off from now on, asked for by 127.0.0.1:");
    process.signal("TERM");
    process.log_line_with("Task \\\"admin\\\" has ended");
}

#[test]
fn the_first_signal_stops_in_order() {
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut process = Process::start(&["127.0.0.1:0"]);
        process.signal(name);
        process.log_line_with(&format!("Stopping in order after SIG{name}"));
        assert_eq!(process.ended().code(), Some(code), "SIG{name}");
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let mut process = Process::start(&["127.0.0.1:0", "--deaf"]);
    process.signal("INT");
    process.log_line_with("Stopping in order after SIGINT");
    process.signal("HUP");
    process.signal("TERM");
    process.log_line_with("Second signal (SIGTERM): ending at once");
    assert_eq!(process.ended().code(), Some(143));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$0\" 127.0.0.1:0"]).arg(example());
    let mut process = Process::start_command(command);
    process.signal("HUP");
    process.signal("INT");
    process.become_ready();
    process.signal("TERM");
    process.log_line_with("Stopping in order after SIGTERM");
    let status = process.ended();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
}
