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

mod driver;
mod mounts;
mod name_files;
mod spec;
mod stdio;
mod sweep;
mod sys;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use outrigger_pod_core::life::{Exit, Found, Instance, PodAddresses, StartProblem};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};

use crate::agent::wire::{
    Abilities, Ended, Failure, HoldTask, Join, PodTask, ProcessTask, Report, Request, Step, Task,
};
use crate::launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, LaunchError, Launcher, MemoryVolume, Output,
    PodRequest, PreparedPod, Running, Shortfall, StartError, StartRequest, Terminal, Usage,
};
use driver::{Driver, Launched, Link};

pub use sweep::{MARK, sweep};

use stdio::{AsyncFile, Screen, Stdio};

/// The launcher `host`.
#[derive(Debug)]
pub struct HostLauncher {
    driver: Driver,
    abilities: Abilities,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    containers: Mutex<HashMap<ContainerId, Arc<Container>>>,
}

/// A prepared pod.
#[derive(Debug)]
struct Pod {
    directory: PathBuf,
    hostname: String,
    prepared: PreparedPod,
    namespaces: Namespaces,
}

/// The namespaces that the containers of a pod share, and the roots of its memory volumes.
#[derive(Debug, Default)]
struct Namespaces {
    user: Option<Arc<OwnedFd>>,
    mount: Option<Arc<OwnedFd>>,
    ipc: Option<Arc<OwnedFd>>,
    process: Option<Arc<OwnedFd>>,
    /// The init of the shared process namespace.
    holder: Option<Link>,
    memory_volumes: Vec<(String, OwnedFd)>,
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
}

impl Pod {
    /// The launcher's own files.
    fn files(&self) -> PathBuf {
        files(&self.directory)
    }

    /// An empty directory in which a container's new root can be put together.
    fn staging(&self) -> PathBuf {
        staging(&self.directory)
    }
}

impl HostLauncher {
    /// A launcher whose agents are this executable; its `main` must begin with [`crate::agent::dispatch`].
    pub fn new() -> io::Result<Self> {
        Self::with_agent(PathBuf::from("/proc/self/exe"))
    }

    /// A launcher whose agents are `executable`. Finds out what this machine allows, which takes some milliseconds.
    pub fn with_agent(executable: PathBuf) -> io::Result<Self> {
        let driver = Driver::start(executable)?;
        let (sender, answer) = std::sync::mpsc::channel();
        driver.launch_with(Task::Probe, Vec::new(), None, move |outcome| drop(sender.send(outcome)));
        let launched = answer.recv().map_err(io::Error::other)?;
        let abilities = match launched.map_err(|failure| io::Error::other(failure.text()))?.report {
            Report::Probed(abilities) => abilities,
            _ => return Err(io::Error::other("the agent does not answer as one: is the executable another program?")),
        };
        Ok(Self { driver, abilities, pods: Mutex::default(), containers: Mutex::default() })
    }

