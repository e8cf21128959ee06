//! A node: a stub kubelet, and instances of a device plugin beside it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_device_plugin::{
    Allocation, Answers, BoxFuture, Choice, Device, DeviceList, DevicePlugin, Place, Refusal, Resource, ResourceName,
    ResourceState, SocketName,
};
use outrigger_host::Watches;
use outrigger_runtime::{TaskFailure, Tasks};
use outrigger_stub_kubelet::{ContainerRequest, Options, PodRequest, StubKubelet};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The resource of most tests.
pub const DISK: &str = "kubedev.org/sata";

/// A directory and a kubelet that serves it.
pub struct Node {
    pub directory: TempDir,
    pub kubelet: StubKubelet,
    pub watches: Watches,
}

/// A process that serves resources.
pub struct Instance {
    pub plugin: DevicePlugin,
    stop: CancellationToken,
    tasks: Tasks,
}

/// Answers every id with an environment variable that names it, and remembers what it was asked.
#[derive(Clone)]
pub struct Echo {
    asked: watch::Sender<Vec<String>>,
    /// Permits to answer; plenty unless a test takes them away.
    pub permits: Arc<Semaphore>,
    /// What it prefers, whatever is asked; the last ids where `None`.
    pub prefers: Arc<Mutex<Option<Vec<String>>>>,
}

/// A list that a test changes.
pub type Lists = watch::Sender<Arc<DeviceList>>;

impl Node {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(set: impl FnOnce(&mut Options)) -> Self {
        let mut node = Self::without_kubelet(set);
        node.kubelet.start().await.expect("the kubelet starts");
        node
    }

    pub fn without_kubelet(set: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut options = Options::new(directory.path());
        set(&mut options);
        Self { directory, kubelet: StubKubelet::new(options), watches: Watches::new() }
    }

    pub fn instance(&self) -> Instance {
        self.instance_at(Place::new(self.directory.path()))
    }

    pub fn instance_at(&self, place: Place) -> Instance {
        let (plugin, serving) = DevicePlugin::new(place, self.watches.clone());
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("device plugin", serving.run(stop.clone()));
        Instance { plugin, stop, tasks }
    }

    /// The sockets in the directory, without the kubelet's.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("the directory is there");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|end| end == "sock") && !path.ends_with("kubelet.sock"))
            .collect();
        paths.sort();
        paths
    }
}

impl Instance {
    /// Serves a resource with this many devices, and waits for nothing.
    pub async fn serve(&self, name: &str, count: usize) -> Lists {
        self.serve_with(name, count, |_| ()).await
    }

    pub async fn serve_with(&self, name: &str, count: usize, set: impl FnOnce(&mut Resource)) -> Lists {
        let (lists, mut resource) = resource(name, count);
        set(&mut resource);
        self.plugin.put(resource).await.expect("the resource is fit");
        lists
    }

    pub fn state(&self, name: &str) -> ResourceState {
        let name = ResourceName::new(name).expect("a name");
        self.plugin.states().borrow().get(&name).cloned().unwrap_or_default()
    }

    #[expect(clippy::panic, reason = "the failure of a test is a panic")]
    pub async fn until(&self, name: &str, is_so: impl Fn(&ResourceState) -> bool) -> ResourceState {
        let name = ResourceName::new(name).expect("a name");
        let mut states = self.plugin.states();
        let so =
            timeout(Duration::from_secs(60), states.wait_for(|states| states.get(&name).is_some_and(&is_so))).await;
        match so {
            Ok(Ok(states)) => states[&name].clone(),
            _ => panic!("in vain: {:#?}", self.state(name.as_str())),
        }
    }

    /// What SIGTERM does.
    pub async fn end(self) -> Result<(), TaskFailure> {
        self.stop.cancel();
        self.tasks.finish(Duration::from_secs(2)).await
    }

    pub fn begin_end(&self) {
        self.stop.cancel();
    }

    /// What kill -9 does, as far as one process can: everything ends, and the socket's file stays.
    pub fn kill(self) {
        drop(self.tasks);
    }
}

impl Echo {
    pub fn new() -> Self {
        Self {
            asked: watch::Sender::default(),
            permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            prefers: Arc::default(),
        }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until so many calls of a kind have come.
    pub async fn until_asked(&self, call: &str, times: usize) {
        let is_so = |asked: &Vec<String>| asked.iter().filter(|asked| asked.starts_with(call)).count() >= times;
        self.asked.subscribe().wait_for(is_so).await.expect("the sender is here");
    }

    /// Answers no call until a test gives permits.
    pub fn hold_answers(&self) {
        self.permits.forget_permits(Semaphore::MAX_PERMITS);
    }

    async fn answer(&self, call: &str, ids: &[String]) -> Result<(), Refusal> {
        self.asked.send_modify(|asked| asked.push(format!("{call} {}", ids.join(" "))));
        let _permit = self.permits.acquire().await.expect("it is never closed");
        match ids.iter().find(|id| !id.starts_with("disk")) {
            Some(id) => Err(Refusal::not_found(format!("{DISK} has no device {id}"))),
            None => Ok(()),
        }
    }
}

impl Answers for Echo {
    fn allocate(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Allocation, Refusal>> {
        Box::pin(async move {
            self.answer("allocate", &ids).await?;
            let env = ids.into_iter().map(|id| (id.replace('-', "_"), "given".to_owned())).collect();
            Ok(Allocation { env, ..Allocation::default() })
        })
    }

    fn prefer(&self, choice: Choice) -> BoxFuture<'_, Result<Vec<String>, Refusal>> {
        Box::pin(async move {
            self.answer("prefer", &choice.available).await?;
            if let Some(ids) = self.prefers.lock().expect("no panic").clone() {
                return Ok(ids);
            }
            let mut ids = choice.available;
            ids.sort();
            Ok(ids.split_off(ids.len() - choice.size))
        })
    }

    fn pre_start(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.answer("pre_start", &ids).await })
    }
}

pub fn resource(name: &str, count: usize) -> (Lists, Resource) {
    let (lists, list) = watch::channel(Arc::new(disks(count)));
    let resource = Resource {
        name: ResourceName::new(name).expect("a name"),
        socket: SocketName::Derived,
        pre_start: false,
        preferred: false,
        list,
        answers: Arc::new(Echo::new()),
    };
    (lists, resource)
}

/// `disk-0` and so on, all healthy.
pub fn disks(count: usize) -> DeviceList {
    (0..count).map(|number| Device { id: format!("disk-{number}").into(), healthy: true, numa: vec![] }).collect()
}

/// A pod of one container that wants so many of the resource.
pub fn pod(uid: &str, resource: &str, count: usize) -> PodRequest {
    let container =
        ContainerRequest { name: "app".into(), limits: [(resource.to_owned(), count)].into(), ..Default::default() };
    PodRequest { uid: uid.into(), name: uid.into(), namespace: "default".into(), containers: vec![container] }
}
