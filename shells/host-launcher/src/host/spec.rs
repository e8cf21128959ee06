//! From a start request to the agent's task: everything that the container's init has to know.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use outrigger_host::users;
use outrigger_launcher::{StartError, StartRequest};
use outrigger_pod_core::life::StartProblem;
use outrigger_pod_core::plan::{ContainerName, ContainerPlan, PodPlan};

use super::pod::Pod;
use super::{container_id, limits, mounts, security, sweep};
use crate::agent::DEFAULT_PATH;
use crate::agent::wire::{ContainerTask, Group, Join, MAX_DESCRIPTORS, ProcessTask, Slot, View};

/// What an agent outside a container keeps.
#[derive(Debug)]
pub struct Kept {
    /// What it starts.
    pub process: ProcessTask,
    /// Stdin, stdout and stderr of that.
    pub stdio: [Arc<OwnedFd>; 3],
    /// What is mounted for it; `None` where there is no mount namespace.
    pub view: Option<View>,
    /// Whether it is the init of a process namespace of its own, rather than a keeper.
    pub process_namespace: bool,
}

/// What the agent of a container keeps that is a process of this machine.
pub fn container(
    pod: &Pod,
    request: &StartRequest,
    container: &ContainerPlan,
    stdio: [OwnedFd; 3],
) -> Result<Kept, StartError> {
    let Pod { namespaces, abilities, .. } = pod;
    let view = if abilities.mount_namespace {
        Some(mounts::view(pod, request)?)
    } else {
        mounts::check_without_namespace(request)?;
        None
    };
    Ok(Kept {
        process: process(pod, request, container)?,
        stdio: stdio.map(Arc::new),
        view,
        process_namespace: abilities.process_namespace && namespaces.process.is_none(),
    })
}

/// The task of an agent outside a container, with the descriptors that go with it.
pub fn keep(pod: &Pod, request: &StartRequest, kept: Kept) -> Result<(ContainerTask, Vec<Arc<OwnedFd>>), StartError> {
    let Kept { process, stdio, view, process_namespace } = kept;
    let mut descriptors = Vec::from(stdio);
    let Pod { namespaces, abilities, .. } = pod;
    let join = Join {
        user: slot(&mut descriptors, namespaces.user.as_ref()),
        mount: slot(&mut descriptors, namespaces.mount.as_ref()),
        ipc: slot(&mut descriptors, namespaces.ipc.as_ref()),
        process: slot(&mut descriptors, namespaces.process.as_ref()),
    };
    let held = request.held.iter().filter_map(|lock| slot(&mut descriptors, Some(lock))).collect();
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(refused(format!(
            "the claims of this container hold {} locks; {MAX_DESCRIPTORS} is the most",
            request.held.len()
        )));
    }
    let hostname = abilities.uts_namespace.then(|| pod.hostname.clone());
    // Filled in when the cgroup is made.
    let group = Group::default();
    Ok((ContainerTask { join, group, process_namespace, hostname, view, process, held }, descriptors))
}

/// Adds a descriptor to those that go with a task, and answers its place.
pub fn slot(descriptors: &mut Vec<Arc<OwnedFd>>, descriptor: Option<&Arc<OwnedFd>>) -> Option<Slot> {
    let descriptor = descriptor?;
    descriptors.push(Arc::clone(descriptor));
    Some(descriptors.len() - 1)
}

fn process(pod: &Pod, request: &StartRequest, container: &ContainerPlan) -> Result<ProcessTask, StartError> {
    if request.command.is_empty() {
        return Err(refused(no_command(&request.instance.container.0)));
    }
    let mut env = environment(pod, request, container);
    env.extend(marks(pod, request));
    Ok(ProcessTask {
        argv: request.command.iter().chain(&request.args).cloned().collect(),
        env,
        directory: Some(request.working_dir.clone().unwrap_or_else(|| "/".to_owned())),
        stdio: [0, 1, 2],
        terminal: container.tty,
        identity: security::identity(&pod.abilities, &request.plan, container)?,
        cpus: cpus(request)?,
    })
}