    /// The launcher as on a machine that allows no namespaces: a keeper holds each container together.
    #[must_use]
    pub fn without_namespaces(self) -> Self {
        let refusals = vec!["namespaces are not wanted".to_owned()];
        Self { abilities: Abilities { refusals, ..Abilities::default() }, ..self }
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

    async fn make_namespaces(&self, request: &PodRequest) -> Result<Namespaces, LaunchError> {
        if !self.abilities.mount_namespace {
            return Ok(Namespaces::default());
        }
        let volumes = memory_directories(request)?;
        let staging = staging(&request.directory);
        make_directory(&staging)?;
        let task = PodTask {
            user_namespace: self.abilities.user_namespace,
            ipc_namespace: self.abilities.ipc_namespace,
            memory_volumes: volumes,
            staging: staging.display().to_string(),
            placeholders: placeholders(&request.plan),
        };
        let launched = self.driver.launch(Task::Pod(task), Vec::new(), None).await.map_err(machine)?;
        let mut namespaces = self.sort_descriptors(launched, &request.memory_volumes);
        if request.plan.share_process_namespace && self.abilities.process_namespace {
            self.hold_processes(&mut namespaces).await?;
        }
        Ok(namespaces)
    }

    fn sort_descriptors(&self, launched: Launched, volumes: &[MemoryVolume]) -> Namespaces {
        let mut descriptors = launched.descriptors.into_iter();
        let mut next = |wanted: bool| if wanted { descriptors.next().map(Arc::new) } else { None };
        let (user, mount) = (next(self.abilities.user_namespace), next(true));
        let ipc = next(self.abilities.ipc_namespace);
        let memory_volumes = volumes.iter().map(|volume| volume.name.clone()).zip(descriptors).collect();
        Namespaces { user, mount, ipc, memory_volumes, ..Namespaces::default() }
    }

    async fn hold_processes(&self, namespaces: &mut Namespaces) -> Result<(), LaunchError> {
        let mut descriptors = Vec::new();
        let join = Join { user: spec::slot(&mut descriptors, namespaces.user.as_ref()), ..Join::default() };
        let task = Task::Hold(HoldTask { join });
        let launched = self.driver.launch(task, descriptors, None).await.map_err(machine)?;
        namespaces.process = launched.descriptors.into_iter().next().map(Arc::new);
        namespaces.holder = launched.link;
        Ok(())
    }

    async fn prepare_pod(&self, request: PodRequest) -> Result<PreparedPod, LaunchError> {
        if let Some(pod) = self.pods().get(&request.plan.uid) {
            return Ok(pod.prepared.clone());
        }
        let addresses = addresses(request.pod_ip);
        write_name_files(&request, &addresses)?;
        let namespaces = self.make_namespaces(&request).await?;
        let memory_volumes: BTreeMap<_, _> = namespaces
            .memory_volumes
            .iter()
            .map(|(name, root)| (name.clone(), PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()))))
            .collect();
        let prepared = PreparedPod { addresses, memory_volumes };
        let PodRequest { plan, directory, hostname, .. } = request;
        let pod = Pod { directory, hostname, prepared: prepared.clone(), namespaces };
        self.pods().insert(plan.uid.clone(), Arc::new(pod));
        Ok(prepared)
    }

    async fn start_container(&self, request: StartRequest) -> Result<Running, StartError> {
        let create = |message: String| StartError { problem: StartProblem::Create, message, exit_code: None };
        let pod = self.pods().get(&request.plan.uid).cloned();
        let pod = pod.ok_or_else(|| create(format!("pod {} is not prepared", request.plan.name)))?;
        let Some(container) = request.container() else {
            return Err(create(format!("the pod has no container {}", request.instance.container)));
        };
        let stdio = stdio_of(container).map_err(|error| create(format!("cannot make pipes: {error}")))?;
        let Stdio { theirs, stdin, stdout, stderr, terminal } = stdio;
        let (task, descriptors) = spec::container(&self.abilities, &pod, &request, theirs)?;
        let process = task.process.clone();
        let launched = self.driver.launch(Task::Container(Box::new(task)), descriptors, None).await;
        let started_at = Timestamp::now();
        let link = launched.map_err(start_error)?.link;
        let link = link.ok_or_else(|| create("the container's init did not stay".to_owned()))?;
        let id =
            ContainerId(format!("{}.{}.{}", request.plan.uid, request.instance.container, request.instance.attempt));
        let stdin = stdin.map(AsyncFile::new).transpose();
        let stdin = stdin.map_err(|error| create(format!("cannot use the stdin pipe: {error}")))?;
        let ended = ended(link.ended.clone());
        let (uid, instance) = (request.plan.uid.clone(), request.instance);
        let container = Container { uid, instance, started_at, link, process };
        self.containers().insert(id.clone(), Arc::new(container));
        Ok(Running {
            id,
            started_at,
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
                Box::pin(async move {
                    let ended = ended.await;
                    drop(command);
                    // Without a word it went down with its container.
                    Ok(ended.map_or(128 + libc::SIGKILL, |ended| ended.code))
                })
            }
            Err(failure) if failure.step == Step::Exec => Box::pin(std::future::ready(Ok(exec_code(failure.errno)))),
            Err(failure) => return Err(machine(failure)),
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

    fn shortfalls(&self, _plan: &PodPlan) -> Vec<Shortfall> {
        Vec::new()
    }

    fn prepare<'a>(&'a self, request: PodRequest) -> BoxFuture<'a, Result<PreparedPod, LaunchError>> {
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
            if let Some(pod) = pod {
                let directory = pod.files();
                drop(pod);
                remove_directory(&directory)?;
            }
            Ok(())
        })
    }

    fn pull<'a>(&'a self, _container: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(std::future::ready(Ok(Image { id: String::new(), fetched: None })))
    }

    fn start<'a>(&'a self, request: StartRequest) -> BoxFuture<'a, Result<Running, StartError>> {
        Box::pin(self.start_container(request))
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
        Box::pin(async move { self.running(id).map(|_| Usage::default()) })
    }

    fn list<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>> {
        let found = self.containers().iter().filter(|(_, container)| container.uid == uid).map(found).collect();
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn found((id, container): (&ContainerId, &Arc<Container>)) -> Found {
    let ended = *container.link.ended.borrow();
    Found {
        instance: container.instance.clone(),
        id: id.0.clone(),
        started_at: container.started_at,
        exit: ended.map(|ended| (exit_of(ended), String::new())),
    }
}

async fn ended(mut ended: tokio::sync::watch::Receiver<Option<Ended>>) -> Exit {
    let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| *end);
    exit_of(end.unwrap_or(Ended { code: 128 + libc::SIGKILL, signal: Some(libc::SIGKILL) }))
}

