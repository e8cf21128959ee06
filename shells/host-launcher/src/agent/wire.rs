//! What the runner and its agents say to each other, and the channel that carries it.
//!
//! A frame is a header (length of the text, number of descriptors), then JSON. Descriptors travel with the frame's first
//! byte. Both ends are the same executable, so the format has no version of its own.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outrigger_host::kernel;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, send, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The most descriptors one frame can carry (the kernel's `SCM_MAX_FD`).
const MAX_CARRIED: usize = 253;

/// The most descriptors of a task, to which the ways into a cgroup come: one for each of four controllers.
pub const MAX_DESCRIPTORS: usize = MAX_CARRIED - 4;

/// The longest frame that is accepted, in bytes: a container's whole environment fits.
const MAX_FRAME: usize = 64 << 20;

/// Length (u32) and number of descriptors (u16), little-endian.
const HEADER: usize = 6;

/// What a fresh agent is to be. Always the first frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Try what this machine allows; answers [`Report::Probed`].
    Probe,
    /// Make a pod's namespaces and hand them back; answers [`Report::PodReady`] with their descriptors, then ends.
    Pod(PodTask),
    /// Be the init of a process namespace that several containers share; answers [`Report::Holding`].
    Hold(HoldTask),
    /// Be the init or keeper of one container; answers [`Report::Started`] or [`Report::Failed`].
    Container(Box<ContainerTask>),
    /// Keep a container that another program has made around this process; answers as for [`Task::Container`].
    Inside(Box<InsideTask>),
}

/// The place of a descriptor among those that came with the frame.
pub type Slot = usize;

/// The pod level: one user namespace, one mount namespace.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PodTask {
    /// Make a user namespace in which the caller keeps its own uid and gid.
    pub user_namespace: bool,
    /// Make an IPC namespace, with a `/dev/shm` of its own.
    pub ipc_namespace: bool,
    /// Memory volumes: where each is mounted, and its limit in bytes. The descriptors of their roots are handed back in
    /// this order, after those of the namespaces.
    pub memory_volumes: Vec<(String, Option<u64>)>,
    /// `fsGroup`: the group of the memory volumes, and of what is made in them.
    pub memory_group: Option<u32>,
    /// An empty directory of the pod, where a new root can be put together.
    pub staging: String,
    /// Files that containers will bind something over; where one is missing its directory is covered once for the pod.
    pub placeholders: Vec<String>,
}

/// Namespaces that an agent joins.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Join {
    /// The pod's user namespace.
    pub user: Option<Slot>,
    /// The pod's mount namespace; the agent works in a clone of it.
    pub mount: Option<Slot>,
    /// The pod's IPC namespace.
    pub ipc: Option<Slot>,
    /// The pod's process namespace, where its containers share one.
    pub process: Option<Slot>,
}

/// The ways into a cgroup (see `outrigger_host::Doors`).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Group {
    /// The directory of a version-2 group: the second stage is born in it.
    pub born_in: Option<Slot>,
    /// Files into which the first stage writes `0`, before it forks.
    pub enters: Vec<Slot>,
}

/// The init of a shared process namespace.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HoldTask {
    /// What it joins first.
    pub join: Join,
}

/// One container.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ContainerTask {
    /// What it joins first.
    pub join: Join,
    /// The cgroup that it enters.
    pub group: Group,
    /// Whether the container gets a process namespace of its own.
    pub process_namespace: bool,
    /// The host name in a UTS namespace of its own; `None`: the machine's.
    pub hostname: Option<String>,
    /// Its mounts; `None` where no mount namespace can be had.
    pub view: Option<View>,
    /// Its main process.
    pub process: ProcessTask,
    /// Descriptors to hold until the last process has ended.
    pub held: Vec<Slot>,
}

/// A container from inside.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct InsideTask {
    /// Its main process; the environment of the image comes below that of the task.
    pub process: ProcessTask,
    /// Variables that every process has where neither the image nor the task sets them.
    pub defaults: Vec<(String, String)>,
    /// Links to make: where, and to what.
    pub links: Vec<(String, String)>,
}

