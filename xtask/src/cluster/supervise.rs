//! The supervisor inside a cluster: starts the components in order, and tells which of them ended.
//!
//! ```text
//! first process (reaps) ── supervisor ─┬─ etcd, kube-apiserver, … : each a child, waited for by a thread
//!                                      └─ connections from the machine's loopback → the API server
//! ```
//!
//! A component that ends by itself is not started again: a test that meets one should fail with its log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::components::{self, Answer, Component, Step};
use super::place::{Place, Record, Started};
use super::{Options, control, network};

/// How often something that should answer is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a component may take to end by itself when it is to start again.
const GRACE: Duration = Duration::from_secs(30);

/// Starts everything and stays. The listener that the machine's clients reach is our standard input.
pub fn run(place: &Place, options: &Options) -> Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned().context("no listener was left to us")?);
    thread::spawn(move || forward(&listener));
    let steps = components::steps(place, options);
    let supervisor = Supervisor { place: place.clone(), steps: steps.clone().into(), state: Arc::default() };
    let asked = supervisor.clone();
    control::serve(move |component| asked.restart(component))?;
    for step in steps {
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
    steps: Arc<[Step]>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    record: Mutex<Record>,
    /// Processes that are to end: their end is no news.
    ending: Mutex<BTreeSet<u32>>,
    /// Told of every end of those.
    ended: Condvar,
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
        let since = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let started = Started { name: (*name).to_owned(), pid: child.id(), since, ended: None };
        self.tell(|record| match record.components.iter_mut().find(|before| before.name == started.name) {
            Some(before) => *before = started,
            None => record.components.push(started),
        })?;
        let this = self.clone();
        thread::spawn(move || this.follow(child));
        Ok(())
    }

    /// Waits for the end of a component, and tells it.
    fn follow(&self, mut child: Child) {
        let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        if lock(&self.state.ending).remove(&child.id()) {
            self.state.ended.notify_all();
            return;
        }
        let told = self.tell(|record| {
            if let Some(started) = record.components.iter_mut().find(|started| started.pid == child.id()) {
                started.ended = Some(how);
            }
        });
        if let Err(error) = told {
            eprintln!("the end of a component cannot be told: {error:#}");
        }
    }

    /// Ends a component as a machine's init does, and starts it again; one that has ended is only started.
    fn restart(&self, name: &str) -> Result<()> {
        let component = self.steps.iter().find_map(|step| match step {
            Step::Start(component) if component.name == name => Some(component),
            _ => None,
        });
        let component = component.with_context(|| format!("no component of this cluster is named {name}"))?;
        if !lock(&self.state.record).is_complete {
            bail!("the cluster is still starting");
        }
        let is_running = |started: &&Started| started.name == name && started.ended.is_none();
        let pid = lock(&self.state.record).components.iter().find(is_running).map(|started| started.pid);
        if let Some(pid) = pid {
            self.end(pid);
        }
        self.start(component)
    }

    fn end(&self, pid: u32) {
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let mut ending = lock(&self.state.ending);
        ending.insert(pid);
        for signal in [Signal::TERM, Signal::KILL] {
            let _ = kill_process(process, signal);
            let is_there = |ending: &mut BTreeSet<u32>| ending.contains(&pid);
            let waited = self.state.ended.wait_timeout_while(ending, GRACE, is_there);
            ending = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !ending.contains(&pid) {
                return;
            }
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
        let mut record = lock(&self.state.record);
        change(&mut record);
        self.place.write("record.json", &serde_json::to_string_pretty(&*record)?)
    }
}

/// What a thread that panicked left is whole: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
