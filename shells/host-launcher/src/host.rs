//! The launcher `host`: containers are processes of this machine, in namespaces of their own.
//!
//! ```text
//!  prepare ──▶ pod: user namespace (not root), mount namespace with memory volumes, IPC namespace; all held as descriptors
//!     └─ start ──▶ agent (init, keeper) ──▶ process        one mount, process and UTS namespace per container
//! ```
//!
//! The container sees this machine's real files with the user's rights; volumes appear at their mount paths. The image is
//! not used. Nothing outlives this process: agents die with it (see [`crate::agent`]), and namespaces with their last
//! descriptor.
//!
//! What it does not do: it keeps nothing over a restart, because there is nothing to keep.

mod connection;
mod driver;
mod limits;
pub(crate) mod mounts;
mod name_files;
pub(crate) mod pod;
pub(crate) mod security;
mod shortfalls;
pub(crate) mod spec;
mod stdio;
mod sweep;
mod sys;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use outrigger_host::{Cgroup, CgroupError, Cgroups, kernel};
use outrigger_launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, ImageState, LaunchError, Launcher, Output,
    PodRequest, PreparedPod, Running, Shortfall, StartError, StartRequest, Terminal, Usage,
};
use outrigger_pod_core::life::{Exit, Found, Instance, StartProblem};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::agent::wire::{
    Abilities, Channel, ContainerTask, Ended, Failure, InsideTask, ProcessTask, Report, Request, Step, Task,
};
use driver::{Driver, End, Inside, Launch, Link};
use pod::Pod;
use spec::Kept;
use stdio::{AsyncFile, Screen, Stdio};

pub use spec::commands;
pub use sweep::{MARK, sweep};

/// What stands for the image of a container that uses none.
const NO_IMAGE: Image = Image { id: String::new(), size: 0 };

/// Up to so many containers, each gets a wide pipe for its output.
const FEW: usize = 16;

/// The launcher `host`.
#[derive(Debug)]
pub struct HostLauncher {
    driver: Driver,
    abilities: Abilities,
    cgroups: Cgroups,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    containers: Mutex<HashMap<ContainerId, Arc<Container>>>,
}

/// A container that was started.
#[derive(Debug)]
struct Container {
    uid: String,
    instance: Instance,
    started_at: Timestamp,
    link: Link,
    /// What a command in it starts with: environment, directory, identity.
    process: ProcessTask,
    group: Option<Cgroup>,
}

/// What is started for a container, and what a command in it starts with.
#[derive(Debug)]
pub struct Start {
    /// Its agents.
    launch: Launch,
    /// Environment, directory and identity of commands.
    process: ProcessTask,
}

impl Start {
    /// One agent, which keeps `process`: that of the container, or a program that makes the container.
    pub fn new(pod: &Pod, request: &StartRequest, kept: Kept) -> Result<Self, StartError> {
        let process = kept.process.clone();
        let (task, descriptors) = spec::keep(pod, request, kept)?;
        Ok(Self { launch: Launch::new(Task::Container(Box::new(task)), descriptors), process })
    }

    /// With a second agent inside the container that the first one's process makes. It is the one that is spoken to, over
    /// `socket`, whose other end is its stdin; `task` says which process it starts, with this stdio, and commands start as
    /// that process does.
    #[must_use]
    pub fn with_inside(self, socket: OwnedFd, task: InsideTask, stdio: [OwnedFd; 3]) -> Self {
        let process = task.process.clone();
        let inside = Inside { channel: Channel::new(socket), task, descriptors: stdio.map(Arc::new).into() };
        Self { launch: Launch { inside: Some(inside), ..self.launch }, process }
    }
}

impl HostLauncher {
    /// A launcher whose agents are this executable; its `main` must begin with [`agent::dispatch`](crate::agent::dispatch).
    pub fn new() -> io::Result<Self> {
        Self::with_agent(PathBuf::from("/proc/self/exe"))
    }

    /// A launcher whose agents are `executable`. Finds out what this machine allows, which takes some milliseconds.
    ///
    /// # Errors
    /// A kernel on which no process can be held, told with its release and the one that is needed; an executable that is no
    /// agent.
    pub fn with_agent(executable: PathBuf) -> io::Result<Self> {
        // Without this call the end of an agent would never be heard.
        pidfd_open(getpid(), PidfdFlags::empty())
            .map_err(|error| io::Error::other(format!("pidfd_open: {}", kernel::explained(error))))?;
        let driver = Driver::start(executable)?;
        let (sender, answer) = std::sync::mpsc::channel();
        driver.launch_with(Launch::new(Task::Probe, Vec::new()), move |outcome| drop(sender.send(outcome)));
        let launched = answer.recv().map_err(io::Error::other)?;
        let report = launched.map_err(|failure| io::Error::other(failure.text()))?.report;
        let Report::Probed(abilities) = report else {
            return Err(io::Error::other("the agent does not answer as one: is the executable another program?"));
        };
        let cgroups = Cgroups::find(Path::new("/"));
        Ok(Self { driver, abilities, cgroups, pods: Mutex::default(), containers: Mutex::default() })
    }

