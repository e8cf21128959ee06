//! The supervisor inside a cluster: starts the components in order, and tells which of them ended.
//!
//! ```text
//! first process (reaps) ── supervisor ─┬─ etcd, kube-apiserver, … : each a child, waited for by a thread
//!                                      └─ connections from the machine's loopback → the API server
//! ```
//!
//! A component that ends is not started again: a test that meets one should fail with its log.

use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::components::{self, Answer, Component, Step};
use super::place::{Place, Record, Started};
use super::{Options, network};

/// How often something that should answer is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts everything and stays. The listener that the machine's clients reach is our standard input.
pub fn run(place: &Place, options: &Options) -> Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned().context("no listener was left to us")?);
    thread::spawn(move || forward(&listener));
    let supervisor = Supervisor { place: place.clone(), record: Arc::default() };
    for step in components::steps(place, options) {
        match step {
            Step::Start(component) => supervisor.start(&component)?,
            Step::Wait(what, answer) => supervisor.wait(what, &answer)?,
        }
    }
    supervisor.tell(|record| record.is_complete = true)?;
    loop {
        thread::park();
    }
}

#[derive(Clone)]
struct Supervisor {
    place: Place,
    record: Arc<Mutex<Record>>,
}

impl Supervisor {
    fn start(&self, component: &Component) -> Result<()> {
        let Component { name, program, args } = component;
        let log = self.place.log(name);
        let log = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(args).envs(components::environment(&self.place)).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let since = crate::step::output(Command::new("date").args(["--utc", "+%FT%TZ"]))?.trim().to_owned();
        let started = Started { name: (*name).to_owned(), pid: child.id(), since, ended: None };
        self.tell(|record| record.components.push(started))?;
        let (this, name) = (self.clone(), (*name).to_owned());
        thread::spawn(move || this.follow(&name, child));
        Ok(())
    }

    /// Waits for the end of a component, and tells it.
    fn follow(&self, name: &str, mut child: Child) {
        let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let told = self.tell(|record| {
            if let Some(started) = record.components.iter_mut().find(|started| started.name == name) {
                started.ended = Some(how);
            }
        });
        if let Err(error) = told {
            eprintln!("the end of {name} cannot be told: {error:#}");
        }
    }

    /// Waits as long as it takes: whoever started the cluster has a limit. Where a component ended, nothing more will answer.
    fn wait(&self, what: &str, answer: &Answer) -> Result<()> {
        self.tell(|record| what.clone_into(&mut record.waits_for))?;
        while !answer.is_there() {
            thread::sleep(PAUSE);
        }
        self.tell(|record| record.waits_for.clear())
    }

    fn tell(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        self.place.write("record.json", &serde_json::to_string_pretty(&*record)?)
    }
}

/// Passes on what comes in. The listener was made in the machine's network, and what we connect to is in the cluster's.
fn forward(listener: &TcpListener) {
    for outer in listener.incoming().filter_map(Result::ok) {
        let Ok(inner) = TcpStream::connect(("127.0.0.1", network::API_PORT)) else { continue };
        let (Ok(outer_back), Ok(inner_back)) = (outer.try_clone(), inner.try_clone()) else { continue };
        thread::spawn(move || copy(outer, inner));
        thread::spawn(move || copy(inner_back, outer_back));
    }
}

/// Copies until one side ends, and tells the other.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
