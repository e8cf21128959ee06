//! The system calls of the agent that need `unsafe`: forks, exec, signals, and mount attributes.
//!
//! The agent has one thread, so what a fork must not do in a process with threads does not concern it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

/// `clone3`: the child begins in another cgroup (`linux/sched.h`).
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The new process.
    Child,
    /// The old one, with the new one's process id.
    Parent(Pid),
}

/// A new process that is a child of the caller.
pub fn fork() -> io::Result<Side> {
    // SAFETY: the agent has a single thread, so the child may go on in ordinary code.
    side(unsafe { libc::fork() }.into())
}

/// A new process that is a *sibling* of the caller (`CLONE_PARENT`), in new namespaces.
pub fn fork_sibling(namespaces: UnshareFlags) -> io::Result<Side> {
    let flags = i64::from(libc::CLONE_PARENT | libc::SIGCHLD) | i64::from(namespaces.bits());
    // SAFETY: without CLONE_VM and with no stack given this is a fork; the agent has a single thread.
    side(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) })
}

/// As [`fork_sibling`], born in the version-2 cgroup whose directory this is (`clone3`, Linux 5.7).
pub fn fork_sibling_in(namespaces: UnshareFlags, group: BorrowedFd<'_>) -> io::Result<Side> {
    let flags = u64::from(libc::CLONE_PARENT.cast_unsigned()) | CLONE_INTO_CGROUP | u64::from(namespaces.bits());
    // SAFETY: every field is a number, and zero means that nothing is asked for.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // The signal at its end is the caller's own, as with every sibling.
    (arguments.flags, arguments.cgroup) = (flags, u64::from(group.as_raw_fd().cast_unsigned()));
    // SAFETY: as in `fork_sibling`; the structure lives until the call, whose size is told.
    side(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) })
}

/// A new process that is a child of the caller, in new namespaces.
pub fn fork_into(namespaces: UnshareFlags) -> io::Result<Side> {
    let flags = i64::from(libc::SIGCHLD) | i64::from(namespaces.bits());
    // SAFETY: as in `fork_sibling`.
    side(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) })
}

fn side(returned: i64) -> io::Result<Side> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(returned).ok().and_then(Pid::from_raw).map_or(Side::Child, Side::Parent))
}

/// Leaves the caller's namespaces for new ones.
pub fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    debug_assert!(!namespaces.contains(UnshareFlags::FILES), "descriptor tables are never unshared");
    // SAFETY: only unsharing the descriptor table is unsafe, and it is never asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

/// Ends the process without running anything.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and never returns.
    unsafe { libc::_exit(code) }
}

/// Becomes another program; answers only where that fails.
pub fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers =
        |texts: &[CString]| -> Vec<_> { texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect() };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both vectors end with a null pointer and point to strings that live until the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Blocks every signal and lets them arrive on the descriptor that is answered.
pub fn signals() -> io::Result<OwnedFd> {
    // SAFETY: `all` is filled before it is used, and the descriptor that the kernel answers is ours alone.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// The next signal of [`signals`], by number; `None` where none waits.
pub fn next_signal(signals: &OwnedFd) -> Option<i32> {
    let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes one whole structure or nothing, and the structure is read only in the first case.
    unsafe {
        let read = libc::read(signals.as_raw_fd(), info.as_mut_ptr().cast(), size);
        (usize::try_from(read) == Ok(size)).then(|| info.assume_init().ssi_signo.cast_signed())
    }
}

/// Undoes what this program did to signals: a started program finds none blocked and none ignored.
pub fn default_signals() {
    // SAFETY: `none` is filled before it is used; SIG_DFL is valid for every signal, and refusals (SIGKILL) do not matter.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Sends a signal by number to one process; real-time signals have no name in `rustix`.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: `kill` touches no memory.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills every process that this one may reach: as the init of a process namespace, all others in it.
pub fn kill_namespace() {
    debug_assert!(rustix::process::getpid() == Pid::INIT, "only the init of a namespace kills all it can see");
    // SAFETY: `kill` touches no memory. In a process namespace, -1 means all processes of that namespace but the caller.
    unsafe { libc::kill(-1, Signal::KILL.as_raw()) };
}

/// Whether no other process is in this process namespace, whose init this is.
pub fn is_alone() -> bool {
    // SAFETY: `kill` touches no memory, and signal 0 only asks.
    unsafe { libc::kill(-1, 0) == -1 }
}

/// What [`set_mount`] changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountChange {
    /// Make it read-only.
    pub read_only: bool,
    /// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`; 0 leaves it.
    pub propagation: u64,
    /// With all mounts below.
    pub recursive: bool,
}

/// Changes the attributes of a mount that a descriptor stands for (`mount_setattr`, Linux 5.12).
pub fn set_mount(mount: impl AsFd, change: MountChange) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: if change.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: change.propagation,
        userns_fd: 0,
    };
    let recursive = if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is empty and the structure lives until the call, whose size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes stdin, which is the channel to the runner; it is taken once, before anything else has a use for it.
pub fn take_stdin() -> OwnedFd {
    // SAFETY: descriptor 0 is open (the runner gave it) and nothing else in this program uses it.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// Closes everything but stdin, stdout and stderr: what the runner itself had inherited must not reach a container.
pub fn close_inherited() {
    let (least, most): (libc::c_uint, libc::c_uint) = (3, libc::c_uint::MAX);
    // SAFETY: called once, before this program has opened anything of its own; closing what is not open does no harm.
    unsafe {
        if libc::syscall(libc::SYS_close_range, least, most, 0) < 0 {
            // Before Linux 5.9.
            for number in 3..1024 {
                libc::close(number);
            }
        }
    }
}

/// Puts a descriptor at a number that a started program expects (0, 1, 2).
pub fn place(descriptor: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: `dup2` touches no memory; who owns the number before is replaced by a process that starts a program.
    match unsafe { libc::dup2(descriptor.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes stdout and stderr of this process, an init, those of the container that it starts, of these descriptors:
/// scripts write to `/proc/1/fd/1` what is to stand in the container's log.
pub fn share_output(stdio: &[usize; 3], descriptors: &[OwnedFd]) -> io::Result<()> {
    for (number, slot) in (1..).zip(&stdio[1..]) {
        if let Some(descriptor) = descriptors.get(*slot) {
            place(descriptor.as_fd(), number)?;
        }
    }
    Ok(())
}

/// Gives unused memory back to the kernel.
pub fn shrink() {
    // SAFETY: glibc's own function; it touches only free memory.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