    /// Whether containers stand in a user namespace: root needs none.
    pub fn uses_user_namespace(&self) -> bool {
        self.abilities.user_namespace
    }

    /// What of namespaces this machine refuses its user, for people; empty where all can be had.
    pub fn refusals(&self) -> &[String] {
        &self.abilities.refusals
    }

    /// The launcher as on a machine that allows no namespaces: a keeper holds each container together.
    #[must_use]
    pub fn without_namespaces(self) -> Self {
        let refusals = vec!["namespaces are not wanted".to_owned()];
        Self { abilities: Abilities { refusals, ..Abilities::default() }, ..self }
    }

    /// Runs a program that belongs to no pod, under a keeper that ends with this process; answers its exit code, or `None`
    /// where its keeper was ended.
    pub async fn run(&self, process: ProcessTask, stdio: [Arc<OwnedFd>; 3]) -> io::Result<Option<i32>> {
        let task = ContainerTask { process, ..ContainerTask::default() };
        let launched = self.driver.launch(Launch::new(Task::Container(Box::new(task)), stdio.into())).await;
        let link = launched.map_err(|failure| io::Error::other(failure.text()))?.link;
        let link = link.ok_or_else(|| io::Error::other("its process did not stay"))?;
        let mut ended = link.ended.clone();
        let end = ended.wait_for(Option::is_some).await;
        Ok(end.ok().and_then(|end| end.map(|end| end.how.code)))
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: &ContainerId) -> Result<Arc<Container>, LaunchError> {
        let container = self.containers().get(id).cloned();
        container
            .filter(|container| container.link.ended.borrow().is_none())
            .ok_or_else(|| LaunchError::Gone(id.clone()))
    }

    async fn prepare_pod(&self, request: PodRequest) -> Result<PreparedPod, LaunchError> {
        if let Some(pod) = self.pods().get(&request.plan.uid) {
            return Ok(pod.prepared.clone());
        }
        let uid = request.plan.uid.clone();
        let pod = Pod::prepare(&self.driver, &self.abilities, request).await?;
        let prepared = pod.prepared.clone();
        self.pods().insert(uid, Arc::new(pod));
        Ok(prepared)
    }

