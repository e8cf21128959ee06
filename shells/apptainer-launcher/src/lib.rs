//! The launcher `apptainer`: containers with images, made by Apptainer or Singularity, also for an ordinary user.
//!
//! Everything around a container is the host launcher's: the pod's namespaces and memory volumes, cgroups, and an agent
//! that is the init of a process namespace. What that agent starts here is Apptainer, and what Apptainer starts in the
//! image is a second agent of ours, with a channel to this process as its stdin. Command, arguments, environment and
//! identity go over that channel, so none of them is in an argument or an environment of Apptainer, which would also
//! change them. When this process dies the first agent dies, and with it the process namespace in which Apptainer and all
//! it has started live.
//!
//! Read in this order: this file, with the launcher; `start.rs`, from a request to the two agents; `view.rs` and `command.rs`,
//! what Apptainer is told to bind and to run; then `store.rs`, where images are kept.
//!
//! What it does not do: of an image's own settings that Apptainer does not apply it takes `WORKDIR` and a numbered `USER`
//! (`defaults.rs`), and only out of SIF files; `STOPSIGNAL` it leaves.

mod capabilities;
mod command;
mod defaults;
mod image;
mod program;
mod said;
mod shortfalls;
mod sif;
mod start;
mod store;
mod view;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_host_launcher::HostLauncher;
use outrigger_launcher::{
    BoxFuture, ContainerId, ExecRequest, ExecSession, Image, ImageError, ImageState, LaunchError, Launcher,
    MemoryVolume, PodRequest, PreparedPod, Running, Shortfall, StartError, StartRequest, Usage,
};
use outrigger_pod_core::life::{Found, StartProblem};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};

use image::Reference;
pub use program::{Program, Unusable};
use said::Said;
use sif::{Config, Sif};
use start::{Parts, WRITABLE};
use store::Store;

/// The launcher `apptainer`.
#[derive(Debug)]
pub struct ApptainerLauncher {
    host: HostLauncher,
    program: PathBuf,
    agent: PathBuf,
    store: Store,
    /// Apptainer can make no process namespace here either.
    no_namespace: AtomicBool,
}

impl ApptainerLauncher {
    /// A launcher whose agents are this executable; its `main` must begin with [`outrigger_host_launcher::agent::dispatch`]. Images of
    /// registries are kept in `images`.
    pub fn new(program: Program, images: PathBuf) -> io::Result<Self> {
        Self::with_agent(program, images, std::env::current_exe()?)
    }

    /// A launcher whose agents are `executable`, by absolute path: it is seen in every container.
    pub fn with_agent(program: Program, images: PathBuf, executable: PathBuf) -> io::Result<Self> {
        let Program { path, version: _ } = program;
        let host = HostLauncher::with_agent(executable.clone())?;
        let store = Store::new(images, path.clone());
        Ok(Self { host, program: path, agent: executable, store, no_namespace: AtomicBool::new(false) })
    }

    /// The launcher as on a machine that allows no namespaces but Apptainer's own.
    #[must_use]
    pub fn without_namespaces(self) -> Self {
        Self { host: self.host.without_namespaces(), ..self }
    }

    async fn prepare_pod(&self, mut request: PodRequest) -> Result<PreparedPod, LaunchError> {
        request.memory_volumes.push(MemoryVolume { name: WRITABLE.to_owned(), size_limit: None });
        // Nothing is bound over this machine's own `/dev`.
        let mut plan = (*request.plan).clone();
        for container in &mut plan.containers {
            container.message_path.clear();
        }
        request.plan = Arc::new(plan);
        let mut prepared = self.host.prepare(request).await?;
        prepared.memory_volumes.remove(WRITABLE);
        Ok(prepared)
    }

    async fn start_container(&self, request: StartRequest) -> Result<Running, StartError> {
        let Some(container) = request.container() else {
            return Err(create(format!("the pod has no container {}", request.instance.container)));
        };
        let image = Reference::parse(&container.image).map_err(|error| create(error.message))?;
        let image = self.store.path(&image);
        let request = match config(&image) {
            Some(config) => defaults::applied(request, &config),
            None => request,
        };
        let again = request.clone();
        let first = self.start_once(&image, request, !self.no_namespace.load(Ordering::Relaxed)).await;
        let (error, hoped) = match first {
            Ok(running) => return Ok(running),
            Err(refused) => refused,
        };
        if !hoped || error.problem != StartProblem::Create {
            return Err(error);
        }
        // What is wrong may be something else: then the second start says so too.
        let second = self.start_once(&image, again, false).await.map_err(|(error, _)| error)?;
        self.no_namespace.store(true, Ordering::Relaxed);
        Ok(second)
    }

