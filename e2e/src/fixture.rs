//! A smallest device plugin for tests on a real kubelet: it offers ids and answers Allocate as the test's program says.
//!
//! What it does not do: it has no health, no second list, and does not come back to a kubelet that starts again.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use outrigger_kubelet_api::device_plugin as wire;
use outrigger_kubelet_api::device_plugin::device_plugin_server::{DevicePlugin, DevicePluginServer};
use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::{
    Activity, Channel, KUBELET_SOCKET, LOCALHOST, Request, Response, Status, Stream, async_trait, serve_connection,
};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// The name of its socket.
pub const SOCKET: &str = "fixture.sock";

/// A device plugin of one resource.
#[derive(Clone, Debug)]
pub struct Fixture<A> {
    /// The kubelet's directory for device plugins.
    pub directory: PathBuf,
    /// The name of the resource.
    pub resource: String,
    /// The ids that it offers, all healthy.
    pub ids: Vec<String>,
    /// What a container gets for the ids that the kubelet has chosen for it.
    pub answer: A,
}

impl<A> Fixture<A>
where
    A: Fn(&[String]) -> wire::ContainerAllocateResponse + Clone + Send + Sync + 'static,
{
    /// Registers and serves.
    ///
    /// # Errors
    /// Where its socket cannot be made, the kubelet is not there or refuses it, or a connection breaks.
    pub async fn run(self) -> Result<()> {
        let socket = self.directory.join(SOCKET);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(register(self.directory.join(KUBELET_SOCKET), self.resource.clone()));
        loop {
            tokio::select! {
                Some(ended) = tasks.join_next() => ended??,
                accepted = listener.accept() => {
                    let service = DevicePluginServer::new(self.clone());
                    let served = serve_connection(accepted?.0, service, Activity::default(), std::future::pending());
                    tasks.spawn(async { served.await.context("a connection broke") });
                }
            }
        }
    }
}

async fn register(kubelet: PathBuf, resource_name: String) -> Result<()> {
    let (version, endpoint) = (wire::VERSION.to_owned(), SOCKET.to_owned());
    let request = wire::RegisterRequest { version, endpoint, resource_name, options: None };
    let channel = Channel::connect(&kubelet, LOCALHOST).await.context("the kubelet does not listen")?;
    RegistrationClient::new(channel).register(request).await.context("the kubelet refuses")?;
    Ok(())
}

/// The list, once.
#[derive(Debug)]
pub struct Lists(Option<wire::ListAndWatchResponse>);

impl Stream for Lists {
    type Item = Result<wire::ListAndWatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.0.take().map_or(Poll::Pending, |list| Poll::Ready(Some(Ok(list))))
    }
}

#[async_trait]
impl<A> DevicePlugin for Fixture<A>
where
    A: Fn(&[String]) -> wire::ContainerAllocateResponse + Send + Sync + 'static,
{
    type ListAndWatchStream = Lists;

    async fn get_device_plugin_options(
        &self,
        _: Request<wire::Empty>,
    ) -> Result<Response<wire::DevicePluginOptions>, Status> {
        Ok(Response::new(wire::DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<wire::Empty>) -> Result<Response<Lists>, Status> {
        let device = |id: &String| wire::Device { id: id.clone(), health: wire::HEALTHY.into(), topology: None };
        let devices = self.ids.iter().map(device).collect();
        Ok(Response::new(Lists(Some(wire::ListAndWatchResponse { devices, ..Default::default() }))))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<wire::PreferredAllocationRequest>,
    ) -> Result<Response<wire::PreferredAllocationResponse>, Status> {
        Err(Status::unimplemented("any of them will do"))
    }

    async fn allocate(
        &self,
        asked: Request<wire::AllocateRequest>,
    ) -> Result<Response<wire::AllocateResponse>, Status> {
        let asked = asked.into_inner().container_requests;
        let container_responses = asked.iter().map(|one| (self.answer)(&one.device_ids)).collect();
        Ok(Response::new(wire::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<wire::PreStartContainerRequest>,
    ) -> Result<Response<wire::PreStartContainerResponse>, Status> {
        Ok(Response::new(wire::PreStartContainerResponse {}))
    }
}