    /// The container's cgroup; none where none can be made, which `shortfalls` has told.
    fn group(&self, request: &StartRequest, container: &ContainerPlan) -> Result<Option<Cgroup>, StartError> {
        let limits = limits::limits(container, &request.claim);
        let name = format!("{}-{}", request.instance.container, request.instance.attempt);
        match self.cgroups.create(&limits::pod_group(&request.plan.uid), &name, &limits) {
            Ok(group) => Ok(Some(group)),
            Err(CgroupError::Unusable(_)) => Ok(None),
            // In doubt, a container with limits does not start without them.
            Err(error) if limits.cpu.is_some() || limits.memory.is_some() => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Err(spec::refused(format!(
                    "the limits of container {} cannot be set: {error}: {cause}",
                    container.name
                )))
            }
            Err(error) => {
                tracing::debug!(pod = %request.plan.name, container = %container.name, %error, "No cgroup");
                Ok(None)
            }
        }
    }

    /// Starts a container of a prepared pod, made of what `make` answers (given the container's stdin, stdout, stderr).
    pub async fn start_as(
        &self,
        request: StartRequest,
        make: impl FnOnce(&Pod, &StartRequest, &ContainerPlan, [OwnedFd; 3]) -> Result<Start, StartError>,
    ) -> Result<Running, StartError> {
        let create = |message: String| StartError::new(StartProblem::Create, message);
        let pod = self.pods().get(&request.plan.uid).cloned();
        let pod = pod.ok_or_else(|| create(format!("pod {} is not prepared", request.plan.name)))?;
        let Some(container) = request.container() else {
            return Err(create(format!("the pod has no container {}", request.instance.container)));
        };
        let stdio = stdio_of(container).map_err(|error| create(format!("cannot make pipes: {error}")))?;
        if request.plan.containers.len() <= FEW {
            stdio.widen();
        }
        let Stdio { theirs, stdin, stdout, stderr, terminal } = stdio;
        let Start { launch, process } = make(&pod, &request, container, theirs)?;
        let group = self.group(&request, container)?;
        let launch = match &group {
            Some(group) => {
                launch.within(group.clone()).map_err(|error| create(format!("cannot use its cgroup: {error}")))?
            }
            None => launch,
        };
        let launched = self.driver.launch(launch).await;
        let started_at = Timestamp::now();
        let id = container_id(&request);
        let link = launched.map_err(|failure| start_error(&failure, id.clone()))?.link;
        let link = link.ok_or_else(|| create("the container's init did not stay".to_owned()))?;
        let stdin = stdin.map(AsyncFile::new).transpose();
        let stdin = stdin.map_err(|error| create(format!("cannot use the stdin pipe: {error}")))?;
        let may_leave = (!pod.abilities.process_namespace).then(|| id.clone());
        let ended = ended(link.ended.clone(), may_leave);
        let user = Some(security::linux_user(&self.abilities, &process.identity));
        let (uid, instance) = (request.plan.uid.clone(), request.instance);
        let container = Container { uid, instance, started_at, link, process, group };
        self.containers().insert(id.clone(), Arc::new(container));
        Ok(Running {
            id,
            started_at,
            user,
            output: Output::Pipes { stdout, stderr },
            stdin: stdin.map(|stdin| Box::new(stdin) as _),
            terminal: terminal.map(|main| Arc::new(Screen(main)) as Arc<dyn Terminal>),
            ended: Box::pin(ended),
        })
    }

    async fn exec_in(&self, id: &ContainerId, request: ExecRequest) -> Result<ExecSession, LaunchError> {
        let container = self.running(id)?;
        let failed = |source| LaunchError::Machine { what: "cannot make pipes for a command".to_owned(), source };
        let stdio = match request.terminal {
            Some(size) => Stdio::terminal(request.stdin, Some(size)),
            None => Stdio::pipes(request.stdin),
        };
        let Stdio { theirs, stdin, stdout, stderr, terminal } = stdio.map_err(failed)?;
        let process = ProcessTask {
            argv: request.command,
            stdio: [0, 1, 2],
            terminal: request.terminal.is_some(),
            ..container.process.clone()
        };
        let session = ExecSession {
            stdin: stdin.map(AsyncFile::new).transpose().map_err(failed)?.map(|stdin| Box::new(stdin) as _),
            stdout: Box::new(AsyncFile::new(stdout).map_err(failed)?),
            stderr: stderr.map(AsyncFile::new).transpose().map_err(failed)?.map(|stderr| Box::new(stderr) as _),
            terminal: terminal.map(|main| Arc::new(Screen(main)) as Arc<dyn Terminal>),
            ended: Box::pin(std::future::ready(Ok(0))),
        };
        let ended: BoxFuture<'static, _> = match container.link.exec(process, theirs.into()).await {
            Ok((number, ended)) => {
                let command = RunningCommand { number, link: container.link.clone() };
                let id = id.clone();
                Box::pin(async move {
                    let ended = ended.await;
                    drop(command);
                    // Without a word it went down with its container.
                    ended.map(|ended| ended.code).map_err(|_| LaunchError::Gone(id))
                })
            }
            Err(failure) if failure.step == Step::Exec => {
                let refused = LaunchError::NotExecuted { what: failure.text(), code: exec_code(failure.errno) };
                Box::pin(std::future::ready(Err(refused)))
            }
            // The container may have ended meanwhile.
            Err(failure) => return Err(self.running(id).err().unwrap_or_else(|| machine(failure))),
        };
        Ok(ExecSession { ended, ..session })
    }
}

/// Kills a command whose session is dropped. (One that has ended is unknown to the agent, which then does nothing.)
struct RunningCommand {
    number: u64,
    link: Link,
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        self.link.ask(Request::KillExec { id: self.number });
    }
}