/// The variables by which processes are found that a killed keeper leaves: none where a process namespace holds them.
pub fn marks(pod: &Pod, request: &StartRequest) -> Vec<(String, String)> {
    if pod.abilities.process_namespace {
        return Vec::new();
    }
    let marks = [(sweep::MARK, request.plan.uid.clone()), (sweep::CONTAINER_MARK, container_id(request).0)];
    marks.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The CPUs that a claim pins the container to.
pub fn cpus(request: &StartRequest) -> Result<Vec<usize>, StartError> {
    let Some(text) = &request.claim.cpus else { return Ok(Vec::new()) };
    limits::cpu_list(text).ok_or_else(|| refused(format!("the claim's CPU list {text:?} is none of the kernel's")))
}

/// The manifest's environment over what every container has (containerd's defaults, and the kubelet's `HOSTNAME`).
fn environment(pod: &Pod, request: &StartRequest, container: &ContainerPlan) -> Vec<(String, String)> {
    let uid = security::uid_inside(&container.security);
    let home = users::local_home(Path::new("/"), uid).unwrap_or_else(|| "/".to_owned());
    let mut defaults = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", &pod.hostname), ("HOME", &home)];
    if container.tty {
        defaults.push(("TERM", "xterm"));
    }
    let is_given = |name: &str| request.env.iter().any(|(given, _)| given == name);
    let defaults = defaults.into_iter().filter(|(name, _)| !is_given(name));
    defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(request.env.iter().cloned()).collect()
}

/// The containers of a pod that cannot run without an image, with the reason: to be refused before anything starts.
pub fn commands(plan: &PodPlan) -> Vec<(ContainerName, String)> {
    let without = plan.containers.iter().filter(|container| container.command.is_empty());
    without.map(|container| (container.name.clone(), no_command(&container.name.0))).collect()
}

/// Why a container without `command` cannot run here.
pub fn no_command(container: &str) -> String {
    format!(
        "container {container} has no command, and the host launcher uses no image that could name one: \
         give it a command, or run it with --launcher apptainer"
    )
}

/// A container that cannot be made, and why.
pub fn refused(message: String) -> StartError {
    StartError::new(StartProblem::Create, message)
}

/// The number of a signal named with `SIG` (as `lifecycle.stopSignal` does, real-time signals included).
pub fn signal_number(name: &str) -> Option<i32> {
    let named = [
        ("SIGHUP", libc::SIGHUP),
        ("SIGINT", libc::SIGINT),
        ("SIGQUIT", libc::SIGQUIT),
        ("SIGILL", libc::SIGILL),
        ("SIGTRAP", libc::SIGTRAP),
        ("SIGABRT", libc::SIGABRT),
        ("SIGIOT", libc::SIGIOT),
        ("SIGBUS", libc::SIGBUS),
        ("SIGFPE", libc::SIGFPE),
        ("SIGKILL", libc::SIGKILL),
        ("SIGUSR1", libc::SIGUSR1),
        ("SIGSEGV", libc::SIGSEGV),
        ("SIGUSR2", libc::SIGUSR2),
        ("SIGPIPE", libc::SIGPIPE),
        ("SIGALRM", libc::SIGALRM),
        ("SIGTERM", libc::SIGTERM),
        ("SIGSTKFLT", libc::SIGSTKFLT),
        ("SIGCHLD", libc::SIGCHLD),
        ("SIGCLD", libc::SIGCHLD),
        ("SIGCONT", libc::SIGCONT),
        ("SIGSTOP", libc::SIGSTOP),
        ("SIGTSTP", libc::SIGTSTP),
        ("SIGTTIN", libc::SIGTTIN),
        ("SIGTTOU", libc::SIGTTOU),
        ("SIGURG", libc::SIGURG),
        ("SIGXCPU", libc::SIGXCPU),
        ("SIGXFSZ", libc::SIGXFSZ),
        ("SIGVTALRM", libc::SIGVTALRM),
        ("SIGPROF", libc::SIGPROF),
        ("SIGWINCH", libc::SIGWINCH),
        ("SIGIO", libc::SIGIO),
        ("SIGPOLL", libc::SIGIO),
        ("SIGPWR", libc::SIGPWR),
        ("SIGSYS", libc::SIGSYS),
    ];
    let (least, most) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let real_time = |offset: &str| offset.parse::<i32>().ok();
    match name {
        "SIGRTMIN" => Some(least),
        "SIGRTMAX" => Some(most),
        _ => {
            let by_offset = name
                .strip_prefix("SIGRTMIN+")
                .and_then(|offset| Some(least + real_time(offset)?))
                .or_else(|| Some(most - real_time(name.strip_prefix("SIGRTMAX-")?)?));
            by_offset
                .filter(|number| (least..=most).contains(number))
                .or_else(|| named.iter().find(|(known, _)| *known == name).map(|(_, number)| *number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_numbers_of_this_machine() {
        for (name, number) in
            [("SIGTERM", Some(15)), ("SIGRTMIN+3", Some(libc::SIGRTMIN() + 3)), ("SIGRTMAX-1", Some(63))]
        {
            assert_eq!(signal_number(name), number, "{name}");
        }
        for unknown in ["TERM", "SIGRTMIN+99", "SIGRTMAX-", ""] {
            assert_eq!(signal_number(unknown), None, "{unknown}");
        }
    }
}
