//! From a start request to the two agents of a container: one that keeps Apptainer, one inside.
//!
//! ```text
//!  runner ──▶ agent (init of a process namespace, with the pod's mounts) ──▶ apptainer ──▶ agent inside ──▶ process
//!    └──────────────────────── channel: everything of the manifest ─────────────────────────┘
//! ```

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_host_launcher::parts::{
    self, DEFAULT_PATH, Identity, InsideTask, Kept, Pod, ProcessTask, Start, cpus, marks, memory_directory, refused,
};
use outrigger_launcher::{StartError, StartRequest, label};
use outrigger_pod_core::plan::ContainerPlan;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::geteuid;

use crate::capabilities;
use crate::command::{Command, Writable, environment};
use crate::view::{self, Layout};

/// The memory volume that takes what containers write beside their volumes. No volume of a manifest has such a name.
pub const WRITABLE: &str = ".writable";

/// What an image runs when the manifest names no command.
const ENTRY_POINT: &str = "/.singularity.d/runscript";

/// What of this machine is used.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `apptainer` or `singularity`.
    pub program: &'a Path,
    /// Our executable.
    pub agent: &'a Path,
    /// The image's file or directory.
    pub image: &'a Path,
    /// Takes what Apptainer says.
    pub said: BorrowedFd<'a>,
    /// Whether Apptainer is asked for a process namespace where this process can make none itself: an Apptainer that is
    /// installed with more rights than its users have may have one.
    pub try_namespace: bool,
}

/// What is launched for a container.
pub fn start(
    parts: Parts<'_>,
    pod: &Pod,
    request: &StartRequest,
    container: &ContainerPlan,
    stdio: [OwnedFd; 3],
) -> Result<Start, StartError> {
    let failed =
        |error: io::Error| refused(format!("cannot prepare the start of container {}: {error}", container.name));
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    let said = Arc::new(parts.said.try_clone_to_owned().map_err(failed)?);
    let process = process(pod, request, container)?;
    let Layout { view, binds, links } = layout(parts.agent, pod, request, failed)?;
    let command = Command {
        user_namespace: pod.abilities.user_namespace,
        process_namespace: may_have_namespace(pod, request) && (pod.abilities.process_namespace || parts.try_namespace),
        writable: writable(pod, request, container).map_err(failed)?,
        capabilities: geteuid().is_root().then(|| capabilities::kept(&container.security)),
        binds,
        image: parts.image.display().to_string(),
    };
    let keeper = ProcessTask {
        argv: command.argv(parts.program),
        env: environment(text_variables(), &pod.files()).into_iter().chain(marks(pod, request)).collect(),
        directory: Some("/".to_owned()),
        stdio: [0, 1, 2],
        cpus: process.cpus.clone(),
        ..ProcessTask::default()
    };
    let kept = Kept {
        process: keeper,
        stdio: [Arc::new(theirs), Arc::clone(&said), said],
        view,
        // Apptainer looks for its own processes in `/proc`, which must then be that of their namespace.
        process_namespace: pod.abilities.process_namespace && pod.abilities.fresh_proc && !pod.shares_processes(),
    };
    let inside = InsideTask { process, defaults: defaults(pod, container), links };
    Ok(Start::new(pod, request, kept)?.with_inside(ours, inside, stdio))
}

/// The variables of this process that are text.
pub fn text_variables() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    std::env::vars_os().filter_map(move |(name, value)| Some((text(name)?, text(value)?)))
}

fn layout(
    agent: &Path,
    pod: &Pod,
    request: &StartRequest,
    failed: impl FnOnce(io::Error) -> StartError,
) -> Result<Layout, StartError> {
    let view = parts::view(pod, request)?;
    if !pod.abilities.mount_namespace {
        return view::direct(view, agent);
    }
    let stage = pod.files().join("mounts").join(label(&request.instance));
    fs::create_dir_all(&stage).map_err(failed)?;
    Ok(view::staged(view, agent, &stage))
}

/// Whether only Apptainer could give the container a process namespace that it is to have.
pub fn hopes_for_namespace(pod: &Pod, request: &StartRequest) -> bool {
    may_have_namespace(pod, request) && !pod.abilities.process_namespace
}

/// Unless it shares that of its pod, or the machine's (`hostPID`).
fn may_have_namespace(pod: &Pod, request: &StartRequest) -> bool {
    let host_pid = request.plan.pod.spec.as_ref().and_then(|spec| spec.host_pid);
    !pod.shares_processes() && host_pid != Some(true)
}

/// How the image's files can be written over.
fn writable(pod: &Pod, request: &StartRequest, container: &ContainerPlan) -> io::Result<Option<Writable>> {
    if container.security.read_only_root {
        return Ok(None);
    }
    let Some(outside) = writable_directory(pod, request) else { return Ok(Some(Writable::Tmpfs)) };
    fs::create_dir_all(&outside)?;
    let inside = memory_directory(&pod.directory, WRITABLE).join(label(&request.instance));
    Ok(Some(Writable::Directory(inside.display().to_string())))
}

/// Where this process finds what a container has written, if there is such a place.
pub fn writable_directory(pod: &Pod, request: &StartRequest) -> Option<PathBuf> {
    Some(pod.prepared.memory_volumes.get(WRITABLE)?.join(label(&request.instance)))
}

fn process(pod: &Pod, request: &StartRequest, container: &ContainerPlan) -> Result<ProcessTask, StartError> {
    let mut env = request.env.clone();
    let mut argv = request.command.clone();
    if argv.is_empty() {
        argv.push(ENTRY_POINT.to_owned());
        // By these the scripts that Apptainer makes of an entry point leave arguments as they are.
        env.extend(["APPTAINER_NO_EVAL", "SINGULARITY_NO_EVAL"].map(|name| (name.to_owned(), "1".to_owned())));
    }
    argv.extend(request.args.iter().cloned());
    env.extend(marks(pod, request));
    Ok(ProcessTask {
        argv,
        env,
        directory: Some(request.working_dir.clone().unwrap_or_else(|| "/".to_owned())),
        stdio: [0, 1, 2],
        terminal: container.tty,
        identity: identity(pod, request, container)?,
        cpus: cpus(request)?,
    })
}

/// As under the host launcher; but an ordinary user has no capabilities in the container that could be dropped.
fn identity(pod: &Pod, request: &StartRequest, container: &ContainerPlan) -> Result<Identity, StartError> {
    let mut identity = parts::identity(&pod.abilities, &request.plan, container)?;
    if !geteuid().is_root() && !identity.by_namespace {
        identity.drop.clear();
    }
    Ok(identity)
}

/// What every process has below the image's environment and the manifest's.
fn defaults(pod: &Pod, container: &ContainerPlan) -> Vec<(String, String)> {
    let mut defaults = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", pod.hostname.as_str())];
    if container.tty {
        defaults.push(("TERM", "xterm"));
    }
    defaults.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
