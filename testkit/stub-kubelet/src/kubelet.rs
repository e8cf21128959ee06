//! The handle that a test holds: what the kubelet is told, and what it is seen to do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_kubelet_api::LOCALHOST;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::admission::{AdmissionError, Admitted, PodRequest, Reuse};
use crate::register::OnRegister;
use crate::run::Run;
use crate::view::View;

/// How long [`StubKubelet::until`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a kubelet is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its device-plugins directory.
    pub directory: PathBuf,
    /// Where it serves `PodResources`; not at all where `None`.
    pub pod_resources: Option<PathBuf>,
    /// Whether the end of one client's stream disconnects whoever is known under the same resource.
    pub overlap_bug: bool,
    /// How long after `bind` it listens.
    pub listen_pause: Duration,
    /// The `:authority` that it sends to plugins: a URI's authority. A percent-encoded path, as a kubelet's plugin watcher
    /// sends it, cannot be sent by this client; every dial then fails.
    pub authority: String,
    /// Decides the order of ids where a kubelet's is by chance.
    pub seed: u64,
}

/// A kubelet without a node. Dropping it is a kill -9.
#[derive(Debug)]
pub struct StubKubelet {
    settings: Arc<Settings>,
    run: Option<Run>,
}

/// What outlives the process: what the test has set, and what it sees.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) view: watch::Sender<View>,
    pub(crate) reading: watch::Sender<bool>,
    on_register: Mutex<OnRegister>,
    /// By uid, as the API server would tell them.
    pods: Mutex<BTreeMap<String, Known>>,
}

/// What is known of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The containers that end before the others start.
    pub(crate) init: BTreeSet<String>,
}

/// The kubelet could not serve its directory.
#[derive(Debug, Error)]
#[error("the stub kubelet cannot serve {}", .directory.display())]
pub struct StartError {
    /// The directory.
    pub directory: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl Options {
    /// A kubelet as it should be, at this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            pod_resources: None,
            overlap_bug: false,
            listen_pause: Duration::ZERO,
            authority: LOCALHOST.to_owned(),
            seed: 0,
        }
    }
}

impl Settings {
    pub(crate) fn on_register(&self) -> OnRegister {
        self.on_register.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn pods(&self) -> BTreeMap<String, Known> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StubKubelet {
    /// A kubelet that does not run yet.
    pub fn new(options: Options) -> Self {
        let settings = Settings {
            options,
            view: watch::Sender::default(),
            reading: watch::Sender::new(true),
            on_register: Mutex::default(),
            pods: Mutex::default(),
        };
        Self { settings: Arc::new(settings), run: None }
    }

    /// A kubelet that runs.
    pub async fn started(options: Options) -> Result<Self, StartError> {
        let mut kubelet = Self::new(options);
        kubelet.start().await?;
        Ok(kubelet)
    }

    /// Starts it: reads its checkpoint, wipes sockets, binds, listens. If it runs already it is killed first.
    pub async fn start(&mut self) -> Result<(), StartError> {
        self.kill().await;
        let failed = |source| StartError { directory: self.settings.options.directory.clone(), source };
        self.run = Some(Run::start(&self.settings).await.map_err(failed)?);
        Ok(())
    }

    /// Kills it: all its connections end at once; its socket file and its checkpoint stay.
    pub async fn kill(&mut self) {
        if let Some(run) = self.run.take() {
            run.end().await;
        }
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.start().await
    }

    /// Serves a new `kubelet.sock`, without a wipe and without ending any stream.
    pub async fn replace_socket(&self) -> Result<(), StartError> {
        let failed = |source| StartError { directory: self.settings.options.directory.clone(), source };
        match &self.run {
            Some(run) => run.replace_socket().await.map_err(failed),
            None => Err(failed(io::Error::other("it does not run"))),
        }
    }

    /// What `Register` does from now on, also after a restart.
    pub fn on_register(&self, on_register: OnRegister) {
        *self.settings.on_register.lock().unwrap_or_else(PoisonError::into_inner) = on_register;
    }

    /// Whether lists are read. While they are not, a plugin that goes on sending fills the connection's window of 64 KiB.
    pub fn read_lists(&self, reading: bool) {
        self.settings.reading.send_replace(reading);
    }

    /// Ends all streams of a resource from the kubelet's side.
    pub fn close_streams(&self, resource: &str) {
        if let Some(run) = &self.run {
            run.life.manager.close_streams(resource);
        }
    }

    /// Sets the kubelet's clock forward, and lets it forget resources whose grace of five minutes is over.
    pub fn advance(&self, time: Duration) {
        if let Some(run) = &self.run {
            run.life.manager.lock().ahead += time;
            run.life.manager.forget_expired();
        }
    }

    /// The sockets of the plugins of a resource whose lists are read now.
    pub fn sockets(&self, resource: &str) -> Vec<PathBuf> {
        self.run.as_ref().map(|run| run.life.manager.sockets(resource)).unwrap_or_default()
    }

    /// What it knows now.
    pub fn view(&self) -> View {
        self.settings.view.borrow().clone()
    }

    /// What it knows, to be watched.
    pub fn views(&self) -> watch::Receiver<View> {
        self.settings.view.subscribe()
    }

    /// Waits until what it knows is so, and returns it; gives up with a panic after a minute.
    ///
    /// # Panics
    ///
    /// If it does not become so: the text says what it knew instead.
    #[expect(clippy::panic, reason = "the failure of a test is a panic")]
    pub async fn until(&self, is_so: impl FnMut(&View) -> bool) -> View {
        let mut views = self.views();
        match timeout(PATIENCE, views.wait_for(is_so)).await {
            Ok(Ok(view)) => view.clone(),
            Ok(Err(_)) | Err(_) => panic!("in vain: {:#?}", self.view()),
        }
    }

    /// Admits a pod: allocates for each container in turn; an error leaves nothing held.
    pub async fn admit(&self, pod: &PodRequest) -> Result<BTreeMap<String, Admitted>, AdmissionError> {
        let life = &self.run.as_ref().ok_or(AdmissionError::NoKubelet)?.life;
        let init = pod.containers.iter().filter(|container| container.reuse == Reuse::Leaves);
        let init = init.map(|container| container.name.clone()).collect();
        let known = Known { namespace: pod.namespace.clone(), name: pod.name.clone(), init };
        let pods = || self.settings.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods().insert(pod.uid.clone(), known);
        let admitted = life.admit(pod).await;
        if admitted.is_err() {
            // It has failed, and is no active pod.
            pods().remove(&pod.uid);
        }
        admitted
    }

    /// Starts a container of an admitted pod, or starts it again: the answer is the cached one.
    pub async fn start_container(&self, pod: &str, container: &str) -> Result<Admitted, AdmissionError> {
        self.run.as_ref().ok_or(AdmissionError::NoKubelet)?.life.start_container(pod, container).await
    }

    /// A pod has ended: its devices are free.
    pub fn remove_pod(&self, pod: &str) {
        self.settings.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
        if let Some(run) = &self.run {
            run.life.forget(pod);
        }
    }
}
