//! From a fresh process to an agent: joins what exists, makes what is new, starts the container's process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{
    DumpableBehavior, Pid, Signal, getpid, set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal,
    setsid, umask,
};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, move_into_link_name_space, set_capabilities};

use super::descendants::Reach;
use super::serve::{Agent, start};
use super::sys::{self, Side};
use super::wire::{Channel, ContainerTask, Failure, Group, HoldTask, Join, ProcessTask, Report, Task};
use super::{identity, inside, pod, probe, view};

/// Hears the task, does it, and ends the process. Who was started by another program says first that it is there.
pub fn run(is_inside: bool) -> ! {
    sys::close_inherited();
    let mut channel = Channel::new(sys::take_stdin());
    // The runner's own mask would hide mount points from other users; containers begin with this one too, as under runc.
    umask(Mode::WGRP | Mode::WOTH);
    // For `ps`: else it would show the name of the file that was executed, which is `exe`.
    let _ = rustix::thread::set_name(c"outrigger-init");
    die_with_the_runner();
    if is_inside {
        tell(&channel, Ok(Report::Waiting));
    }
    if let Ok(Some((task, descriptors))) = channel.receive::<Task>() {
        match task {
            Task::Probe => tell(&channel, Ok(Report::Probed(probe::abilities()))),
            Task::Pod(task) => match pod::make(&task, &channel) {
                Ok(()) => {}
                Err(failure) => tell(&channel, Err(failure)),
            },
            Task::Hold(task) => hold(&task, channel, &descriptors),
            Task::Container(task) => container(*task, channel, descriptors),
            Task::Inside(task) => inside::keep(*task, channel, descriptors),
        }
    }
    sys::exit_now(0)
}

/// Tells the runner; one that is gone needs no report.
pub fn tell(channel: &Channel, outcome: Result<Report, Failure>) {
    let _ = channel.send(&outcome.unwrap_or_else(Report::Failed), &[]);
}