    /// Starts a container. A failure comes with whether Apptainer was asked for a process namespace that this process
    /// cannot make.
    async fn start_once(
        &self,
        image: &Path,
        request: StartRequest,
        try_namespace: bool,
    ) -> Result<Running, (StartError, bool)> {
        let name = request.container().map(|container| container.image.clone()).unwrap_or_default();
        let said = Said::new().map_err(|error| (create(format!("cannot hear what apptainer says: {error}")), false))?;
        let is_entry_point = request.command.is_empty();
        let (mut written, mut hoped) = (None, false);
        let parts = Parts { program: &self.program, agent: &self.agent, image, said: said.as_fd(), try_namespace };
        let started = self.host.start_as(request, |pod, request, container, stdio| {
            written = start::writable_directory(pod, request);
            hoped = try_namespace && start::hopes_for_namespace(pod, request);
            start::start(parts, pod, request, container, stdio)
        });
        match started.await {
            Ok(running) => Ok(forgetting(running, written)),
            Err(error) => {
                forget(written.as_deref());
                Err((explained(error, &name, is_entry_point, &said), hoped))
            }
        }
    }
}

/// What an image says its containers start with. Of a file that cannot be read Apptainer says what is wrong.
fn config(image: &Path) -> Option<Config> {
    Some(Sif::read(image).ok()??.config)
}

fn create(message: String) -> StartError {
    StartError::new(StartProblem::Create, message)
}

/// The container with its end, at which what it wrote beside its volumes is removed.
fn forgetting(running: Running, written: Option<PathBuf>) -> Running {
    let ended = running.ended;
    let ended = Box::pin(async move {
        let exit = ended.await;
        forget(written.as_deref());
        exit
    });
    Running { ended, ..running }
}

/// Removes what a container wrote, which lies in memory. What cannot be removed goes with the pod.
fn forget(written: Option<&Path>) {
    let Some(directory) = written else { return };
    // The kernel's own directory in it is closed to everyone, its owner included.
    let _ = fs::set_permissions(directory.join("work/work"), fs::Permissions::from_mode(0o700));
    let _ = fs::remove_dir_all(directory);
}

/// A failure in words that say what was not possible with which image.
fn explained(error: StartError, image: &str, is_entry_point: bool, said: &Said) -> StartError {
    if error.problem == StartProblem::Exec && is_entry_point && error.exit_code == Some(127) {
        let message = format!("the image {image} names no command: give the container one");
        return StartError { message, ..error };
    }
    match command::complaint(&said.text()) {
        Some(complaint) if error.problem == StartProblem::Create => {
            StartError { message: format!("cannot start a container of the image {image}: {complaint}"), ..error }
        }
        _ => error,
    }
}

impl Launcher for ApptainerLauncher {
    fn name(&self) -> &'static str {
        "apptainer"
    }

    fn shortfalls(&self, plan: &PodPlan) -> Vec<Shortfall> {
        let config = |container: &ContainerPlan| config(&self.store.path(&Reference::parse(&container.image).ok()?));
        let (plan, mut all) = defaults::planned(plan, config);
        all.extend(shortfalls::shortfalls(&self.host, &plan));
        all
    }

    fn prepare(&self, request: PodRequest) -> BoxFuture<'_, Result<PreparedPod, LaunchError>> {
        Box::pin(self.prepare_pod(request))
    }

    fn remove<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        self.host.remove(uid)
    }

    fn image<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<ImageState, ImageError>> {
        let looked = Reference::parse(&container.image).map(|image| self.store.look(&image));
        Box::pin(std::future::ready(looked))
    }

    fn pull<'a>(&'a self, container: &'a ContainerPlan) -> BoxFuture<'a, Result<Image, ImageError>> {
        Box::pin(async move {
            let image = Reference::parse(&container.image)?;
            self.store.pull(&self.host, &image).await
        })
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'_, Result<Running, StartError>> {
        Box::pin(self.start_container(request))
    }

    fn adopt<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Running, LaunchError>> {
        self.host.adopt(id)
    }

    fn stop<'a>(
        &'a self,
        id: &'a ContainerId,
        signal: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), LaunchError>> {
        self.host.stop(id, signal, grace)
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        request: ExecRequest,
    ) -> BoxFuture<'a, Result<ExecSession, LaunchError>> {
        self.host.exec(id, request)
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Usage, LaunchError>> {
        self.host.usage(id)
    }

    fn list<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, Result<Vec<Found>, LaunchError>> {
        self.host.list(uid)
    }
}
