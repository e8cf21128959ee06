//! `kubelet.sock`: synchronous registration, and the ways in which it can go wrong.

use std::future::pending;

use outrigger_kubelet_api::device_plugin::registration_server::Registration as Service;
use outrigger_kubelet_api::device_plugin::{Empty, RegisterRequest, VERSION};
use outrigger_kubelet_api::{Request, Response, Status, async_trait};
use tokio::time::Instant;

use crate::client;
use crate::run::Life;
use crate::view::Registration;

/// What `Register` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnRegister {
    /// What a kubelet does.
    #[default]
    Take,
    /// Answers with this error.
    Refuse(String),
    /// Never answers.
    Hang,
    /// The kubelet is killed after it has asked for the options and before it answers.
    Die,
}

/// The service of one life.
#[derive(Clone, Debug)]
pub(crate) struct Registrar(pub(crate) Life);

#[async_trait]
impl Service for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let manager = &self.0.manager;
        let number = manager.change_view(|view| {
            view.registrations.push(Registration {
                resource: request.resource_name.clone(),
                endpoint: request.endpoint.clone(),
                version: request.version.clone(),
                at: Instant::now(),
                answer: None,
            });
            view.registrations.len() - 1
        });
        let answer = self.take(request).await;
        manager.change_view(|view| view.registrations[number].answer = Some(answer.clone()));
        answer.map(|()| Response::new(Empty {})).map_err(Status::unknown)
    }
}

impl Registrar {
    /// `Register` and `connectClient` of `server.go` and `handler.go`.
    async fn take(&self, request: RegisterRequest) -> Result<(), String> {
        let Life { manager, settings, .. } = &self.0;
        let on_register = settings.on_register();
        match &on_register {
            OnRegister::Refuse(why) => return Err(why.clone()),
            OnRegister::Hang => pending().await,
            OnRegister::Take | OnRegister::Die => (),
        }
        let RegisterRequest { version, endpoint, resource_name, options: _ } = request;
        if version != VERSION {
            return Err(format!(
                "requested API version {version:?} is not supported by kubelet. Supported version is [{VERSION}]"
            ));
        }
        if !is_extended(&resource_name) {
            return Err(format!("the ResourceName {resource_name:?} is invalid"));
        }
        let socket = settings.options.directory.join(endpoint);
        let mut plugin = client::dial(&socket, &settings.options.authority).await?;
        let options = client::options(&mut plugin).await?;
        if on_register == OnRegister::Die {
            self.0.die();
            pending::<()>().await;
        }
        let number = manager.connected(&resource_name, socket, plugin.clone(), options);
        self.0.read(number, resource_name, plugin);
        Ok(())
    }
}

/// `IsExtendedResourceName`, as far as a test needs it.
fn is_extended(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let Some((prefix, part)) = name.split_once('/') else { return false };
    !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && (1..=244).contains(&prefix.len())
        && (1..=63).contains(&part.len())
        && prefix.bytes().chain(part.bytes()).all(is_inner)
}
