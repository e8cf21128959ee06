//! One attempt to register: the kubelet's socket first, then our own, then `Register`.
//!
//! The order is the point. The kubelet wipes its directory before it listens: once it takes a connection our socket is safe,
//! and one made earlier may be wiped, so that the kubelet would dial it for 10 s.
//!
//! What it does not do: it does not try twice.

use std::time::Duration;

use outrigger_kubelet_api::device_plugin::registration_client::RegistrationClient;
use outrigger_kubelet_api::device_plugin::{RegisterRequest, VERSION};
use outrigger_kubelet_api::{Channel, Code, ConnectError, LOCALHOST, Status};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Life, Serving};
use crate::calls;
use crate::server;
use crate::socket::{self, BindError, FileId};
use crate::state::{RegisterReason, RegisterResult};
use crate::streams::StreamNumber;

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long `Register` may take: the kubelet dials for 10 s, and then asks for the options.
const REGISTER: Duration = Duration::from_secs(15);

/// Why an attempt failed.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// There is no kubelet at the moment.
    #[error("the kubelet takes no connections")]
    NoKubelet(#[source] ConnectError),
    /// The kubelet did not take the connection in time.
    #[error("the kubelet did not take a connection within {CONNECT:?}")]
    NoAnswer,
    /// Our own socket could not be made.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The kubelet answered with an error.
    #[error("the kubelet refused the registration ({:?}): {}", .0.code(), .0.message())]
    Refused(Status),
    /// The kubelet ended, or answered nothing in time.
    #[error("the kubelet did not answer the registration: {0}")]
    Unanswered(String),
}

impl Trouble {
    /// Whether `Register` was sent.
    pub(super) fn was_registering(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unanswered(_))
    }

    /// Whether somebody should know: a kubelet that is not there yet is no fault.
    pub(super) fn is_fault(&self) -> bool {
        !matches!(self, Self::NoKubelet(_))
    }
}

impl Life {
    /// Registers, and says which stream will be the kubelet's.
    pub(super) async fn attempt(&mut self, why: RegisterReason) -> Result<StreamNumber, Trouble> {
        let path = self.place.kubelet_socket();
        self.kubelet = FileId::of(&path).ok();
        let connecting = timeout(CONNECT, Channel::connect(&path, LOCALHOST)).await;
        let channel = connecting.map_err(|_| Trouble::NoAnswer)?.map_err(Trouble::NoKubelet)?;
        self.serve().await?;

        let why = match why {
            RegisterReason::StreamLost if self.kubelet != self.registered_with => RegisterReason::KubeletSocket,
            why => why,
        };
        let stream = self.calls.streams.next();
        let begun = Instant::now();
        let registered = self.register(channel).await;
        let (result, took) = (result_of(&registered), begun.elapsed());
        self.board.write(|state| {
            *state.registrations.entry((why, result)).or_default() += 1;
            if registered.is_ok() {
                state.registered = true;
                state.register_time += took;
            }
        });
        registered?;
        self.registered_with = self.kubelet;
        let (name, why) = (self.board.name(), why.as_str());
        info!(resource = %name, reason = why, "Registered {name} with the kubelet in {took:.1?} ({why})");
        Ok(stream)
    }

    /// Makes our socket, unless it is there.
    async fn serve(&mut self) -> Result<(), Trouble> {
        if self.serving.as_ref().is_some_and(|serving| serving.socket.is_there()) {
            return Ok(());
        }
        let last = self.serving.as_ref().and_then(|serving| serving.socket.instance);
        let last = last.max(self.former.iter().filter_map(|former| former.socket.instance).max());
        self.retire();
        let resource = self.resource.borrow().clone();
        let (listener, socket) = socket::bind(&self.place.directory, &resource.name, &resource.socket, last).await?;
        let end = CancellationToken::new();
        self.servers.room().await;
        let served = server::serve(listener, self.calls.clone(), end.clone());
        let started = self.servers.start(format!("connections of {}", resource.name), served);
        started.expect("there was room for one more");
        self.board.write(|state| state.endpoint = Some(socket.name.clone()));
        self.serving = Some(Serving { socket, end });
        Ok(())
    }

    /// Asks the kubelet, until it answers or there is another one to ask.
    async fn register(&mut self, channel: Channel) -> Result<(), Trouble> {
        let endpoint = self.serving.as_ref().map(|serving| serving.socket.name.clone());
        let options = calls::options(&self.resource.borrow());
        let request = RegisterRequest {
            version: VERSION.to_owned(),
            endpoint: endpoint.expect("`serve` made a socket"),
            resource_name: self.board.name().to_string(),
            options: Some(options),
        };
        let mut client = RegistrationClient::new(channel);
        let answer = tokio::select! {
            answer = timeout(REGISTER, client.register(request)) => answer,
            () = self.kubelet_stirs(false) => return Err(Trouble::Unanswered("it has been replaced meanwhile".to_owned())),
        };
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if is_end(&status) => Err(Trouble::Unanswered(status.message().to_owned())),
            Ok(Err(status)) => Err(Trouble::Refused(status)),
            Err(_) => Err(Trouble::Unanswered(format!("nothing came within {REGISTER:?}"))),
        }
    }
}

/// Whether a status was made on our side, because the connection ended.
fn is_end(status: &Status) -> bool {
    use std::error::Error;
    status.source().is_some() || status.code() == Code::Cancelled
}

fn result_of<T>(registered: &Result<T, Trouble>) -> RegisterResult {
    match registered {
        Ok(_) => RegisterResult::Taken,
        Err(Trouble::Refused(_)) => RegisterResult::Refused,
        Err(_) => RegisterResult::Unanswered,
    }
}
