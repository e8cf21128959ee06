//! Asks probes and runs hooks: what a kubelet does over the network, or by a command in the container.
//!
//! [`ask`] asks a probe once, within its time limit; [`hook()`] runs a lifecycle hook. The texts of failures are a kubelet's
//! (`pkg/kubelet/prober/prober.go`, `pkg/probe`, `pkg/kubelet/lifecycle/handlers.go` of Kubernetes 1.36), so that what people
//! search for is found.
//!
//! Where this differs: a kubelet shortens a closed connection's time in the kernel with `SO_LINGER`, which would block a
//! thread here; and over TLS it may speak HTTP/2, where this always speaks HTTP/1.1.
//!
//! What it does not do: it counts no thresholds and knows no periods; those are the state machine's.

mod dial;
mod exec;
mod grpc;
mod hook;
mod http;
mod tls;
mod url;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{ContainerId, Launcher};
use outrigger_pod_core::env::Environment;
use outrigger_pod_core::life::ProbeOutcome;
use outrigger_pod_core::plan::{ContainerPlan, Handler, PodPlan, ProbePlan};

pub use hook::hook;

/// What `User-Agent` names: `kube-probe/1.36` and `kube-lifecycle/1.36`, as the kubelet whose rules these are.
const VERSION: &str = "1.36";

/// How often a probe that cannot be asked is tried (`pkg/kubelet/prober/prober.go`, `maxProbeRetries`).
const TRIES: usize = 3;

/// A running container that is asked.
#[derive(Clone)]
pub struct Target {
    /// Its pod.
    pub plan: Arc<PodPlan>,
    /// What runs it.
    pub launcher: Arc<dyn Launcher>,
    /// The launcher's name for it.
    pub id: ContainerId,
    /// The pod's address: the host of probes that name none.
    pub address: IpAddr,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("id", &self.id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// Asks a probe of a container. One that cannot be asked is tried three times, each within the probe's time limit.
/// `None` where the container ended before its command did: that is no answer, and is told by itself. (A kubelet calls it
/// unknown, which counts as little, and records an event that only confuses.)
pub async fn ask(target: &Target, container: &ContainerPlan, probe: &ProbePlan) -> Option<ProbeOutcome> {
    let mut outcome = once(target, container, probe).await;
    for _ in 1..TRIES {
        if !matches!(outcome, Some(ProbeOutcome::Unknown(_))) {
            break;
        }
        outcome = once(target, container, probe).await;
    }
    outcome
}

async fn once(target: &Target, container: &ContainerPlan, probe: &ProbePlan) -> Option<ProbeOutcome> {
    let limit = probe.timeout;
    let here = || target.address.to_string();
    Some(match &probe.handler {
        Handler::Exec(command) => return exec::probe(target, expanded(container, command), limit).await,
        Handler::Http { https, host, port, path, headers } => {
            let url = url::Url::of(*https, host.clone().unwrap_or_else(here), *port, path);
            http::probe(url, headers, limit).await
        }
        Handler::Tcp { host, port } => {
            let host = host.clone().unwrap_or_else(here);
            match dial::within(limit, &host, *port).await {
                Ok(_) => ProbeOutcome::Success,
                Err(error) => ProbeOutcome::Failure(error.to_string()),
            }
        }
        Handler::Grpc { port, service } => grpc::probe(target.address, *port, service, limit).await,
        Handler::Sleep(_) => ProbeOutcome::Unknown("missing probe handler".to_owned()),
    })
}

/// The command with `$(VAR)` expanded from the variables that stand in the manifest as they are
/// (`pkg/kubelet/container/helpers.go`, `ExpandContainerCommandOnlyStatic`).
fn expanded(container: &ContainerPlan, command: &[String]) -> Vec<String> {
    let literal = container.env.iter().map(|variable| {
        let value = variable.value.clone().unwrap_or_default();
        (variable.name.clone(), value)
    });
    Environment { variables: literal.collect(), ..Environment::default() }.expand_all(command)
}

/// A duration as Go prints it, to the millisecond: `1s`, `1m30s`, `1.5s`, `500ms`.
fn go_duration(duration: Duration) -> String {
    let (minutes, millis) = (duration.as_secs() / 60, duration.subsec_millis());
    if duration < Duration::from_secs(1) {
        return format!("{millis}ms");
    }
    let seconds = format!("{}.{millis:03}", duration.as_secs() % 60);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match minutes {
        0 => format!("{seconds}s"),
        1..60 => format!("{minutes}m{seconds}s"),
        60.. => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_go_tells_them() {
        let table =
            [(300, "300ms"), (1000, "1s"), (1500, "1.5s"), (10_000, "10s"), (60_000, "1m0s"), (3_690_000, "1h1m30s")];
        for (millis, text) in table {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
