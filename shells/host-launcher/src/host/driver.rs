//! The one thread that starts agents and hears them.
//!
//! It lives as long as the process, because the parent-death signal of an agent fires when the *thread* that forked it
//! ends. It owns every channel; requests come in by a queue, ends go out by `watch`.
//!
//! ```text
//!  connection:  task sent ── Forked ──▶ init known ── Started ──▶ answered ── init's pidfd ready ──▶ collected, gone
//!                    └───────── channel closed, nothing forked ──▶ answered, gone
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use outrigger_host::{Cgroup, Doors};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::{oneshot, watch};

use super::connection::Connection;
use crate::agent;
use crate::agent::wire::{Channel, Ended, Failure, Group, InsideTask, ProcessTask, Report, Request, Task};

/// How long an agent may take to read a request. Its loop never blocks, so only a stopped one takes longer.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Who waits for the first word of an agent.
pub type Answer = Box<dyn FnOnce(Result<Launched, Failure>) + Send>;
/// Who waits for the start of a command, and then for its end.
pub type CommandAnswer = oneshot::Sender<Result<oneshot::Receiver<Ended>, Failure>>;

/// Starts agents and speaks to them. Cheap to clone; the thread is one for all.
#[derive(Clone, Debug)]
pub struct Driver {
    orders: mpsc::Sender<Order>,
    bell: Arc<OwnedFd>,
    numbers: Arc<AtomicU64>,
}

/// An agent to start.
#[derive(Debug)]
pub struct Launch {
    /// What it is to be.
    pub task: Task,
    /// The descriptors that go with the task.
    pub descriptors: Vec<Arc<OwnedFd>>,
    /// The cgroup that it enters ([`Launch::within`]).
    pub group: Option<Cgroup>,
    /// A second agent, inside the container that the first one's process makes: it is the one that is spoken to.
    pub inside: Option<Inside>,
}

/// The agent inside a container.
#[derive(Debug)]
pub struct Inside {
    /// Our end of its channel; the other end is among the descriptors of the first agent.
    pub channel: Channel,
    /// What it does.
    pub task: InsideTask,
    /// The descriptors that go with the task.
    pub descriptors: Vec<Arc<OwnedFd>>,
}

impl Launch {
    /// Of an agent without a cgroup and without a second one.
    pub fn new(task: Task, descriptors: Vec<Arc<OwnedFd>>) -> Self {
        Self { task, descriptors, group: None, inside: None }
    }

    /// In this cgroup, which is removed when the agent has ended, and now where there is no way into it.
    pub fn within(mut self, group: Cgroup) -> io::Result<Self> {
        let doors = group.doors().inspect_err(|_| group.remove())?;
        let mut slot = |door| {
            self.descriptors.push(Arc::new(door));
            self.descriptors.len() - 1
        };
        let entrance = match doors {
            Doors::Unified(directory) => Group { born_in: Some(slot(directory)), enters: Vec::new() },
            Doors::Split(files) => Group { born_in: None, enters: files.into_iter().map(slot).collect() },
        };
        if let Task::Container(task) = &mut self.task {
            task.group = entrance;
        }
        self.group = Some(group);
        Ok(self)
    }
}

/// A fresh agent, after its first answer.
#[derive(Debug)]
pub struct Launched {
    /// What it answered; never [`Report::Failed`].
    pub report: Report,
    /// The descriptors that came with the answer.
    pub descriptors: Vec<OwnedFd>,
    /// The agent, where one stays.
    pub link: Option<Link>,
}

/// A running agent. It ends when this is dropped (with all its clones).
#[derive(Clone, Debug)]
pub struct Link {
    /// Its process id.
    pub pid: i32,
    /// How its main process ended, once it and everything below it is gone.
    pub ended: watch::Receiver<Option<End>>,
    number: u64,
    driver: Driver,
    _close: Arc<Close>,
}

/// The end of a container.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// How its main process ended.
    pub how: Ended,
    /// The kernel has killed a process of it for want of memory.
    pub out_of_memory: bool,
    /// When the last of it was gone.
    pub at: Timestamp,
}

impl End {
    /// By this signal, now.
    pub fn killed(signal: i32) -> Self {
        let how = Ended { code: 128 + signal, signal: Some(signal) };
        Self { how, out_of_memory: false, at: Timestamp::now() }
    }
}

/// Closes the channel when the last [`Link`] is dropped.
#[derive(Debug)]
struct Close {
    number: u64,
    driver: Driver,
}

impl Drop for Close {
    fn drop(&mut self) {
        self.driver.order(Order::Close { number: self.number });
    }
}

/// What the thread is asked to do.
enum Order {
    Launch { launch: Box<Launch>, answer: Answer },
    Ask { number: u64, request: Request },
    Exec { number: u64, process: Box<ProcessTask>, descriptors: Vec<OwnedFd>, id: u64, answer: CommandAnswer },
    Close { number: u64 },
}

impl Driver {
    /// Starts the thread. `agent` is the executable that becomes an agent.
    pub fn start(agent: PathBuf) -> io::Result<Self> {
        let (orders, queue) = mpsc::channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let driver = Self { orders, bell: Arc::clone(&bell), numbers: Arc::default() };
        let thread = Thread { agent, queue, bell, connections: HashMap::new(), handle: driver.clone() };
        // It is never joined: it must not end before the process does.
        std::thread::Builder::new().name("host-agents".to_owned()).stack_size(256 << 10).spawn(move || thread.run())?;
        Ok(driver)
    }

    /// Starts an agent; `answer` gets what it says first.
    pub fn launch_with(&self, launch: Launch, answer: impl FnOnce(Result<Launched, Failure>) + Send + 'static) {
        self.order(Order::Launch { launch: Box::new(launch), answer: Box::new(answer) });
    }

