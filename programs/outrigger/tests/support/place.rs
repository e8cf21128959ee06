//! The real executable as a plugin of a kubelet, under any of its names, with places for what it needs.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use outrigger_stub_kubelet::{Options, StubKubelet};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

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
        StubKubelet::started(Options::new(self.path("kubelet/device-plugins"))).await.unwrap()
    }
}

/// Stops a process in order, within the two seconds that it has; its exit code.
pub async fn stopped(mut child: Child) -> i32 {
    let begun = Instant::now();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = child.wait().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    status.code().unwrap()
}

pub async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An address that was free a moment ago.
pub fn address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
