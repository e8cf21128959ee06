//! The thread that drains the pipes of all containers of the process.
//!
//! It waits for all pipes at once and reads each as it has something, 64 KiB at a time, so that one loud container
//! cannot starve another. Descriptors are never made non-blocking, since a terminal's is shared with whoever writes to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc as channel;
use std::thread::{Builder, JoinHandle};

use jiff::Timestamp;
use outrigger_launcher::LogStream;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::record::{Cutter, Stamp};
use super::sink::{Log, LogSink};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// The key of the descriptor that wakes the thread; containers have the others.
const WAKE: u64 = 0;

/// The thread that writes the logs of all containers of this process. Dropping it drains what is there and ends it.
#[derive(Debug)]
pub struct LogThread {
    orders: channel::Sender<Order>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
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
    Drain(Box<Draining>, oneshot::Sender<u64>),
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

    /// Begins to drain a container: `stdout` is a pipe's read end or a terminal's main side.
    pub async fn drain(&self, sink: LogSink, stdout: OwnedFd, stderr: Option<OwnedFd>) -> Drained {
        let (tell_key, key) = oneshot::channel();
        let (tell, done) = oneshot::channel();
        let streams = [Some((stdout, LogStream::Stdout)), stderr.map(|stderr| (stderr, LogStream::Stderr))];
        let streams = streams.into_iter().map(|stream| stream.map(|(pipe, kind)| (pipe, Cutter::new(kind))));
        let draining = Draining { log: Log::open(sink), streams: streams.collect(), done: Some(tell) };
        order(&self.orders, &self.wake, Order::Drain(Box::new(draining), tell_key));
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
#[derive(Debug)]
struct Draining {
    log: Log,
    /// stdout and stderr, while they are open.
    streams: Vec<Option<(OwnedFd, Cutter)>>,
    done: Option<oneshot::Sender<()>>,
}

impl Draining {
    /// The open stream of this key: stdout has an even one.
    fn stream(&mut self, key: u64) -> Option<&mut Option<(OwnedFd, Cutter)>> {
        self.streams.get_mut(usize::from(key & 1 == 1))
    }
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
}

impl Worker {
    fn new(inbox: channel::Receiver<Order>, wake: Arc<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let (containers, read) = (BTreeMap::new(), Vec::with_capacity(READ));
        Ok(Self { inbox, wake, epoll, containers, next: 2, stamp: Stamp::unset(), read })
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
                Order::Drain(draining, key) => self.begin(*draining, key),
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

    fn begin(&mut self, draining: Draining, tell_key: oneshot::Sender<u64>) {
        let key = self.next;
        self.next += 2;
        for (stream, open) in (key..).zip(&draining.streams) {
            if let Some((pipe, _)) = open
                && let Err(errno) = epoll::add(&self.epoll, pipe, EventData::new_u64(stream), EventFlags::IN)
            {
                tracing::error!("Cannot wait for the output of a container: {errno}; its log ends here");
            }
        }
        self.containers.insert(key, draining);
        let _ = tell_key.send(key);
    }

    /// Reads once what a stream has.
    fn read(&mut self, stream: u64) {
        let Some(container) = self.containers.get_mut(&(stream & !1)) else { return };
        let Some(Some((pipe, _))) = container.stream(stream) else { return };
        self.read.clear();
        match rustix::io::read(pipe, spare_capacity(&mut self.read)) {
            Err(Errno::INTR | Errno::AGAIN) => (),
            // A terminal whose last process has gone answers with EIO.
            Ok(0) | Err(_) => self.close(stream),
            Ok(_) => {
                self.stamp.set(Timestamp::now());
                let Draining { log, streams, .. } = container;
                if let Some(Some((_, cutter))) = streams.get_mut(usize::from(stream & 1 == 1)) {
                    log.take(cutter, &self.read, &self.stamp);
                }
            }
        }
    }

    /// The stream has ended: its last record is written.
    fn close(&mut self, stream: u64) {
        let key = stream & !1;
        let Some(container) = self.containers.get_mut(&key) else { return };
        if let Some((pipe, mut cutter)) = container.stream(stream).and_then(Option::take) {
            let _ = epoll::delete(&self.epoll, pipe);
            self.stamp.set(Timestamp::now());
            container.log.end(&mut cutter, &self.stamp);
        }
        if container.streams.iter().all(Option::is_none)
            && let Some(done) = self.containers.remove(&key).and_then(|container| container.done)
        {
            let _ = done.send(());
        }
    }

    /// Reads what is in the pipes of a container and lets them go.
    fn cut(&mut self, key: u64) {
        for stream in [key, key + 1] {
            while self.has(stream) {
                self.read(stream);
            }
            self.close(stream);
        }
    }

    /// Whether the stream is open and has something to read now.
    fn has(&mut self, stream: u64) -> bool {
        let open = self.containers.get_mut(&(stream & !1)).and_then(|container| container.stream(stream)?.as_ref());
        open.is_some_and(|(pipe, _)| readable(pipe.as_fd()))
    }
}

fn readable(pipe: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::IN)
}
