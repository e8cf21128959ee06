//! The real executable as a plugin of a kubelet, under any of its names, with places for what it needs.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use outrigger_stub_kubelet::{Options, StubKubelet};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::site::LIMIT;

/// The executable under another name, with places for what it needs.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("kubelet/device-plugins")).unwrap();
        Self { directory }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A command by this name, which finds nothing that belongs to the machine.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let link = self.path(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_outrigger"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.args(args).env_clear().env("HOME", self.directory.path()).current_dir(self.directory.path());
        command.env("OUTRIGGER_DEVICES_LOCK_DIRECTORY", self.path("lock"));
        command.env("OUTRIGGER_DEVICES_PLUGIN_DIRECTORY", self.path("kubelet/device-plugins"));
        command.env("OUTRIGGER_DEVICES_KUBELET_DIRECTORY", self.path("kubelet"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn said(&self, name: &str, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(name, args).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub async fn kubelet(&self) -> StubKubelet {
        self.kubelet_with(|_| ()).await
    }

    /// A kubelet that runs and is so.
    pub async fn kubelet_with(&self, set: impl FnOnce(&mut Options)) -> StubKubelet {
        let mut options = Options::new(self.path("kubelet/device-plugins"));
        set(&mut options);
        StubKubelet::started(options).await.unwrap()
    }

    /// Writes `devices.yaml` with these resources, and the admin endpoint at `admin.sock`. No audit comes to the rescue.
    pub fn configure(&self, devices: &str) {
        let admin = self.path("admin.sock");
        let text = format!("ids: short\naudit: 1h\nadmin: unix://{}\ndevices:\n{devices}", admin.display());
        fs::write(self.path("devices.yaml"), text).unwrap();
    }

    /// Starts the node agent with that file; what it says is in the file of this name.
    pub fn agent(&self, log: &str) -> Agent {
        let command = self.command("outrigger", &["devices", "agent", "--config", "devices.yaml"]);
        Agent::start(command, self.path(log))
    }

    /// What the admin endpoint answers.
    pub async fn admin(&self, path: &str) -> String {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(self.path("admin.sock")).await {
                // It is there a moment before it is listened at.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && begun.elapsed() < LIMIT => {
                    sleep(Duration::from_millis(1)).await;
                }
                stream => return ask(stream.unwrap(), path).await,
            }
        }
    }

    /// The sockets of plugins in the kubelet's directory.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("kubelet/device-plugins")).unwrap().map(|entry| entry.unwrap().path());
        let is_plugin = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("or-");
        entries.filter(is_plugin).collect()
    }
}

/// A process that serves the kubelet. Dropping it is a kill -9.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts it. A file takes what it says, so that it never waits for a reader.
    pub fn start(mut command: Command, log: PathBuf) -> Self {
        let child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it has said until now.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Sends a signal that ends it, and waits for its end; its exit code.
    pub async fn ended_by(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.child.wait().await.unwrap().code()
    }

    /// How many descriptors and threads it has.
    pub fn holds(&self) -> (usize, usize) {
        let count = |of: &str| fs::read_dir(format!("/proc/{}/{of}", self.pid())).unwrap().count();
        (count("fd"), count("task"))
    }

    /// The most memory that it had, in KiB.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Stops a process in order; its exit code.
pub async fn stopped(mut child: Child) -> i32 {
    let begun = Instant::now();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
    println!("stopped after {:?}; it has 2 s", begun.elapsed());
    status.code().unwrap()
}

pub async fn get(address: &str, path: &str) -> String {
    ask(TcpStream::connect(address).await.unwrap(), path).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An admin endpoint that nobody asks anything.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// An address that was free a moment ago, and that nobody takes meanwhile: it is a loopback address of this process alone.
pub fn address() -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, 97, high, low), 0)).unwrap().local_addr().unwrap().to_string()
}
