//! The thread that drains the pipes of all containers of the process.
//!
//! It waits for all pipes at once and reads each as it has something, 64 KiB at a time, so that one loud container
//! cannot starve another. Descriptors are never made non-blocking, since a terminal's is shared with whoever writes to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as channel;
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use jiff::Timestamp;
use outrigger_pod_core::life::Instance;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::file::{LogFile, LogRules, Wrote};
use super::record::{Cutter, Stamp};
use crate::handle::OutputPiece;
use crate::launcher::LogStream;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// How many bytes of records are gathered before they are written.
const WRITE: usize = 64 * 1024;

/// The key of the descriptor that wakes the thread; containers have the others.
const WAKE: u64 = 0;

/// The thread that writes the logs of all containers of this process. Dropping it drains what is there and ends it.
#[derive(Debug)]
pub struct LogThread {
    orders: channel::Sender<Order>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be drained.
#[derive(Debug)]
pub struct Drain {
    /// Which run of which container.
    pub instance: Instance,
    /// Where the log stands.
    pub path: PathBuf,
    /// How large it may get.
    pub rules: LogRules,
    /// Read end of stdout or a terminal's main side.
    pub stdout: OwnedFd,
    /// Read end of stderr.
    pub stderr: Option<OwnedFd>,
    /// Live readers.
    pub live: broadcast::Sender<OutputPiece>,
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

/// Resolves when every stream of a container has ended and everything is in its log.
#[derive(Debug)]
pub struct Drained {
    key: u64,
    done: oneshot::Receiver<()>,
    orders: channel::Sender<Order>,
    wake: Arc<OwnedFd>,
}

#[derive(Debug)]
enum Order {
    Drain(Box<Drain>, oneshot::Sender<u64>, oneshot::Sender<()>),
    Cut(u64),
    End,
}

impl LogThread {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = channel::channel();
        let mut worker = Worker::new(inbox, Arc::clone(&wake))?;
        let thread = Builder::new().name("logs".into()).stack_size(128 * 1024).spawn(move || worker.run())?;
        Ok(Self { orders, wake, thread: Some(thread) })
    }

