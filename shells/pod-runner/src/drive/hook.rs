//! Hooks and probes: commands in the container, requests over the network.

use std::sync::Arc;
use std::time::Duration;

use outrigger_pod_core::life::{Event, HookKind, HookOutcome, Instance, ProbeKind, ProbeOutcome};
use outrigger_pod_core::plan::Handler;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{sleep, timeout};

use super::pod::Pod;
use crate::launcher::{ContainerId, ExecRequest, ExecSession, LaunchError};

/// The most bytes of a probe's answer that are kept (`pkg/probe/http/http.go`, `maxRespBodyLength`; `pkg/probe/exec`).
const ANSWER: u64 = 10 * 1024;

/// Runs a hook and tells how it went.
pub(super) async fn hook(
    pod: Arc<Pod>,
    id: Option<ContainerId>,
    instance: Instance,
    kind: HookKind,
    limit: Option<Duration>,
) {
    let handler = pod.plan.container(&instance.container).and_then(|container| match kind {
        HookKind::PostStart => container.post_start.clone(),
        HookKind::PreStop => container.pre_stop.clone(),
    });
    let outcome = match (handler, id) {
        (Some(handler), Some(id)) => {
            let run = run_hook(&pod, &id, handler);
            match limit {
                None => run.await,
                Some(limit) => timeout(limit, run).await.unwrap_or(HookOutcome::TimedOut),
            }
        }
        (None, _) => HookOutcome::Done,
        (_, None) => HookOutcome::Failed(format!("container {} does not run", instance.container)),
    };
    pod.tell(Event::HookDone { instance, hook: kind, outcome }).await;
}

async fn run_hook(pod: &Pod, id: &ContainerId, handler: Handler) -> HookOutcome {
    match handler {
        Handler::Sleep(time) => {
            sleep(time).await;
            HookOutcome::Done
        }
        Handler::Exec(command) => match exec(pod, id, &command).await {
            Ok((0, _)) => HookOutcome::Done,
            Ok((code, said)) => HookOutcome::Failed(format!("command {command:?} exited with {code}: {said:?}")),
            Err(error) => HookOutcome::Failed(format!("command {command:?} could not be run: {error}")),
        },
        _ => HookOutcome::Failed("".to_owned()),
    }
}

/// Asks a probe once and tells what it found.
pub(super) async fn probe(pod: Arc<Pod>, id: Option<ContainerId>, instance: Instance, kind: ProbeKind) {
    let plan = pod.plan.container(&instance.container).and_then(|container| match kind {
        ProbeKind::Startup => container.startup.clone(),
        ProbeKind::Readiness => container.readiness.clone(),
        ProbeKind::Liveness => container.liveness.clone(),
    });
    let (Some(plan), Some(id)) = (plan, id) else { return };
    let outcome = match plan.handler {
        Handler::Exec(command) => match timeout(plan.timeout, exec(&pod, &id, &command)).await {
            Ok(Ok((0, _))) => ProbeOutcome::Success,
            Ok(Ok((_, said))) => ProbeOutcome::Failure(said),
            Ok(Err(error)) => ProbeOutcome::Unknown(error.to_string()),
            Err(_) => ProbeOutcome::Failure(format!("command timed out after {:?}", plan.timeout)),
        },
        _ => return,
    };
    pod.tell(Event::Probed { instance, kind, outcome }).await;
}

/// Runs a command to its end; answers its code and what it said. Dropping it kills the command.
async fn exec(pod: &Pod, id: &ContainerId, command: &[String]) -> Result<(i32, String), LaunchError> {
    let request = ExecRequest { command: command.to_vec(), stdin: false, terminal: None };
    let ExecSession { stdin, stdout, stderr, terminal: _, ended } = pod.launcher.exec(id, request).await?;
    drop(stdin);
    let read_errors = async {
        match stderr {
            Some(stderr) => said(stderr).await,
            None => Vec::new(),
        }
    };
    let (mut output, errors, code) = tokio::join!(said(stdout), read_errors, ended);
    output.extend(errors);
    output.truncate(usize::try_from(ANSWER).unwrap_or(usize::MAX));
    Ok((code?, String::from_utf8_lossy(&output).into_owned()))
}

/// The beginning of what comes; the rest is read and dropped, so that the command can end.
async fn said(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let _ = (&mut from).take(ANSWER).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    kept
}