fn exit_of(ended: Ended) -> Exit {
    let Ended { code, signal } = ended;
    Exit { code, signal, out_of_memory: false, started_at: None, finished_at: None }
}

fn stdio_of(container: &ContainerPlan) -> io::Result<Stdio> {
    if container.tty { Stdio::terminal(container.stdin, None) } else { Stdio::pipes(container.stdin) }
}

fn addresses(pod_ip: Option<std::net::IpAddr>) -> PodAddresses {
    let mut host = outrigger_host::default_addresses();
    if host.is_empty() {
        host.push(std::net::Ipv4Addr::LOCALHOST.into());
    }
    PodAddresses { pod: pod_ip.map_or_else(|| host.clone(), |ip| vec![ip]), host }
}

/// Makes the directories over which memory volumes are mounted; answers them with the volumes' limits.
fn memory_directories(request: &PodRequest) -> Result<Vec<(String, Option<u64>)>, LaunchError> {
    let mut directories = Vec::new();
    for volume in &request.memory_volumes {
        let directory = memory_directory(&request.directory, &volume.name);
        make_directory(&directory)?;
        directories.push((directory.display().to_string(), volume.size_limit));
    }
    Ok(directories)
}

/// Where a memory volume lies in the pod's mount namespace.
fn memory_directory(pod: &Path, volume: &str) -> PathBuf {
    files(pod).join("memory").join(volume)
}

fn files(pod: &Path) -> PathBuf {
    pod.join("launcher")
}

fn staging(pod: &Path) -> PathBuf {
    files(pod).join("root")
}

fn make_directory(directory: &Path) -> Result<(), LaunchError> {
    fs::create_dir_all(directory)
        .map_err(|source| LaunchError::Machine { what: format!("cannot make {}", directory.display()), source })
}

/// Files that containers will have something bound over. Where one is missing (`/dev/termination-log` usually), its
/// directory is covered once for the pod rather than for each container.
fn placeholders(plan: &PodPlan) -> Vec<String> {
    let mut paths: Vec<String> = plan.containers.iter().map(|container| container.message_path.clone()).collect();
    paths.sort_unstable();
    paths.dedup();
    // Elsewhere a mount of the container may lie over it.
    paths.retain(|path| path.starts_with("/dev/"));
    paths
}

/// Writes the pod's `/etc/hosts`, and its `/etc/resolv.conf` where it differs from the machine's.
fn write_name_files(request: &PodRequest, addresses: &PodAddresses) -> Result<(), LaunchError> {
    let directory = files(&request.directory);
    make_directory(&directory)?;
    let Some(spec) = &request.plan.pod.spec else { return Ok(()) };
    // A machine without these files has nothing to add to them.
    let machine = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let hosts = name_files::hosts(spec, &request.hostname, &addresses.pod, &machine("/etc/hosts"));
    let mut texts = vec![("hosts", hosts)];
    texts.extend(name_files::resolv_conf(spec, &machine("/etc/resolv.conf")).map(|text| ("resolv.conf", text)));
    for (name, text) in texts {
        let path = directory.join(name);
        fs::write(&path, text)
            .map_err(|source| LaunchError::Machine { what: format!("cannot write {}", path.display()), source })?;
    }
    Ok(())
}

fn remove_directory(directory: &Path) -> Result<(), LaunchError> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LaunchError::Machine { what: format!("cannot remove {}", directory.display()), source })
        }
        _ => Ok(()),
    }
}

fn machine(failure: Failure) -> LaunchError {
    LaunchError::Machine { source: io::Error::from_raw_os_error(failure.errno), what: failure.what }
}

fn start_error(failure: Failure) -> StartError {
    let message = failure.text();
    match failure.step {
        Step::Prepare => StartError { problem: StartProblem::Create, message, exit_code: None },
        Step::Exec => StartError { problem: StartProblem::Exec, message, exit_code: Some(exec_code(failure.errno)) },
    }
}

/// What a shell answers for a command that was not found (127) or could not be executed (126).
fn exec_code(errno: i32) -> i32 {
    if errno == libc::ENOENT { 127 } else { 126 }
}