    /// Begins to drain a container.
    pub async fn drain(&self, drain: Drain) -> Drained {
        let (tell_key, key) = oneshot::channel();
        let (tell, done) = oneshot::channel();
        order(&self.orders, &self.wake, Order::Drain(Box::new(drain), tell_key, tell));
        let key = key.await.unwrap_or_default();
        Drained { key, done, orders: self.orders.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        order(&self.orders, &self.wake, Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drained {
    /// Waits until all is in the log.
    pub async fn done(&mut self) {
        let _ = (&mut self.done).await;
    }

    /// Gives up what has not come: somebody who is no process of the container holds the other end of its pipe. What is
    /// in the pipe already is still written.
    pub async fn cut(mut self) {
        order(&self.orders, &self.wake, Order::Cut(self.key));
        self.done().await;
    }
}

fn order(orders: &channel::Sender<Order>, wake: &OwnedFd, order: Order) {
    // The thread lives as long as its owner; a refused wake means that it has been woken often enough.
    let _ = orders.send(order);
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// A container that is being drained.
struct Draining {
    instance: Instance,
    file: LogFile,
    live: broadcast::Sender<OutputPiece>,
    trouble: mpsc::Sender<LogTrouble>,
    /// The streams that are open, by key.
    open: BTreeMap<u64, (OwnedFd, LogStream, Cutter)>,
    done: Option<oneshot::Sender<()>>,
}

struct Worker {
    inbox: channel::Receiver<Order>,
    wake: Arc<OwnedFd>,
    epoll: OwnedFd,
    /// By the key of stdout; the key of stderr is one more.
    containers: BTreeMap<u64, Draining>,
    next: u64,
    stamp: Stamp,
    read: Vec<u8>,
    out: Vec<u8>,
}

impl Worker {
    fn new(inbox: channel::Receiver<Order>, wake: Arc<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self {
            inbox,
            wake,
            epoll,
            containers: BTreeMap::new(),
            next: 2,
            stamp: Stamp::unset(),
            read: Vec::with_capacity(READ),
            out: Vec::with_capacity(WRITE),
        })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => (),
                Err(errno) => {
                    tracing::error!("Cannot wait for the output of containers: {errno}; logs end here");
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        if self.take_orders() {
                            return;
                        }
                    }
                    key => self.read(key),
                }
            }
        }
    }

    /// Does what was ordered; answers whether the end was.
    fn take_orders(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(order) = self.inbox.try_recv() {
            match order {
                Order::Drain(drain, key, done) => {
                    let _ = key.send(self.next);
                    self.begin(*drain, done);
                }
                Order::Cut(key) => self.cut(key),
                Order::End => {
                    let open: Vec<u64> = self.containers.keys().copied().collect();
                    for key in open {
                        self.cut(key);
                    }
                    return true;
                }
            }
        }
        false
    }

    fn begin(&mut self, drain: Drain, done: oneshot::Sender<()>) {
        let Drain { instance, path, rules, stdout, stderr, live, trouble } = drain;
        let key = self.next;
        self.next += 2;
        let (file, wrote) = LogFile::open(path, rules);
        let mut open = BTreeMap::new();
        let streams = [(0, LogStream::Stdout, Some(stdout)), (1, LogStream::Stderr, stderr)];
        for (offset, stream, descriptor) in streams {
            let Some(descriptor) = descriptor else { continue };
            if epoll::add(&self.epoll, &descriptor, EventData::new_u64(key + offset), EventFlags::IN).is_ok() {
                open.insert(key + offset, (descriptor, stream, Cutter::new(stream)));
            }
        }
        let container = Draining { instance, file, live, trouble, open, done: Some(done) };
        container.tell(wrote);
        self.containers.insert(key, container);
        self.finish_if_closed(key);
    }

    /// Reads once what a stream has.
    fn read(&mut self, stream: u64) {
        let key = stream & !1;
        let Some(container) = self.containers.get_mut(&key) else { return };
        let Some((descriptor, _, _)) = container.open.get(&stream) else { return };
        self.read.clear();
        match rustix::io::read(descriptor, spare_capacity(&mut self.read)) {
            Err(Errno::INTR | Errno::AGAIN) => return,
            // A terminal whose last process has gone answers with EIO.
            Ok(0) | Err(_) => self.close(stream),
            Ok(_) => {
                self.stamp.set(Timestamp::now());
                container.take(stream, &self.read, &self.stamp, &mut self.out);
            }
        }
        self.finish_if_closed(key);
    }

    /// The stream has ended: its last record is written.
    fn close(&mut self, stream: u64) {
        let Some(container) = self.containers.get_mut(&(stream & !1)) else { return };
        if let Some((descriptor, _, mut cutter)) = container.open.remove(&stream) {
            let _ = epoll::delete(&self.epoll, descriptor);
            self.stamp.set(Timestamp::now());
            cutter.end(&self.stamp, &mut self.out);
            container.flush(&mut self.out);
        }
    }

    /// Reads what is in the pipes of a container and lets them go.
    fn cut(&mut self, key: u64) {
        for stream in [key, key + 1] {
            while self.containers.get(&key).is_some_and(|container| container.has(stream)) {
                self.read(stream);
            }
            self.close(stream);
        }
        self.finish_if_closed(key);
    }

    fn finish_if_closed(&mut self, key: u64) {
        if self.containers.get(&key).is_some_and(|container| container.open.is_empty())
            && let Some(done) = self.containers.remove(&key).and_then(|mut container| container.done.take())
        {
            let _ = done.send(());
        }
    }
}

impl Draining {
    /// Passes bytes on to live readers and into the log.
    fn take(&mut self, stream: u64, bytes: &[u8], stamp: &Stamp, out: &mut Vec<u8>) {
        let Some((_, kind, cutter)) = self.open.get_mut(&stream) else { return };
        if self.live.receiver_count() > 0 {
            let bytes = Bytes::copy_from_slice(bytes);
            let _ = self.live.send(OutputPiece { instance: self.instance.clone(), stream: *kind, bytes });
        }
        let mut troubles = Vec::new();
        let file = &mut self.file;
        cutter.cut(bytes, stamp, out, |out| {
            if out.len() >= WRITE {
                troubles.push(file.write(out));
                out.clear();
            }
        });
        for trouble in troubles {
            self.tell(trouble);
        }
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let wrote = self.file.write(out);
        out.clear();
        self.tell(wrote);
    }

    fn tell(&self, wrote: Wrote) {
        let (message, over) = match wrote {
            Wrote::Well => return,
            Wrote::Refused(error) => {
                (format!("the log cannot be written and stops here; the container goes on: {error}"), false)
            }
            Wrote::Again(dropped) => (format!("the log is written again; {dropped} bytes are missing in it"), true),
        };
        let _ = self.trouble.try_send(LogTrouble { instance: self.instance.clone(), message, over });
    }

    /// Whether the stream is open and has something to read now.
    fn has(&self, stream: u64) -> bool {
        self.open.get(&stream).is_some_and(|(descriptor, _, _)| readable(descriptor.as_fd()))
    }
}

fn readable(descriptor: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::IN)
}
