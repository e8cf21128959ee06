//! Answers the kubelet's calls: turns messages into plain values for the product, and its answers into messages.
//!
//! Everything that a call needs is a snapshot: no call waits for a list or for another call.
//!
//! What it does not do: it knows no device. Only what no product could want is refused here: empty and doubled ids.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use outrigger_kubelet_api::device_plugin as wire;
use outrigger_kubelet_api::device_plugin::device_plugin_server::DevicePlugin;
use outrigger_kubelet_api::{Code, Request, Response, Status, Stream, async_trait};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::answers::{Allocation, BoxFuture, Choice, Refusal, RefusalCode};
use crate::publish::Listing;
use crate::resource::Resource;
use crate::state::{Board, Call};
use crate::streams::{OpenStream, Streams};

/// The most ids of one request that the log names.
const MAX_SHOWN: usize = 16;

/// Answers for one resource. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) resource: watch::Receiver<Arc<Resource>>,
    pub(crate) listings: watch::Receiver<Listing>,
    pub(crate) streams: Streams,
    pub(crate) board: Board,
    pub(crate) stop: CancellationToken,
}

#[async_trait]
impl DevicePlugin for Calls {
    type ListAndWatchStream = Lists;

    async fn get_device_plugin_options(
        &self,
        _: Request<wire::Empty>,
    ) -> Result<Response<wire::DevicePluginOptions>, Status> {
        Ok(Response::new(options(&self.resource.borrow())))
    }

