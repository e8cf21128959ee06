//! A node: a machine of files with real device nodes, a stub kubelet, and the node agent between them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stderr, reason = "a test says that it is left out")]

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outrigger_devices::agent::{Parts, serve, source::Source};
use outrigger_devices::args::SettingsArgs;
use outrigger_devices::inventory::Inventory;
use outrigger_devices::settings::Surroundings;
use outrigger_host_tree::HostTree;
use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::{AllocateRequest, AllocateResponse, ContainerAllocateRequest};
use outrigger_kubelet_api::{Channel, LOCALHOST, Response, Status};
use outrigger_runtime::{LogFilter, LogFormat, Tasks, subscriber};
use outrigger_stub_kubelet::{AdmissionError, Admitted, ContainerRequest, Options, PodRequest, StubKubelet};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Everything below one directory.
pub struct Node {
    pub directory: TempDir,
    pub kubelet: StubKubelet,
    /// The configuration's file.
    pub file: PathBuf,
    running: Option<(Tasks, CancellationToken)>,
}

impl Node {
    /// A machine without devices, and a kubelet that runs.
    pub async fn new(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in
            ["host/dev", "host/sys/block", "host/proc/1", "kubelet/device-plugins", "kubelet/pod-resources", "etc"]
        {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        fs::write(directory.path().join("host/proc/1/mountinfo"), "").unwrap();
        fs::write(directory.path().join("host/proc/swaps"), "").unwrap();
        let mut options = Options::new(directory.path().join("kubelet/device-plugins"));
        options.pod_resources = Some(directory.path().join("kubelet/pod-resources"));
        let kubelet = StubKubelet::started(options).await.unwrap();
        let file = directory.path().join("etc/devices.yaml");
        fs::write(&file, configuration).unwrap();
        Self { directory, kubelet, file, running: None }
    }

    /// Such a node with its agent, on the machine of files.
    pub async fn started(configuration: &str) -> Self {
        let mut node = Self::new(configuration).await;
        node.start();
        node
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Starts the agent on the machine of files.
    pub fn start(&mut self) {
        self.start_at(&self.path("host"));
    }

    /// Starts the agent on another machine.
    pub fn start_at(&mut self, root: &Path) {
        self.start_with_audit(root, "100ms");
    }

    /// Starts the agent on another machine, with so much time between two audits.
    pub fn start_with_audit(&mut self, root: &Path, audit: &str) {
        let text = |path: PathBuf| Some(path.display().to_string());
        let args = SettingsArgs {
            config: Some(self.file.clone()),
            host_root: text(root.to_owned()),
            plugin_directory: text(self.path("kubelet/device-plugins")),
            kubelet_directory: text(self.path("kubelet")),
            lock_directory: text(self.path("lock")),
            audit: Some(audit.to_owned()),
            ..SettingsArgs::default()
        };
        self.start_from(Source::Ours(args), Surroundings::default());
    }

    /// Starts on another machine what takes the place of simple-device-plugin.
    pub fn start_in_place_of_simple(&mut self, root: &Path) {
        let set = |name: &str, path: PathBuf| (format!("OUTRIGGER_DEVICES_{name}"), path.display().to_string());
        let environment = [
            set("HOST_ROOT", root.to_owned()),
            set("PLUGIN_DIRECTORY", self.path("kubelet/device-plugins")),
            set("KUBELET_DIRECTORY", self.path("kubelet")),
            set("LOCK_DIRECTORY", self.path("lock")),
            ("OUTRIGGER_DEVICES_AUDIT".to_owned(), "100ms".to_owned()),
        ];
        let around = Surroundings { environment: environment.into(), ..Surroundings::default() };
        self.start_from(Source::Simple("info"), around);
    }

    fn start_from(&mut self, source: Source, around: Surroundings) {
        let (configuration, _) = source.read(&around).unwrap_or_else(|faults| panic!("{faults}"));
        let (inventory, _) = Inventory::of(&configuration).unwrap_or_else(|faults| panic!("{faults}"));
        let (_, log_level) = subscriber(LogFilter::default(), LogFormat::Json, io::sink);
        let parts = Parts { source: Arc::new(source), around, configuration, inventory, admin: None, log_level };
        self.run(|stop| serve(parts, stop));
    }

    /// Starts any process that serves the kubelet, in place of the agent.
    pub fn run<F, E>(&mut self, process: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.start("agent", process(stop.clone()));
        self.running = Some((tasks, stop));
    }

    /// Stops the agent in order.
    pub async fn stop(&mut self) {
        let (tasks, stop) = self.running.take().expect("the agent runs");
        stop.cancel();
        tasks.finish(PATIENCE).await.unwrap();
    }

    /// Makes a device node; each name has a number of its own, of a driver for experiments that nothing here has.
    pub fn plug(&self, name: &str) {
        let path = self.path("host/dev").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let minor = name.bytes().fold(7, |number: u32, byte| (number * 31 + u32::from(byte)) % 0xf_ffff);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(240, minor)).unwrap();
    }

    pub fn unplug(&self, name: &str) {
        fs::remove_file(self.path("host/dev").join(name)).unwrap();
    }

    /// The ids of a resource with their health, once there are so many healthy ones.
    pub async fn offered(&self, resource: &str, count: usize) -> Vec<String> {
        let view = self.kubelet.until(|view| view.allocatable(resource) == count).await;
        view.resources.get(resource).map(|resource| resource.devices.keys().cloned().collect()).unwrap_or_default()
    }

    /// The plugin itself, for a kubelet that does not know the last list yet.
    pub async fn client(&self, resource: &str) -> DevicePluginClient<Channel> {
        let socket = self.kubelet.sockets(resource).pop().expect("the kubelet reads a list");
        DevicePluginClient::new(Channel::connect(socket, LOCALHOST).await.unwrap())
    }

    /// What the plugin answers to a direct call for these ids, in one container each.
    pub async fn allocate(&self, resource: &str, containers: &[&[&str]]) -> Result<AllocateResponse, Status> {
        let ids =
            |ids: &&[&str]| ContainerAllocateRequest { device_ids: ids.iter().map(|&id| id.to_owned()).collect() };
        let container_requests = containers.iter().map(ids).collect();
        let answer = self.client(resource).await.allocate(AllocateRequest { container_requests }).await;
        answer.map(Response::into_inner)
    }

    /// The machine's nodes that such a call gives, for each container.
    pub async fn nodes(&self, resource: &str, containers: &[&[&str]]) -> Result<Vec<Vec<String>>, Status> {
        let containers = self.allocate(resource, containers).await?.container_responses.into_iter();
        Ok(containers.map(|one| one.devices.into_iter().map(|device| device.host_path).collect()).collect())
    }

    pub async fn admit(&self, pod: &str, resource: &str, count: usize) -> Result<Admitted, AdmissionError> {
        let container = ContainerRequest {
            name: "app".to_owned(),
            limits: BTreeMap::from([(resource.to_owned(), count)]),
            ..ContainerRequest::default()
        };
        let (uid, name, namespace) = (pod.to_owned(), pod.to_owned(), "default".to_owned());
        let pod = PodRequest { uid, name, namespace, containers: vec![container] };
        self.kubelet.admit(&pod).await.map(|mut admitted| admitted.remove("app").unwrap_or_default())
    }
}

/// A machine with the system's disk and these free SATA disks, each with a name of its own for good.
pub fn machine(disks: &[&str]) -> HostTree {
    let tree = HostTree::named("sata");
    unplug_disk(&tree, "sdb");
    for disk in disks {
        plug_disk(&tree, disk, disk);
    }
    tree
}

/// Plugs a disk at a name: which one it is, `wwid` tells.
pub fn plug_disk(tree: &HostTree, name: &str, wwid: &str) {
    let port = name.as_bytes().last().unwrap() - b'a';
    let place = format!("sys/devices/pci0000:00/0000:00:17.0/ata1{port}/host1{port}/target1{port}:0:0/1{port}:0:0:0");
    tree.add(&format!(
        "{place}\n  state = running\n  model = DISK\n  wwid = naa.{wwid}\n  block/{name}\n    :block\n    \
         dev = 8:{}\n    size = 8192\n    ro = 0\n    diskseq = 9{port}\n    uevent = DEVNAME={name}\n    holders\n    \
         slaves\ndev/{name} =\n",
        u32::from(port) * 16
    ));
}

/// Pulls a disk.
pub fn unplug_disk(tree: &HostTree, name: &str) {
    let device = fs::canonicalize(tree.path(&format!("sys/block/{name}"))).unwrap();
    fs::remove_dir_all(device.parent().unwrap().parent().unwrap()).unwrap();
    for link in ["sys/block", "sys/class/block", "dev"] {
        fs::remove_file(tree.path(link).join(name)).unwrap();
    }
}

/// Whether this user may make device nodes; where not, the test is left out, but not on CI.
pub fn may_make_nodes() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let made = mknodat(CWD, directory.path().join("null"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3));
    assert!(made.is_ok() || std::env::var_os("CI").is_none(), "on CI device nodes can be made");
    if made.is_err() {
        eprintln!("left out: this user cannot make device nodes");
    }
    made.is_ok()
}

/// The resource of [`DISKS`].
pub const DISK: &str = "example.com/disk";

/// A configuration for SATA disks, whose health follows at once.
pub const DISKS: &str = "\
domain: example.com
ids: short
devices:
- name: disk
  health: {unhealthyAfter: 1, healthyAfter: 20ms, every: 20ms}
  groups: [{block: {transport: [sata]}}]
";

/// How long something may take that is awaited by looking.
pub const PATIENCE: Duration = Duration::from_secs(30);
