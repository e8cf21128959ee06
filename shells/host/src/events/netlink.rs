//! The kernel's uevents (`lib/kobject_uevent.c`): `ACTION@DEVPATH` NUL `KEY=value` NUL ….

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// The group to which the kernel itself sends. Group 2 is udevd's.
const KERNEL: u32 = 1;

/// A message has at most 2 KiB of variables (`UEVENT_BUFFER_SIZE`) and a path.
const MESSAGE: usize = 8192;

/// Room for a storm, in bytes; the kernel gives what it allows.
const QUEUE: usize = 2 * 1024 * 1024;

/// Messages that are taken at once, so that others have their turn.
const AT_ONCE: usize = 1024;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It came.
    Add,
    /// It went.
    Remove,
    /// It is another way.
    Change,
    /// Something else: moved, online, offline, bound, unbound.
    Other,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// The device's path below `/sys`.
    pub path: String,
    /// Its subsystem; empty where it has none.
    pub subsystem: String,
    /// The name of its node below `/dev`.
    pub node: Option<String>,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: AsyncFd<OwnedFd>,
}

/// What was received at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) uevents: Vec<Uevent>,
    pub(super) forged: u64,
    pub(super) malformed: u64,
    /// Messages were lost.
    pub(super) overrun: bool,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        // Both may be refused: then the queue is as the system has it, and an overrun is told.
        if sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, QUEUE);
        }
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self { socket: sys::watched(socket, Interest::READABLE)? })
    }

    /// Waits for messages, and takes those that are there.
    pub(super) async fn receive(&self) -> Received {
        // The runtime shuts down where this fails.
        let Ok(mut ready) = self.socket.readable().await else { return pending().await };
        let mut received = Received::default();
        let mut message = vec![0; MESSAGE];
        for _ in 0..AT_ONCE {
            match recvfrom(self.socket.get_ref(), &mut *message, RecvFlags::TRUNC) {
                Ok((_, length, sender)) => {
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    let is_kernels = sender.is_some_and(|sender| sender.pid() == 0);
                    received.add(is_kernels, message.get(..length));
                }
                Err(Errno::NOBUFS) => received.overrun = true,
                Err(Errno::INTR) => (),
                Err(_) => {
                    ready.clear_ready();
                    break;
                }
            }
        }
        received
    }
}

impl Received {
    /// One message; none where it was longer than any of the kernel's.
    fn add(&mut self, is_kernels: bool, message: Option<&[u8]>) {
        match message.and_then(Uevent::parse) {
            _ if !is_kernels => self.forged += 1,
            Some(uevent) => self.uevents.push(uevent),
            None => self.malformed += 1,
        }
    }
}

impl Uevent {
    /// Reads a message. Its first line and its variables must agree.
    fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut lines = text.split('\0');
        let (action, path) = lines.next()?.split_once('@')?;
        let variables: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| variables.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        if value("ACTION")? != action || value("DEVPATH")? != path || !path.starts_with('/') {
            return None;
        }
        let action = match action {
            "add" => Action::Add,
            "remove" => Action::Remove,
            "change" => Action::Change,
            _ => Action::Other,
        };
        let subsystem = value("SUBSYSTEM").unwrap_or("").to_owned();
        Some(Self { action, path: path.to_owned(), subsystem, node: value("DEVNAME").map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: &[u8] = b"add@/devices/virtual/block/loop42\0ACTION=add\0DEVPATH=/devices/virtual/block/loop42\0SUBSYSTEM=block\0MAJOR=7\0MINOR=42\0DEVNAME=loop42\0SEQNUM=813\0";

    #[test]
    fn a_message_of_the_kernel_is_read() {
        let uevent = Uevent::parse(LOOP).unwrap();
        assert_eq!(uevent.action, Action::Add);
        assert_eq!((&*uevent.path, &*uevent.subsystem), ("/devices/virtual/block/loop42", "block"));
        assert_eq!(uevent.node.as_deref(), Some("loop42"));
    }

    #[test]
    fn what_is_no_message_is_counted_and_what_is_not_the_kernels_is_not_believed() {
        let mut received = Received::default();
        received.add(false, Some(LOOP));
        let odd: [&[u8]; 6] =
            [b"", b"libudev\0\xfe\xed", b"add@\0", b"add@/a\0ACTION=remove\0DEVPATH=/a\0", b"\xff@/a", b"add"];
        for message in odd {
            received.add(true, Some(message));
        }
        received.add(true, None);
        assert_eq!(received, Received { forged: 1, malformed: 7, ..Received::default() });
    }
}