impl Launcher for HostLauncher {
    fn name(&self) -> &'static str {
        "host"
    }

    fn shortfalls(&self, plan: &PodPlan) -> Vec<Shortfall> {
        shortfalls::shortfalls(&self.abilities, &self.cgroups, plan)
    }

    fn prepare(&self, request: PodRequest) -> BoxFuture<'_, Result<PreparedPod, LaunchError>> {
        Box::pin(self.prepare_pod(request))
    }

    fn remove<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let pod = self.pods().remove(uid);
            let mut ends = Vec::new();
            self.containers().retain(|_, container| {
                let stays = container.uid != uid;
                if !stays {
                    container.link.ask(Request::Stop { signal: libc::SIGKILL, grace: 0 });
                    ends.push(container.link.ended.clone());
                }
                stays
            });
            for mut end in ends {
                // A closed watch is an ended container too.
                let _ = end.wait_for(Option::is_some).await;
            }
            self.cgroups.remove_pod(&limits::pod_group(uid));
            // Nothing escapes a process namespace. Of a pod that another process prepared it is not known whether it had one.
            if pod.as_ref().is_none_or(|pod| !pod.abilities.process_namespace) {
                let uid = uid.to_owned();
                end_what_is_left(move || sweep(&uid)).await?;
            }
            pod.map_or(Ok(()), Pod::remove)
        })
    }

    fn image<'a>(&'a self, _container: &'a ContainerPlan) -> BoxFuture<'a, Result<ImageState, ImageError>> {
        Box::pin(std::future::ready(Ok(ImageState::Given(NO_IMAGE))))
    }

    fn pull<'a>(&'a self, _container: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(std::future::ready(Ok(NO_IMAGE)))
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'_, Result<Running, StartError>> {
        Box::pin(self.start_as(request, |pod, request, container, stdio| {
            Start::new(pod, request, spec::container(pod, request, container, stdio)?)
        }))
    }

    fn adopt<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Running, LaunchError>> {
        Box::pin(std::future::ready(Err(LaunchError::Gone(id.clone()))))
    }

    fn stop<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            if let Ok(container) = self.running(id) {
                let signal = spec::signal_number(signal).unwrap_or(libc::SIGTERM);
                let signal = if grace.is_zero() { libc::SIGKILL } else { signal };
                let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                container.link.ask(Request::Stop { signal, grace });
            }
            Ok(())
        })
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, Result<ExecSession, LaunchError>> {
        Box::pin(self.exec_in(id, request))
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Usage, LaunchError>> {
        Box::pin(async move {
            self.running(id).map(|container| limits::usage(container.group.as_ref(), container.link.pid))
        })
    }

    fn list<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>> {
        let found = self.containers().iter().filter(|(_, container)| container.uid == uid).map(found).collect();
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn found((id, container): (&ContainerId, &Arc<Container>)) -> Found {
    let end = *container.link.ended.borrow();
    Found {
        instance: container.instance.clone(),
        id: id.0.clone(),
        started_at: container.started_at,
        exit: end.map(|end| (exit_of(end), String::new())),
    }
}

/// The end of a container, once nothing of it is left: what a killed keeper leaves (`may_leave`) would else live beside the
/// container's next run.
async fn ended(mut ended: tokio::sync::watch::Receiver<Option<End>>, may_leave: Option<ContainerId>) -> Exit {
    let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    if let Some(id) = may_leave
        && let Err(error) = end_what_is_left(move || sweep::sweep_container(&id.0)).await
    {
        tracing::warn!("{:#}", anyhow::Error::new(error));
    }
    exit_of(end.unwrap_or_else(|| End::killed(libc::SIGKILL)))
}

fn container_id(request: &StartRequest) -> ContainerId {
    ContainerId(format!("{}.{}.{}", request.plan.uid, request.instance.container, request.instance.attempt))
}

fn exit_of(end: End) -> Exit {
    let End { how: Ended { code, signal }, out_of_memory, at } = end;
    Exit { code, signal, out_of_memory, started_at: None, finished_at: Some(at) }
}

/// Ends processes that no agent holds together any more.
async fn end_what_is_left(sweep: impl FnOnce() -> io::Result<Vec<u32>> + Send + 'static) -> Result<(), LaunchError> {
    let swept = tokio::task::spawn_blocking(sweep).await.unwrap_or_else(|lost| Err(io::Error::other(lost)));
    let failed = |source| LaunchError::Machine { what: "cannot end what is left of the pod".to_owned(), source };
    swept.map(drop).map_err(failed)
}

fn stdio_of(container: &ContainerPlan) -> io::Result<Stdio> {
    if container.tty { Stdio::terminal(container.stdin, None) } else { Stdio::pipes(container.stdin) }
}

fn machine(failure: Failure) -> LaunchError {
    let source = kernel::explained(io::Error::from_raw_os_error(failure.errno));
    LaunchError::Machine { source, what: failure.what }
}

fn start_error(failure: &Failure, id: ContainerId) -> StartError {
    let message = failure.text();
    match failure.step {
        Step::Prepare => StartError::new(StartProblem::Create, message),
        Step::Exec => {
            let exit_code = Some(exec_code(failure.errno));
            StartError { exit_code, id: Some(id), ..StartError::new(StartProblem::Exec, message) }
        }
    }
}

/// What a shell answers for a command that was not found (127) or could not be executed (126).
fn exec_code(errno: i32) -> i32 {
    if errno == libc::ENOENT { 127 } else { 126 }
}
