//! A device plugin that is wrong on purpose: it offers several disks and gives everybody the first, whatever ids the kubelet
//! has chosen, as the simple-device-plugin did with any free one. What shows that disks are shared must fail with it.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use clap::Parser;
use outrigger_kubelet_api::device_plugin as wire;
use outrigger_kubelet_api::device_plugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::{
    Activity, Channel, KUBELET_SOCKET, LOCALHOST, Request, Response, Status, Stream, async_trait, serve_connection,
};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// The name of its socket.
const SOCKET: &str = "careless.sock";

/// Offers disks and gives the first.
#[derive(Parser, Clone)]
struct Careless {
    /// The kubelet's directory for device plugins
    directory: PathBuf,
    /// The name of the resource
    resource: String,
    /// The disks that it offers
    #[arg(required = true)]
    disks: Vec<String>,
}

/// The list, once.
struct Lists(Option<wire::ListAndWatchResponse>);

impl Stream for Lists {
    type Item = Result<wire::ListAndWatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.0.take().map_or(Poll::Pending, |list| Poll::Ready(Some(Ok(list))))
    }
}

#[async_trait]
impl DevicePlugin for Careless {
    type ListAndWatchStream = Lists;

    async fn get_device_plugin_options(
        &self,
        _: Request<wire::Empty>,
    ) -> Result<Response<wire::DevicePluginOptions>, Status> {
        Ok(Response::new(wire::DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<wire::Empty>) -> Result<Response<Lists>, Status> {
        let device =
            |disk: &String| wire::Device { id: disk.replace('/', "-"), health: wire::HEALTHY.into(), topology: None };
        let devices = self.disks.iter().map(device).collect();
        Ok(Response::new(Lists(Some(wire::ListAndWatchResponse { devices, ..Default::default() }))))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<wire::PreferredAllocationRequest>,
    ) -> Result<Response<wire::PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("any disk will do"))
    }

    async fn allocate(
        &self,
        asked: Request<wire::AllocateRequest>,
    ) -> Result<Response<wire::AllocateResponse>, Status> {
        let first = wire::DeviceSpec {
            container_path: self.disks[0].clone(),
            host_path: self.disks[0].clone(),
            permissions: "rw".into(),
        };
        let answer = wire::ContainerAllocateResponse { devices: vec![first], ..Default::default() };
        let container_responses = vec![answer; asked.into_inner().container_requests.len()];
        Ok(Response::new(wire::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<wire::PreStartContainerRequest>,
    ) -> Result<Response<wire::PreStartContainerResponse>, Status> {
        Ok(Response::new(wire::PreStartContainerResponse {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let careless = Careless::parse();
    let socket = careless.directory.join(SOCKET);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let kubelet = careless.directory.join(KUBELET_SOCKET);
    let register = wire::RegisterRequest {
        version: wire::VERSION.into(),
        endpoint: SOCKET.into(),
        resource_name: careless.resource.clone(),
        options: None,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let channel = Channel::connect(&kubelet, LOCALHOST).await.context("the kubelet does not listen")?;
        RegistrationClient::new(channel).register(register).await.context("the kubelet refuses")?;
        anyhow::Ok(())
    });
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??,
            accepted = listener.accept() => {
                let service = DevicePluginServer::new(careless.clone());
                let served = serve_connection(accepted?.0, service, Activity::default(), std::future::pending());
                tasks.spawn(async { served.await.context("a connection broke") });
            }
        }
    }
}