/// The parent-death signal reaches this process only, and a change of user clears it, so it is set at each stage. A
/// runner that died before it was set has closed the channel. Who has something to do before its end must not die so, and
/// hears of the runner's end by the channel alone: a keeper has descendants to kill; who holds locks of claims lets go of
/// them last, while the kernel closes the descriptors of an init that it kills before it kills the rest of the namespace.
fn die_with_the_runner() {
    // The kernel knows this signal since 1998; without it the closing channel alone must do.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// The init of a process namespace that several containers share.
fn hold(task: &HoldTask, channel: Channel, descriptors: &[OwnedFd]) {
    if let Err(failure) = join(&task.join, descriptors) {
        return tell(&channel, Err(failure));
    }
    // Keepers in the namespace may hold locks.
    if !is_second_stage(&channel, sys::fork_sibling(UnshareFlags::NEWPID), false) {
        return;
    }
    let namespace = File::open("/proc/self/ns/pid");
    match (sys::signals(), namespace) {
        (Ok(signals), Ok(namespace)) => {
            // A runner that is gone is noticed by the loop.
            let _ = channel.send(&Report::Holding, &[namespace.as_fd()]);
            drop(namespace);
            Agent {
                channel,
                signals,
                reach: Reach::Namespace,
                main: None,
                base: Vec::new(),
                commands: Vec::new(),
                deadline: None,
            }
            .serve();
        }
        (Err(error), _) | (_, Err(error)) => {
            tell(&channel, Err(Failure::prepare("cannot hold a process namespace", error)));
        }
    }
}

/// The init or keeper of one container.
fn container(task: ContainerTask, channel: Channel, mut descriptors: Vec<OwnedFd>) {
    let ready = enter(&task.group, &descriptors).and_then(|()| join(&task.join, &descriptors));
    if let Err(failure) = ready {
        return tell(&channel, Err(failure));
    }
    let is_init_without_locks = task.process_namespace && task.held.is_empty();
    if !is_second_stage(&channel, fork_container(&task, &descriptors), is_init_without_locks) {
        return;
    }
    let reach = if task.process_namespace { Reach::Namespace } else { Reach::Descendants };
    match start_main(&task, &descriptors, reach) {
        Ok((signals, main)) => {
            tell(&channel, Ok(Report::Started));
            // Only locks stay open, and stdout and stderr of an init, which ends with the container's last process: what a
            // keeper held would keep readers of the container's output from its end.
            let held = keep(&mut descriptors, &task.held);
            drop((task, descriptors));
            sys::shrink();
            Agent { channel, signals, reach, main: Some(main), base: Vec::new(), commands: Vec::new(), deadline: None }
                .serve();
            drop(held);
        }
        Err(failure) => {
            reach.empty(|_, _| ());
            tell(&channel, Err(failure));
        }
    }
}

fn namespaces_of(task: &ContainerTask) -> UnshareFlags {
    let mut namespaces = UnshareFlags::empty();
    namespaces.set(UnshareFlags::NEWPID, task.process_namespace);
    namespaces.set(UnshareFlags::NEWUTS, task.hostname.is_some());
    namespaces.set(UnshareFlags::NEWNS, task.view.is_some());
    namespaces
}

/// Enters the container's cgroup where that is done by a file.
fn enter(group: &Group, descriptors: &[OwnedFd]) -> Result<(), Failure> {
    let mut doors = group.enters.iter().filter_map(|slot| descriptors.get(*slot));
    doors
        .try_for_each(|door| rustix::io::write(door, b"0").map(drop))
        .map_err(|error| Failure::prepare("cannot move the container into its cgroup", error))
}

/// Forks the second stage into the container's namespaces, and into its cgroup where it can be born there.
fn fork_container(task: &ContainerTask, descriptors: &[OwnedFd]) -> io::Result<Side> {
    let namespaces = namespaces_of(task);
    let Some(group) = task.group.born_in.and_then(|slot| descriptors.get(slot)) else {
        return sys::fork_sibling(namespaces);
    };
    match sys::fork_sibling_in(namespaces, group.as_fd()) {
        // Filters of system calls often know no `clone3`.
        Err(unknown) if unknown.raw_os_error() == Some(libc::ENOSYS) => {
            let door = openat(group, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&door, b"0")?;
            sys::fork_sibling(namespaces)
        }
        forked => forked,
    }
}

/// Whether this is the second stage, a child of the runner. The first stage tells its process id and is then done.
fn is_second_stage(channel: &Channel, forked: io::Result<Side>, dies_with_the_runner: bool) -> bool {
    match forked {
        Ok(Side::Child) => {
            // The kernel has not passed the signal on.
            if dies_with_the_runner {
                die_with_the_runner();
            }
            true
        }
        Ok(Side::Parent(pid)) => {
            tell(channel, Ok(Report::Forked { pid: pid.as_raw_nonzero().get() }));
            false
        }
        Err(error) => {
            tell(channel, Err(Failure::prepare("cannot make the container's namespaces", error)));
            false
        }
    }
}

fn start_main(task: &ContainerTask, descriptors: &[OwnedFd], reach: Reach) -> Result<(OwnedFd, Pid), Failure> {
    setsid().map_err(|error| Failure::prepare("cannot begin a session", error))?;
    if reach == Reach::Descendants {
        set_child_subreaper(Some(getpid())).map_err(|error| Failure::prepare("cannot adopt orphans", error))?;
    }
    let signals = sys::signals().map_err(|error| Failure::prepare("cannot watch signals", error))?;
    if let Some(hostname) = &task.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(|error| Failure::prepare(format!("cannot set the host name {hostname}"), error))?;
    }
    if let Some(view) = &task.view {
        view::enter(view)?;
    }
    if reach == Reach::Namespace {
        if task.join.user.is_some() {
            be_as_the_container(&task.process)?;
        }
        sys::share_output(&task.process.stdio, descriptors)
            .map_err(|error| Failure::prepare("cannot share the container's output with its init", error))?;
    }
    let main = start(&task.process, descriptors)?;
    Ok((signals, main))
}

/// Gives up what an ordinary user's init has and the programs that it starts have not: the kernel lets nobody open a file
/// of `/proc/1` who has less. Nothing that it still does needs more.
fn be_as_the_container(process: &ProcessTask) -> Result<(), Failure> {
    identity::drop_from_bounding_set(&process.identity.drop)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        // Joining the user namespace has taken it.
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::Dumpable))
        .map_err(|error| Failure::prepare("cannot give up capabilities", error))
}

/// Joins the pod's namespaces. The user namespace is first: it gives the right to join the others.
fn join(join: &Join, descriptors: &[OwnedFd]) -> Result<(), Failure> {
    let all = [("user", join.user), ("mount", join.mount), ("ipc", join.ipc), ("process", join.process)];
    for (name, slot) in all {
        let Some(slot) = slot else { continue };
        let done = match descriptors.get(slot) {
            Some(descriptor) => move_into_link_name_space(descriptor.as_fd(), None).map_err(io::Error::from),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        done.map_err(|error| Failure::prepare(format!("cannot join the pod's {name} namespace"), error))?;
    }
    // A change of namespaces can change credentials, which clears it.
    die_with_the_runner();
    Ok(())
}

/// Takes the descriptors at these places out of `all`.
fn keep(all: &mut Vec<OwnedFd>, slots: &[usize]) -> Vec<OwnedFd> {
    let mut place = 0..;
    let (kept, rest) =
        std::mem::take(all).into_iter().partition(|_| place.next().is_some_and(|at| slots.contains(&at)));
    *all = rest;
    kept
}