/// What the container sees of the file system.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// What is mounted, parents first.
    pub mounts: Vec<MountTask>,
    /// An empty directory of the pod, where a new root can be put together.
    pub staging: String,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// Mount a `/proc` of the process namespace.
    pub fresh_proc: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MountTask {
    /// Absolute path on this machine.
    pub source: String,
    /// Below it; no link leads out.
    pub sub_path: Option<String>,
    /// Absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Mounts that the machine makes below the source later appear too.
    pub follow_host: bool,
    /// The source is the pod's own, so mount points inside it may be made in it.
    pub own: bool,
    /// For people, in errors: `volume config`.
    pub what: String,
}

/// A process to start: a container's main process, or a command in a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessTask {
    /// The program and its arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub directory: Option<String>,
    /// stdin, stdout, stderr.
    pub stdio: [Slot; 3],
    /// stdin is the terminal that becomes the controlling one.
    pub terminal: bool,
    /// Whom it runs as.
    pub identity: Identity,
    /// The CPUs it may run on.
    pub cpus: Vec<usize>,
}

/// Whom a process runs as, and what it may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Identity {
    /// The user, if another than the agent's.
    pub uid: Option<u32>,
    /// The group, if another than the agent's.
    pub gid: Option<u32>,
    /// The supplementary groups; `None`: the agent's.
    pub groups: Option<Vec<u32>>,
    /// Reach `uid` and `gid` by a further user namespace in which they stand for the agent's own.
    pub by_namespace: bool,
    /// Capabilities it must lose, by number; `None`: none.
    pub drop: Vec<u32>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
}

/// What the runner asks of a running agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a command beside the main process; answers [`Report::ExecStarted`] or [`Report::ExecFailed`], later
    /// [`Report::ExecEnded`].
    Exec {
        /// The runner's number for it.
        id: u64,
        /// The command.
        process: Box<ProcessTask>,
    },
    /// Kill a command that [`Request::Exec`] started, with everything in its session's process group.
    KillExec {
        /// Its number.
        id: u64,
    },
    /// Send a signal to the main process.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Send a signal to the main process, and kill it after the grace. A later, shorter grace wins.
    Stop {
        /// The signal's number.
        signal: i32,
        /// In milliseconds.
        grace: u64,
    },
}

/// What an agent tells the runner.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// What this machine allows.
    Probed(Abilities),
    /// An agent inside a container runs and waits for its task.
    Waiting,
    /// The first stage has made the init with this process id.
    Forked {
        /// As the runner sees it.
        pid: i32,
    },
    /// The pod's namespaces come with this frame: user (if made), mount, IPC (if made), then the memory volumes.
    PodReady,
    /// The shared process namespace stands; its descriptor comes with this frame.
    Holding,
    /// The main process runs.
    Started,
    /// The agent could not do its task, and ends.
    Failed(Failure),
    /// The main process has ended.
    Exited(Ended),
    /// A command runs.
    ExecStarted {
        /// Its number.
        id: u64,
    },
    /// A command could not be started.
    ExecFailed {
        /// Its number.
        id: u64,
        /// Why.
        failure: Failure,
    },
    /// A command has ended.
    ExecEnded {
        /// Its number.
        id: u64,
        /// How.
        ended: Ended,
    },
}

/// What a machine allows its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// A user namespace was needed, and can be had.
    pub user_namespace: bool,
    /// Mount namespaces, with what we need of the kernel in them.
    pub mount_namespace: bool,
    /// Process namespaces.
    pub process_namespace: bool,
    /// A `/proc` for a process namespace.
    pub fresh_proc: bool,
    /// UTS namespaces.
    pub uts_namespace: bool,
    /// IPC namespaces.
    pub ipc_namespace: bool,
    /// Why something is not allowed, for people; empty where all is.
    pub refusals: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code, where it ended by itself.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// At which step.
    pub step: Step,
    /// The error number of the kernel, 0 where there is none.
    pub errno: i32,
    /// What could not be done, to what; the cause is in `errno`.
    pub what: String,
}

/// The steps of a task that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Namespaces, mounts, users: before the command.
    Prepare,
    /// The command itself: not found, or not executable.
    Exec,
}

impl Failure {
    /// A failure before the command.
    pub fn prepare(what: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Self { step: Step::Prepare, errno: cause.into().raw_os_error().unwrap_or(0), what: what.into() }
    }

    /// The text for people, with the cause.
    pub fn text(&self) -> String {
        match self.errno {
            0 => self.what.clone(),
            errno => {
                let cause = kernel::explained(io::Error::from_raw_os_error(errno));
                let is_plain = cause.raw_os_error().is_some();
                let mut cause = cause.to_string();
                if is_plain {
                    cause = cause.split(" (os error").next().unwrap_or_default().to_lowercase();
                }
                format!("{}: {cause}", self.what)
            }
        }
    }
}

