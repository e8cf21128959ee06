//! The cluster's API as JSON, without starting a program for each question.
//!
//! ```text
//! test ──plain HTTP/1.0──► unix socket ──► kubectl proxy inside ──TLS──► API server
//! ```
//!
//! With HTTP/1.0 an answer ends with its connection: what a watch tells comes line by line, as it happens. The proxy is one of
//! the cluster's processes and ends with them. What it does not do: it retries nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How often a watch that tells nothing is left for a look at the cluster itself.
const GLANCE: Duration = Duration::from_secs(1);

/// Objects by their names.
pub type Objects = BTreeMap<String, Value>;

/// The way to the API.
#[derive(Debug)]
pub struct Api {
    socket: PathBuf,
    proxy: Child,
}

impl Api {
    /// Starts the proxy with `shell`, which runs commands inside; `root` is the cluster's `/`, seen from here.
    pub fn start(mut shell: Command, root: &Path) -> Result<Self> {
        let socket = Path::new("run/outrigger-test-api.sock");
        let inside = Path::new("/").join(socket);
        shell.args(["--", "kubectl", "proxy", "--unix-socket"]).arg(inside).stdout(std::process::Stdio::null());
        let mut api = Self { socket: root.join(socket), proxy: shell.spawn().context("cannot start kubectl proxy")? };
        let begin = Instant::now();
        while UnixStream::connect(&api.socket).is_err() {
            if let Some(status) = api.proxy.try_wait()? {
                bail!("kubectl proxy ended: {status}");
            }
            if LIMIT < begin.elapsed() {
                bail!("kubectl proxy does not listen");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(api)
    }

    /// Reads an object or a list.
    pub fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call("GET", path, None)?)?)
    }

    /// Reads what is no JSON: logs, metrics.
    pub fn text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.call("GET", path, None)?).into_owned())
    }

    /// Makes an object.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call("POST", path, Some(("application/json", object)))?)?)
    }

    /// Changes an object (a merge patch).
    pub fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call("PATCH", path, Some(("application/merge-patch+json", change)))?)?)
    }

    /// Deletes an object, or all of a list.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.call("DELETE", path, None).map(drop)
    }

    /// Follows a list until the objects are such, and answers what `found` makes of them. In between, where nothing is told,
    /// `glance` is asked whether waiting has become vain.
    pub fn follow<T>(
        &self,
        path: &str,
        limit: Duration,
        glance: impl Fn() -> Result<()>,
        mut found: impl FnMut(&Objects) -> Result<Option<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            // Anew after each end of the watch, which a server may bring at any time.
            let mut objects = Objects::new();
            let list = self.get(path)?;
            let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
            objects.extend(list["items"].as_array().into_iter().flatten().map(|item| (name(item), item.clone())));
            if let Some(found) = found(&objects)? {
                return Ok(found);
            }
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut events = self.open("GET", &format!("{path}{separator}watch=1&resourceVersion={version}"), None)?;
            events.get_ref().set_read_timeout(Some(GLANCE))?;
            let mut line = Vec::new();
            loop {
                match events.read_until(b'\n', &mut line) {
                    Ok(0) => break,
                    Ok(_) => {
                        let event: Value = serde_json::from_slice(&line)?;
                        line.clear();
                        match event["type"].as_str() {
                            Some("ERROR") => break,
                            Some("DELETED") => drop(objects.remove(&name(&event["object"]))),
                            _ => drop(objects.insert(name(&event["object"]), event["object"].clone())),
                        }
                        if let Some(found) = found(&objects)? {
                            return Ok(found);
                        }
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error).context("the watch broke"),
                }
                glance()?;
                if limit < begin.elapsed() {
                    bail!("it was not so within {} s", limit.as_secs());
                }
            }
        }
    }

    fn call(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.open(method, path, body)?.read_to_end(&mut answer).with_context(|| format!("{method} {path}"))?;
        Ok(answer)
    }

    /// Sends a request and reads the head of its answer.
    fn open(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<BufReader<UnixStream>> {
        let shown = || format!("{method} {path}");
        let mut stream = UnixStream::connect(&self.socket).context("kubectl proxy does not listen any more")?;
        stream.set_read_timeout(Some(LIMIT))?;
        let (kind, body) = body.map_or(("text/plain", String::new()), |(kind, body)| (kind, body.to_string()));
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .with_context(shown)?;
        let mut answer = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if answer.read_line(&mut head).with_context(shown)? == 0 {
                bail!("{}: the answer has no head", shown());
            }
        }
        if head.split(' ').nth(1).is_none_or(|code| !code.starts_with('2')) {
            let mut why = String::new();
            answer.read_to_string(&mut why).with_context(shown)?;
            let told: Value = serde_json::from_str(&why).unwrap_or_default();
            bail!("{}: {}", shown(), told["message"].as_str().unwrap_or(&why));
        }
        Ok(answer)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// An object's name.
fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}
