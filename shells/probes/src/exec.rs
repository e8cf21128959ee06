//! Commands in the container, for probes and hooks (`pkg/probe/exec/exec.go`).

use std::pin::pin;
use std::time::Duration;

use outrigger_launcher::{ExecRequest, LaunchError};
use outrigger_pod_core::life::ProbeOutcome;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{Target, go_duration};

/// How much output is kept (`maxReadLength`). What is more is read and dropped, so that the command never waits for us.
const OUTPUT_BYTES: usize = 10 * 1024;

/// How long output is awaited after the command's end where a descendant holds it open.
const DRAIN: Duration = Duration::from_millis(100);

/// Asks an exec probe once: code 0 is good. Over the limit the command is killed. A command that cannot be executed is
/// no failure, since containerd answers an error then and no code (`Probe`); `None` where the container has ended.
pub(super) async fn probe(target: &Target, command: Vec<String>, limit: Duration) -> Option<ProbeOutcome> {
    Some(match timeout(limit, run(target, command)).await {
        Ok(Ok((0, _))) => ProbeOutcome::Success,
        Ok(Ok((_, output))) => ProbeOutcome::Failure(output),
        Ok(Err(LaunchError::Gone(_))) => return None,
        Ok(Err(error)) => ProbeOutcome::Unknown(format!("{:#}", anyhow::Error::new(error))),
        // What a kubelet says with containerd: cri-client's ErrCommandTimedOut around the runtime's own text.
        Err(_) => ProbeOutcome::Failure(format!(
            "command timed out: failed to exec in container: timeout {} exceeded: context deadline exceeded",
            go_duration(limit)
        )),
    })
}

/// Runs a command to its end: its code, and its stdout followed by its stderr, as a kubelet joins them
/// (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `RunInContainer`). Dropping the future kills the command.
pub(super) async fn run(target: &Target, command: Vec<String>) -> Result<(i32, String), LaunchError> {
    let request = ExecRequest { command, stdin: false, terminal: None };
    let mut session = target.launcher.exec(&target.id, request).await?;
    let (mut stdout, mut stderr, mut ended) = (session.stdout, session.stderr.take(), session.ended);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = {
        let mut output = pin!(async {
            tokio::join!(keep(Some(&mut stdout), &mut out), keep(stderr.as_mut(), &mut err));
        });
        let mut open = true;
        let code = loop {
            tokio::select! {
                () = &mut output, if open => open = false,
                code = &mut ended => break code?,
            }
        };
        if open {
            let _ = timeout(DRAIN, output).await; // A descendant may hold it open as long as it likes.
        }
        code
    };
    out.append(&mut err);
    out.truncate(OUTPUT_BYTES);
    Ok((code, String::from_utf8_lossy(&out).into_owned()))
}

/// Reads to the end and keeps the beginning.
async fn keep(from: Option<&mut (impl AsyncRead + Unpin)>, kept: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        let room = OUTPUT_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}
