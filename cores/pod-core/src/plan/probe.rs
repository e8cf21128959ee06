//! Probes and hooks: thresholds defaulted (`SetDefaults_Probe`), named ports resolved.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::build::{PlanError, seconds};
use super::{Handler, PortPlan, ProbePlan};

/// Plans a probe; `None` where there is none.
pub(super) fn plan(path: &str, written: Option<&Probe>, ports: &[PortPlan]) -> Result<Option<ProbePlan>, PlanError> {
    let Some(probe) = written else { return Ok(None) };
    let handler = match (&probe.exec, &probe.http_get, &probe.tcp_socket, &probe.grpc) {
        (Some(exec), ..) => command(exec),
        (_, Some(http), ..) => http_get(&format!("{path}.httpGet"), http, ports)?,
        (_, _, Some(tcp), _) => tcp_socket(&format!("{path}.tcpSocket"), tcp, ports)?,
        (_, _, _, Some(grpc)) => Handler::Grpc {
            port: number(&format!("{path}.grpc.port"), grpc.port)?,
            service: grpc.service.clone().unwrap_or_default(),
        },
        _ => return Err(PlanError::new(path, "needs one of exec, httpGet, tcpSocket and grpc")),
    };
    let at_least_one =
        |written: Option<i32>, default: i32| seconds(i64::from(written.filter(|n| *n > 0).unwrap_or(default)));
    let threshold = |written: Option<i32>, default: u32| {
        written.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
    };
    Ok(Some(ProbePlan {
        handler,
        initial_delay: seconds(i64::from(probe.initial_delay_seconds.unwrap_or(0))),
        period: at_least_one(probe.period_seconds, 10),
        timeout: at_least_one(probe.timeout_seconds, 1),
        success_threshold: threshold(probe.success_threshold, 1),
        failure_threshold: threshold(probe.failure_threshold, 3),
        grace: probe.termination_grace_period_seconds.map(seconds),
    }))
}

/// Plans a hook; `None` where there is none.
pub(super) fn hook(
    path: &str,
    written: Option<&LifecycleHandler>,
    ports: &[PortPlan],
) -> Result<Option<Handler>, PlanError> {
    let Some(hook) = written else { return Ok(None) };
    let handler = match (&hook.exec, &hook.http_get, &hook.tcp_socket, &hook.sleep) {
        (Some(exec), ..) => command(exec),
        (_, Some(http), ..) => http_get(&format!("{path}.httpGet"), http, ports)?,
        (_, _, Some(tcp), _) => tcp_socket(&format!("{path}.tcpSocket"), tcp, ports)?,
        (_, _, _, Some(sleep)) => Handler::Sleep(seconds(sleep.seconds)),
        _ => return Err(PlanError::new(path, "needs one of exec, httpGet, tcpSocket and sleep")),
    };
    Ok(Some(handler))
}

fn command(exec: &ExecAction) -> Handler {
    Handler::Exec(exec.command.clone().unwrap_or_default())
}

fn http_get(path: &str, http: &HTTPGetAction, ports: &[PortPlan]) -> Result<Handler, PlanError> {
    let headers = http.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    Ok(Handler::Http {
        https: http.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        host: non_empty(http.host.as_ref()),
        port: port(path, &http.port, ports)?,
        path: non_empty(http.path.as_ref()).unwrap_or_else(|| "/".to_owned()),
        headers: headers.collect(),
    })
}

fn tcp_socket(path: &str, tcp: &TCPSocketAction, ports: &[PortPlan]) -> Result<Handler, PlanError> {
    Ok(Handler::Tcp { host: non_empty(tcp.host.as_ref()), port: port(path, &tcp.port, ports)? })
}

/// A number, the name of one of the container's ports, or a number in quotes (`pkg/probe/util.go`, `ResolveContainerPort`).
fn port(path: &str, written: &IntOrString, ports: &[PortPlan]) -> Result<u16, PlanError> {
    let path = format!("{path}.port");
    match written {
        IntOrString::Int(port) => number(&path, *port),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.number);
            let unknown =
                || PlanError::new(&path, format!("the container has no port named {name:?}; add it to its ports"));
            named.or_else(|| name.parse().ok().filter(|port| *port > 0)).ok_or_else(unknown)
        }
    }
}

fn number(path: &str, port: i32) -> Result<u16, PlanError> {
    let number = u16::try_from(port).ok().filter(|port| *port > 0);
    number.ok_or_else(|| PlanError::new(path, format!("{port} is no port; write 1 to 65535")))
}

fn non_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}