/// One end of the stream between the runner and an agent.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    ended: bool,
}

impl Channel {
    /// Over this stream socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, bytes: Vec::new(), descriptors: VecDeque::new(), ended: false }
    }

    /// Sends one frame. Blocks until the other end has room.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let (Ok(length), Ok(count)) = (u32::try_from(text.len()), u16::try_from(descriptors.len())) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if descriptors.len() > MAX_CARRIED || text.len() > MAX_FRAME {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut frame = Vec::with_capacity(HEADER + text.len());
        frame.extend(length.to_le_bytes());
        frame.extend(count.to_le_bytes());
        frame.extend(text);
        let mut sent = self.send_first(&frame, descriptors)?;
        while sent < frame.len() {
            sent += rustix::io::retry_on_intr(|| send(&self.socket, &frame[sent..], SendFlags::NOSIGNAL))?;
        }
        Ok(())
    }

    fn send_first(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors.len()))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(sendmsg(&self.socket, &[IoSlice::new(frame)], &mut ancillary, SendFlags::NOSIGNAL)?)
    }

    /// The next frame with its descriptors, waiting for it; `None` once the other end is closed.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            self.fill(RecvFlags::empty())?;
        }
    }

    /// Reads what has arrived without waiting; [`Channel::take`] then gives out whole frames.
    pub fn fill_now(&mut self) -> io::Result<()> {
        match self.fill(RecvFlags::DONTWAIT) {
            Err(busy) if busy.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    /// Whether the other end is closed and nothing more will arrive.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next frame, if it has arrived whole.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let [l0, l1, l2, l3, c0, c1] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let count = usize::from(u16::from_le_bytes([c0, c1]));
        if length > MAX_FRAME || count > MAX_CARRIED {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(text) = self.bytes.get(HEADER..HEADER + length) else { return Ok(None) };
        let message = serde_json::from_slice(text)?;
        if self.descriptors.len() < count {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let descriptors = self.descriptors.drain(..count).collect();
        self.bytes.drain(..HEADER + length);
        self.bytes.shrink_to(0);
        Ok(Some((message, descriptors)))
    }

    fn fill(&mut self, flags: RecvFlags) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_CARRIED))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.ended = received.bytes == 0;
        self.bytes.extend_from_slice(&buffer[..received.bytes]);
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_call_that_the_kernel_lacks_is_told_with_the_kernel() {
        let failure = |errno| Failure { step: Step::Prepare, errno, what: "cannot mount /data".to_owned() }.text();
        assert_eq!(failure(libc::ENOENT), "cannot mount /data: no such file or directory");
        assert!(failure(libc::ENOSYS).contains(&kernel::release()), "{}", failure(libc::ENOSYS));
    }

    fn pair() -> (Channel, Channel) {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn frames_arrive_whole_with_their_own_descriptors() {
        let (a, mut b) = pair();
        let (read, write) = rustix::pipe::pipe().unwrap();
        a.send(&Request::Signal { signal: 15 }, &[]).unwrap();
        a.send(&Request::KillExec { id: 7 }, &[write.as_fd()]).unwrap();
        drop((a, write));
        let (first, none) = b.receive::<Request>().unwrap().unwrap();
        assert!(matches!(first, Request::Signal { signal: 15 }) && none.is_empty());
        let (second, one) = b.receive::<Request>().unwrap().unwrap();
        assert!(matches!(second, Request::KillExec { id: 7 }));
        rustix::io::write(&one[0], b"x").unwrap();
        drop(one);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(b.receive::<Request>().unwrap().is_none());
    }

    #[test]
    fn a_frame_larger_than_the_socket_arrives() {
        let (a, mut b) = pair();
        let env = vec![("A".to_owned(), "x".repeat(1 << 20))];
        let sender = std::thread::spawn(move || {
            let process = Box::new(ProcessTask { env, ..ProcessTask::default() });
            a.send(&Request::Exec { id: 1, process }, &[])
        });
        let (request, _) = b.receive::<Request>().unwrap().unwrap();
        let Request::Exec { process, .. } = request else { panic!("another request") };
        assert_eq!(process.env[0].1.len(), 1 << 20);
        sender.join().unwrap().unwrap();
    }
}
