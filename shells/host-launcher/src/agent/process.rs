//! Starts a program: from a fork of the agent to a successful `exec`.
//!
//! What goes wrong between fork and exec comes back by a pipe that closes itself on exec, with the kernel's error number.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, chdir, ioctl_tiocsctty, setsid};
use rustix::thread::{CpuSet, UnshareFlags, sched_setaffinity, set_no_new_privs};

use super::identity;
use super::sys::{self, Side};
use super::wire::{Failure, ProcessTask, Step};

/// Where programs are looked up without a `PATH` (containerd's default).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the program; answers once its `exec` has succeeded.
pub fn start(task: &ProcessTask, stdio: [BorrowedFd<'_>; 3]) -> Result<Pid, Failure> {
    let (failures, report) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| Failure::prepare("cannot make a pipe", error))?;
    match sys::fork().map_err(|error| Failure::prepare("cannot fork", error))? {
        Side::Child => {
            let failure = become_program(task, stdio);
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            // The agent sees an empty report as a failure without a cause.
            let _ = rustix::io::write(&report, &text);
            sys::exit_now(127)
        }
        Side::Parent(pid) => {
            drop(report);
            outcome(failures).map(|()| pid)
        }
    }
}

/// Waits for the exec: the pipe closes without a word, or says what failed.
fn outcome(failures: OwnedFd) -> Result<(), Failure> {
    let mut text = Vec::new();
    File::from(failures)
        .read_to_end(&mut text)
        .map_err(|error| Failure::prepare("cannot hear from a forked process", error))?;
    if text.is_empty() {
        return Ok(());
    }
    Err(serde_json::from_slice(&text).unwrap_or_else(|_| {
        Failure::prepare("a forked process failed without a word", io::Error::from_raw_os_error(0))
    }))
}

/// The way of the forked process. It only comes back with why it did not become the program.
fn become_program(task: &ProcessTask, stdio: [BorrowedFd<'_>; 3]) -> Failure {
    match prepare(task, stdio) {
        Ok(()) => exec(task),
        Err(failure) => failure,
    }
}

fn prepare(task: &ProcessTask, stdio: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
    setsid().map_err(|error| Failure::prepare("cannot begin a session", error))?;
    for (number, descriptor) in (0..).zip(stdio) {
        sys::place(descriptor, number)
            .map_err(|error| Failure::prepare("cannot place stdin, stdout, stderr", error))?;
    }
    if task.terminal {
        ioctl_tiocsctty(io::stdin()).map_err(|error| Failure::prepare("cannot take the terminal", error))?;
    }
    pin(&task.cpus)?;
    identity::assume(&task.identity)?;
    if let Some(directory) = &task.directory {
        chdir(directory)
            .map_err(|error| Failure::prepare(format!("cannot use {directory} as working directory"), error))?;
    }
    if task.identity.no_new_privileges {
        set_no_new_privs(true).map_err(|error| Failure::prepare("cannot set no_new_privs", error))?;
    }
    sys::default_signals();
    Ok(())
}

fn pin(cpus: &[usize]) -> Result<(), Failure> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(Failure::prepare(
                format!("CPU {cpu} is beyond what can be pinned"),
                io::Error::from_raw_os_error(0),
            ));
        }
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| Failure::prepare(format!("cannot pin to CPUs {cpus:?}"), error))
}

fn exec(task: &ProcessTask) -> Failure {
    let failure = |errno: i32, what: String| Failure { step: Step::Exec, errno, what };
    let Some(name) = task.argv.first() else {
        return failure(libc::ENOENT, "the command is empty".to_owned());
    };
    let env = task.env.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let (Ok(argv), Ok(env)) = (
        task.argv.iter().map(|arg| CString::new(arg.as_bytes())).collect::<Result<Vec<_>, _>>(),
        env.collect::<Result<Vec<_>, _>>(),
    ) else {
        return failure(libc::EINVAL, format!("exec: {name:?}: an argument or a variable holds a NUL"));
    };
    let path = task.env.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    match program(name, path) {
        Ok(program) => {
            let error = sys::exec(&program, &argv, &env);
            failure(error.raw_os_error().unwrap_or(0), format!("exec: {name:?}"))
        }
        Err(libc::ENOENT) if !name.contains('/') => {
            failure(libc::ENOENT, format!("exec: {name:?}: executable file not found in $PATH"))
        }
        Err(errno) => failure(errno, format!("exec: {name:?}")),
    }
}

/// The file to execute, or an error number: a name with `/` as it is, else the first executable file in `path`.
fn program(name: &str, path: &str) -> Result<CString, i32> {
    if name.contains('/') {
        return CString::new(name).map_err(|_| libc::EINVAL);
    }
    let mut refused = libc::ENOENT;
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        if !candidate.is_file() {
            continue;
        }
        if access(&candidate, Access::EXEC_OK).is_ok() {
            return CString::new(candidate.as_os_str().as_bytes()).map_err(|_| libc::EINVAL);
        }
        refused = libc::EACCES;
    }
    Err(refused)
}

/// New namespaces of a process that keeps its files.
pub fn unshare(namespaces: UnshareFlags, what: &str) -> Result<(), Failure> {
    sys::unshare(namespaces).map_err(|error| Failure::prepare(format!("cannot make {what}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_up_in_the_path_of_its_environment() {
        assert_eq!(program("sh", "/nowhere:/bin").unwrap().to_str().unwrap(), "/bin/sh");
        assert_eq!(program("no-such-program", "/bin"), Err(libc::ENOENT));
        assert_eq!(program("passwd", "/etc"), Err(libc::EACCES));
        assert_eq!(program("/any/where", "").unwrap().to_str().unwrap(), "/any/where");
    }
}
