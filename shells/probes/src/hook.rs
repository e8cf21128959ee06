//! Lifecycle hooks (`pkg/kubelet/lifecycle/handlers.go`).

use std::time::Duration;

use outrigger_pod_core::life::HookOutcome;
use outrigger_pod_core::plan::{ContainerPlan, Handler};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::http::{self, GetError, Headers};
use super::url::Url;
use super::{Target, exec, tls};

/// Runs a hook of a container, and gives it up at `limit`; without one the hook decides how long it takes.
///
/// The text of a failure is a kubelet's own. It may hold what a server or command said, so it belongs into a container's
/// state and a debug log, never into an event.
pub async fn hook(
    target: &Target,
    container: &ContainerPlan,
    handler: &Handler,
    limit: Option<Duration>,
) -> HookOutcome {
    let run = run(target, container, handler);
    let result = match limit {
        None => run.await,
        Some(limit) => match timeout(limit, run).await {
            Ok(result) => result,
            Err(_) => return HookOutcome::TimedOut,
        },
    };
    match result {
        Ok(()) => HookOutcome::Done,
        Err(text) => HookOutcome::Failed(text),
    }
}

async fn run(target: &Target, container: &ContainerPlan, handler: &Handler) -> Result<(), String> {
    let plan = &target.plan;
    let of = format!("Container {:?} in Pod \"{}_{}({})\"", container.name.0, plan.name, plan.namespace, plan.uid);
    match handler {
        Handler::Exec(command) => {
            let failed = |error: String, output: &str| {
                let command = command.join(" ");
                format!("Exec lifecycle hook ([{command}]) for {of} failed - error: {error}, message: {output:?}")
            };
            match exec::run(target, command.clone()).await {
                Ok((0, _)) => Ok(()),
                Ok((code, output)) => {
                    Err(failed(format!("command '{}' exited with {code}: {output}", command.join(" ")), &output))
                }
                Err(error) => Err(failed(format!("{:#}", anyhow::Error::new(error)), "")),
            }
        }
        Handler::Http { https, host, port, path, headers } => {
            let host = host.clone().unwrap_or_else(|| target.address.to_string());
            let url = Url::of(*https, host, *port, path);
            let failed = |error: String| format!("HTTP lifecycle hook ({path}) for {of} failed - error: {error}");
            get(url, headers).await.map_err(failed)
        }
        Handler::Sleep(time) => {
            sleep(*time).await;
            Ok(())
        }
        // The API takes a tcpSocket here and a kubelet then fails it (`Run`).
        Handler::Tcp { .. } | Handler::Grpc { .. } => {
            Err("Cannot run handler: invalid handler: only exec, httpGet and sleep can be hooks".to_owned())
        }
    }
}

/// A GET whose answer may be anything (`runHTTPHandler`). A server that speaks plain HTTP on a port that was said to be
/// HTTPS is asked again in plain HTTP, without `Authorization`.
async fn get(url: Url, headers: &[(String, String)]) -> Result<(), String> {
    let given = Headers::new(headers, "lifecycle")?;
    match got(&url, &given).await {
        Ok(()) => Ok(()),
        Err(error) if url.https && error.text == tls::PLAIN_HTTP => {
            let plain = Url { https: false, ..url };
            got(&plain, &given.without_authorization()).await.map_err(|_| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn got(url: &Url, headers: &Headers) -> Result<(), GetError> {
    let (response, driven) = http::get(url, headers).await?;
    // Read so that the server can finish; what it says is of no interest.
    if let Err(text) = http::read_body(response, driven).await {
        debug!("The body of a hook's answer could not be read: {text}");
    }
    Ok(())
}