    /// Starts an agent and waits for what it says first.
    pub async fn launch(&self, launch: Launch) -> Result<Launched, Failure> {
        let (answer, heard) = oneshot::channel();
        // A caller that went away drops the link, which ends the agent.
        self.launch_with(launch, move |outcome| drop(answer.send(outcome)));
        heard.await.unwrap_or_else(|_| Err(lost("the launcher's thread has ended")))
    }

    fn order(&self, order: Order) {
        // The thread lives as long as the process; should it have failed, waiting callers see their answer dropped.
        if self.orders.send(order).is_ok() {
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }
}

impl Link {
    /// Asks something that has no answer.
    pub fn ask(&self, request: Request) {
        self.driver.order(Order::Ask { number: self.number, request });
    }

    /// Starts a command beside the main process. Answers its number and its future end.
    pub async fn exec(
        &self,
        process: ProcessTask,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(u64, oneshot::Receiver<Ended>), Failure> {
        let id = self.driver.numbers.fetch_add(1, Ordering::Relaxed);
        let (answer, heard) = oneshot::channel();
        let process = Box::new(process);
        self.driver.order(Order::Exec { number: self.number, process, descriptors, id, answer });
        let ended = heard.await.unwrap_or_else(|_| Err(lost("the container has ended")))?;
        Ok((id, ended))
    }
}

/// A failure without a cause of the kernel.
pub fn lost(what: &str) -> Failure {
    Failure::prepare(what, io::Error::from_raw_os_error(0))
}

/// The thread's own state.
struct Thread {
    agent: PathBuf,
    queue: mpsc::Receiver<Order>,
    bell: Arc<OwnedFd>,
    connections: HashMap<u64, Connection>,
    handle: Driver,
}

impl Thread {
    fn run(mut self) {
        loop {
            let ready = self.wait();
            let mut count = [0_u8; 8];
            // Read before the queue is: an order that comes in between rings again.
            let _ = rustix::io::read(&self.bell, &mut count);
            for number in ready {
                self.hear(number);
            }
            while let Ok(order) = self.queue.try_recv() {
                self.obey(order);
            }
        }
    }

    /// Waits until something is to be done; answers the connections that have something to say.
    fn wait(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut watched = vec![PollFd::new(&self.bell, PollFlags::IN)];
        for (number, connection) in &self.connections {
            for channel in connection.channel.iter().chain(&connection.keeper) {
                watched.push(PollFd::new(channel, PollFlags::IN));
                numbers.push(*number);
            }
            if let Some((_, pidfd)) = &connection.init {
                watched.push(PollFd::new(pidfd, PollFlags::IN));
                numbers.push(*number);
            }
        }
        // An interrupted wait is an empty one.
        let _ = poll(&mut watched, None);
        let ready = watched[1..].iter().zip(numbers).filter(|(fd, _)| !fd.revents().is_empty());
        let mut ready: Vec<u64> = ready.map(|(_, number)| number).collect();
        ready.dedup();
        ready
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Launch { launch, answer } => match spawn(&self.agent, &launch) {
                Ok((child, channel)) => {
                    let number = self.handle.numbers.fetch_add(1, Ordering::Relaxed);
                    self.connections.insert(number, Connection::new(child, channel, *launch, answer));
                }
                Err(failure) => {
                    if let Some(group) = launch.group {
                        group.remove();
                    }
                    answer(Err(failure));
                }
            },
            Order::Ask { number, request } => self.send(number, &request, &[]),
            Order::Exec { number, process, descriptors, id, answer } => {
                if let Some(connection) = self.connections.get_mut(&number) {
                    connection.starting.insert(id, answer);
                    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                    self.send(number, &Request::Exec { id, process }, &borrowed);
                }
            }
            Order::Close { number } => {
                if let Some(connection) = self.connections.get_mut(&number) {
                    connection.close();
                }
                self.hear(number);
            }
        }
    }

    /// Sends a request; an agent that does not read is ended, which ends its container. One that has just ended has said how.
    fn send(&mut self, number: u64, request: &Request, descriptors: &[BorrowedFd<'_>]) {
        if let Some(connection) = self.connections.get_mut(&number)
            && let Some(channel) = &connection.channel
            && channel.send(request, descriptors).is_err()
        {
            connection.read();
            connection.close();
        }
    }

    fn hear(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.read();
        if let Some(answer) = connection.take_answer() {
            let (outcome, ended) = answer;
            let link = connection.init.as_ref().map(|(pid, _)| {
                let close = Arc::new(Close { number, driver: self.handle.clone() });
                let pid = pid.as_raw_nonzero().get();
                Link { pid, ended: connection.ended.subscribe(), number, driver: self.handle.clone(), _close: close }
            });
            ended(Ok(Launched { report: outcome.0, descriptors: outcome.1, link }));
        }
        if connection.is_over()
            && let Some(connection) = self.connections.remove(&number)
        {
            connection.finish();
        }
    }
}

/// Starts the agent's executable and gives it its task.
fn spawn(agent: &PathBuf, launch: &Launch) -> Result<(Child, Channel), Failure> {
    let Launch { task, descriptors, .. } = launch;
    let failed = |error: io::Error| Failure::prepare("cannot start the container's init", error);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    set_socket_timeout(&ours, Timeout::Send, Some(REQUEST_LIMIT)).map_err(|error| failed(error.into()))?;
    let mut child = Command::new(agent)
        .arg0(agent::NAME)
        .env_clear()
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let channel = Channel::new(ours);
    let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    if let Err(error) = channel.send(task, &borrowed) {
        // It has no task yet, so nothing is lost.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(error));
    }
    Ok((child, channel))
}