    async fn list_and_watch(&self, _: Request<wire::Empty>) -> Result<Response<Lists>, Status> {
        Ok(Response::new(Lists::begin(self)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<wire::PreferredAllocationRequest>,
    ) -> Result<Response<wire::PreferredAllocationResponse>, Status> {
        let mut container_responses = Vec::new();
        for request in request.into_inner().container_requests {
            let answer = self.told(Call::Prefer, self.prefer(request).await)?;
            container_responses.push(wire::ContainerPreferredAllocationResponse { device_ids: answer });
        }
        Ok(Response::new(wire::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<wire::AllocateRequest>,
    ) -> Result<Response<wire::AllocateResponse>, Status> {
        let mut container_responses = Vec::new();
        for request in request.into_inner().container_requests {
            let answer = self.told(Call::Allocate, self.allocate_one(request.device_ids).await)?;
            container_responses.push(message(answer));
        }
        Ok(Response::new(wire::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        request: Request<wire::PreStartContainerRequest>,
    ) -> Result<Response<wire::PreStartContainerResponse>, Status> {
        let answer = self.pre_start(request.into_inner().device_ids).await;
        self.told(Call::PreStart, answer)?;
        Ok(Response::new(wire::PreStartContainerResponse {}))
    }
}

/// What the kubelet is told to ask.
pub(crate) fn options(resource: &Resource) -> wire::DevicePluginOptions {
    wire::DevicePluginOptions {
        pre_start_required: resource.pre_start,
        get_preferred_allocation_available: resource.preferred,
    }
}

impl Calls {
    fn resource(&self) -> Arc<Resource> {
        Arc::clone(&self.resource.borrow())
    }

    async fn allocate_one(&self, ids: Vec<String>) -> Result<Allocation, Refusal> {
        self.check(&ids)?;
        let resource = self.resource();
        let shown = shown(&ids);
        let allocation = resource.answers.allocate(ids).await?;
        info!(resource = %resource.name, ids = %shown, "Gave {shown} of {}", resource.name);
        Ok(allocation)
    }

    async fn pre_start(&self, ids: Vec<String>) -> Result<(), Refusal> {
        self.check(&ids)?;
        self.resource().answers.pre_start(ids).await
    }

    async fn prefer(&self, request: wire::ContainerPreferredAllocationRequest) -> Result<Vec<String>, Refusal> {
        self.check_running()?;
        let (available, must) = (request.available_device_ids, request.must_include_device_ids);
        let Ok(size) = usize::try_from(request.allocation_size) else {
            return Err(Refusal::invalid_argument(format!("{} devices were asked for", request.allocation_size)));
        };
        if size > available.len() || must.len() > size {
            let (some, least) = (available.len(), must.len());
            return Err(Refusal::invalid_argument(format!(
                "{size} devices were asked for, of {some} that are available, {least} of which must be among them"
            )));
        }
        let choice = Choice { available, must, size };
        let resource = self.resource();
        let preferred = resource.answers.prefer(choice.clone()).await?;
        if is_legal(&preferred, &choice) {
            return Ok(preferred);
        }
        error!(resource = %resource.name, "The preferred choice of {} was no legal one; another was made", resource.name);
        Ok(any_legal(choice))
    }

    fn check_running(&self) -> Result<(), Refusal> {
        if self.stop.is_cancelled() { Err(Refusal::unavailable("the device plugin is stopping")) } else { Ok(()) }
    }

    /// Refuses what no product could want.
    fn check(&self, ids: &[String]) -> Result<(), Refusal> {
        self.check_running()?;
        let resource = &self.resource.borrow().name;
        if ids.is_empty() {
            return Err(Refusal::invalid_argument(format!("no id of {resource} was given")));
        }
        let mut seen = BTreeSet::new();
        match ids.iter().find(|id| id.is_empty() || !seen.insert(id.as_str())) {
            Some(id) if id.is_empty() => Err(Refusal::invalid_argument(format!("an id of {resource} is empty"))),
            Some(id) => Err(Refusal::invalid_argument(format!("the id {id} of {resource} was given twice"))),
            None => Ok(()),
        }
    }

    /// Counts an answer, logs a refusal, and makes a status of it.
    fn told<T>(&self, call: Call, answer: Result<T, Refusal>) -> Result<T, Status> {
        let code = answer.as_ref().err().map(|refusal| refusal.code);
        self.board.write(|state| *state.calls.entry((call, code)).or_default() += 1);
        answer.map_err(|refusal| {
            let resource = self.board.name();
            warn!(%resource, call = call.as_str(), "Refused {} of {resource}: {refusal}", call.as_str());
            status(refusal)
        })
    }
}

/// The one place where a refusal becomes a status code.
fn status(refusal: Refusal) -> Status {
    let code = match refusal.code {
        RefusalCode::NotFound => Code::NotFound,
        RefusalCode::FailedPrecondition => Code::FailedPrecondition,
        RefusalCode::InvalidArgument => Code::InvalidArgument,
        RefusalCode::Unavailable => Code::Unavailable,
    };
    Status::new(code, refusal.message)
}

/// Whether an answer holds as many ids as were asked for, all of them available, none twice, and those that must be there.
fn is_legal(preferred: &[String], choice: &Choice) -> bool {
    let chosen: BTreeSet<&String> = preferred.iter().collect();
    let available: BTreeSet<&String> = choice.available.iter().collect();
    preferred.len() == choice.size
        && chosen.len() == choice.size
        && chosen.is_subset(&available)
        && choice.must.iter().all(|id| chosen.contains(id))
}

/// Those that must be there, and then the first that are available.
fn any_legal(choice: Choice) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let ids = choice.must.into_iter().chain(choice.available);
    ids.filter(|id| seen.insert(id.clone())).take(choice.size).collect()
}

/// Ids for the log: all of a few, and how many more there are.
fn shown(ids: &[String]) -> String {
    let (first, more) = ids.split_at(ids.len().min(MAX_SHOWN));
    let first = first.join(", ");
    if more.is_empty() { first } else { format!("{first} and {} more", more.len()) }
}

fn message(allocation: Allocation) -> wire::ContainerAllocateResponse {
    let Allocation { env, mounts, devices, annotations, cdi } = allocation;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mount = |mount: crate::Mount| wire::Mount {
        container_path: text(&mount.container_path),
        host_path: text(&mount.host_path),
        read_only: mount.read_only,
    };
    let device = |device: crate::DeviceNode| wire::DeviceSpec {
        container_path: text(&device.container_path),
        host_path: text(&device.host_path),
        permissions: device.permissions,
    };
    wire::ContainerAllocateResponse {
        envs: env,
        mounts: mounts.into_iter().map(mount).collect(),
        devices: devices.into_iter().map(device).collect(),
        annotations,
        cdi_devices: cdi.into_iter().map(|name| wire::CdiDevice { name }).collect(),
    }
}

/// What one stream sends: the present list, and the newest after each change, until we stop. It is polled by its connection
/// and ends with it: nothing of it is left that could take a change (GDP's fault G3).
pub(crate) struct Lists {
    /// `None` after the end.
    next: Option<BoxFuture<'static, Option<(wire::ListAndWatchResponse, Sending)>>>,
}

/// A stream between two lists.
struct Sending {
    listings: watch::Receiver<Listing>,
    stop: CancellationToken,
    board: Board,
    _open: OpenStream,
}

impl Lists {
    fn begin(calls: &Calls) -> Self {
        let mut listings = calls.listings.clone();
        listings.mark_changed();
        let (stop, board, open) = (calls.stop.clone(), calls.board.clone(), calls.streams.begin());
        Self { next: Some(Box::pin(Sending { listings, stop, board, _open: open }.next())) }
    }
}

impl Sending {
    async fn next(mut self) -> Option<(wire::ListAndWatchResponse, Self)> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.listings.changed() => changed.ok()?,
            }
            let Listing { list, silent } = self.listings.borrow_and_update().clone();
            if !silent {
                self.board.write(|state| state.lists_sent += 1);
                return Some((list.message(), self));
            }
        }
    }
}

impl Stream for Lists {
    type Item = Result<wire::ListAndWatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        next.as_mut().poll(context).map(|sent| {
            let (message, sending) = sent.map_or((None, None), |(message, sending)| (Some(message), Some(sending)));
            self.next = sending.map(|sending| Box::pin(sending.next()) as _);
            message.map(Ok)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// O02: a subset of the available, with those that must be there, no doubles, the asked size.
    #[test]
    fn a_choice_that_is_not_legal_is_replaced_by_one_that_is() {
        let choice = Choice { available: ids("a b c d"), must: ids("c"), size: 2 };
        for legal in ["a c", "c d"] {
            assert!(is_legal(&ids(legal), &choice), "{legal}");
        }
        for not in ["", "c", "a b", "c c", "c e", "a b c"] {
            assert!(!is_legal(&ids(not), &choice), "{not}");
        }
        let other = any_legal(choice.clone());
        assert!(other == ids("c a") && is_legal(&other, &choice), "{other:?}");
    }

    #[test]
    fn the_log_names_a_few_ids() {
        assert_eq!(shown(&ids("a b")), "a, b");
        let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        assert!(shown(&many).ends_with("14, 15 and 99984 more"));
    }
}
