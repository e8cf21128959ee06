//! The simplest plugin there is: it serves a socket and says what a test wants it to say.

use std::path::Path;
use std::sync::{Arc, Mutex};

use outrigger_kubelet_api::device_plugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::device_plugin::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, ContainerPreferredAllocationResponse, Device,
    DevicePluginOptions, Empty, HEALTHY, ListAndWatchResponse, NumaNode, PreStartContainerRequest,
    PreStartContainerResponse, PreferredAllocationRequest, PreferredAllocationResponse, RegisterRequest, TopologyInfo,
    VERSION,
};
use outrigger_kubelet_api::{
    Activity, Channel, KUBELET_SOCKET, LOCALHOST, Request, Response, Status, Stream, async_trait, serve_connection,
};
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A plugin that is served until it is dropped.
pub struct Plugin {
    pub says: Says,
    /// Every list that is sent here goes to the stream of the kubelet.
    lists: mpsc::UnboundedSender<Vec<Device>>,
    _tasks: JoinSet<()>,
}

/// What a plugin answers, and what it was asked.
#[derive(Clone)]
pub struct Says {
    pub options: DevicePluginOptions,
    pub asked: Arc<Mutex<Vec<String>>>,
    lists: Arc<Mutex<Option<mpsc::UnboundedReceiver<Vec<Device>>>>>,
}

/// The lists of a test, as they come.
pub struct Lists(mpsc::UnboundedReceiver<Vec<Device>>);

impl Plugin {
    pub fn serve(directory: &Path, endpoint: &str, options: DevicePluginOptions) -> Self {
        let listener = UnixListener::bind(directory.join(endpoint)).expect("the directory is there");
        let (sender, lists) = mpsc::unbounded_channel();
        let says = Says { options, asked: Arc::default(), lists: Arc::new(Mutex::new(Some(lists))) };
        let mut tasks = JoinSet::new();
        let answers = says.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let service = DevicePluginServer::new(answers.clone());
                connections.spawn(serve_connection(connection, service, Activity::default(), pending()));
            }
        });
        Self { says, lists: sender, _tasks: tasks }
    }

    pub fn list(&self, devices: Vec<Device>) {
        self.lists.send(devices).expect("the plugin is served");
    }

    pub fn asked(&self) -> Vec<String> {
        self.says.asked.lock().expect("no panic").clone()
    }
}

/// Healthy devices without topology.
pub fn devices(ids: &[&str]) -> Vec<Device> {
    ids.iter().map(|&id| Device { id: id.into(), health: HEALTHY.into(), topology: None }).collect()
}

/// A healthy device near a NUMA node.
pub fn near(id: &str, node: i64) -> Device {
    let topology = Some(TopologyInfo { nodes: vec![NumaNode { id: node }] });
    Device { id: id.into(), health: HEALTHY.into(), topology }
}

pub fn registration(resource: &str, endpoint: &str) -> RegisterRequest {
    let (endpoint, resource_name) = (endpoint.into(), resource.into());
    RegisterRequest { version: VERSION.into(), endpoint, resource_name, options: None }
}

pub async fn register(directory: &Path, request: RegisterRequest) -> Result<(), Status> {
    let channel = Channel::connect(directory.join(KUBELET_SOCKET), LOCALHOST).await.expect("the kubelet listens");
    RegistrationClient::new(channel).register(request).await.map(|_| ())
}

#[async_trait]
impl DevicePlugin for Says {
    type ListAndWatchStream = Lists;

    async fn get_device_plugin_options(&self, _: Request<Empty>) -> Result<Response<DevicePluginOptions>, Status> {
        self.asked.lock().expect("no panic").push("options".into());
        Ok(Response::new(self.options))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Lists>, Status> {
        let lists = self.lists.lock().expect("no panic").take();
        lists.map(|lists| Response::new(Lists(lists))).ok_or_else(|| Status::unavailable("there is one stream"))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let request = request.into_inner().container_requests.remove(0);
        let mut device_ids = request.available_device_ids;
        device_ids.sort();
        device_ids.truncate(usize::try_from(request.allocation_size).expect("a size"));
        self.asked
            .lock()
            .expect("no panic")
            .push(format!("prefer, with {}", request.must_include_device_ids.join(" ")));
        let container_responses = vec![ContainerPreferredAllocationResponse { device_ids }];
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Result<Response<AllocateResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let container_responses = requests
            .into_iter()
            .map(|request| {
                self.asked.lock().expect("no panic").push(format!("allocate {}", request.device_ids.join(" ")));
                let envs = request.device_ids.into_iter().map(|id| (id, "given".to_owned())).collect();
                ContainerAllocateResponse { envs, ..Default::default() }
            })
            .collect();
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        self.asked.lock().expect("no panic").push(format!("pre_start {}", request.into_inner().device_ids.join(" ")));
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

impl Stream for Lists {
    type Item = Result<ListAndWatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let list = |devices| Ok(ListAndWatchResponse { devices, ..ListAndWatchResponse::default() });
        self.0.poll_recv(context).map(|devices| devices.map(list))
    }
}
