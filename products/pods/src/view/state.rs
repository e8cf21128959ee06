//! What the live lines and the plain lines say about containers: their states in words, and what has changed between two
//! statuses.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};

/// Whether something went as wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Waiting, or not begun.
    Idle,
    /// Running or done.
    Good,
    /// Failed, or tried again.
    Bad,
}

/// All containers of a status, init containers first.
pub fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
}

/// A container's state in a word or two.
pub fn word(status: &ContainerStatus) -> (String, Mood) {
    let Some(state) = &status.state else { return ("waiting".to_owned(), Mood::Idle) };
    if state.running.is_some() {
        return ("running".to_owned(), Mood::Good);
    }
    if let Some(ended) = &state.terminated {
        return match (ended.exit_code, ended.reason.as_deref()) {
            (0, _) => ("done".to_owned(), Mood::Good),
            (143, _) => ("stopped".to_owned(), Mood::Idle),
            (code, Some("Error") | None) => (format!("failed ({code})"), Mood::Bad),
            (code, Some(reason)) => (format!("{reason} ({code})"), Mood::Bad),
        };
    }
    match state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()) {
        None | Some("" | "PodInitializing" | "ContainerCreating") => ("waiting".to_owned(), Mood::Idle),
        Some(reason) => (reason.to_owned(), Mood::Bad),
    }
}

/// What its probes say, where it has any.
pub fn probes(status: &ContainerStatus, has_startup: bool, has_readiness: bool) -> &'static str {
    if status.state.as_ref().is_none_or(|state| state.running.is_none()) {
        ""
    } else if has_startup && status.started != Some(true) {
        "starting"
    } else if !has_readiness {
        ""
    } else if status.ready {
        "ready"
    } else {
        "not ready"
    }
}

/// What happened to the containers between two statuses, a sentence each: container, sentence, mood.
pub fn changes(before: &PodStatus, now: &PodStatus) -> Vec<(String, String, Mood)> {
    let mut told = Vec::new();
    for container in containers(now) {
        let earlier = containers(before).find(|one| one.name == container.name);
        let runs_before = earlier.map_or(0, |one| one.restart_count);
        let state_before = earlier.and_then(|one| one.state.as_ref());
        let mut tell = |text: String, mood| told.push((container.name.clone(), text, mood));
        // A run that began and ended between two looks is told by what it left.
        if container.restart_count > runs_before
            && let Some(last) = ended(container.last_state.as_ref())
            && state_before.is_none_or(|state| state.terminated.as_ref() != Some(last))
        {
            if began_unseen(last, state_before) {
                tell(start(container.restart_count - 1), Mood::Good);
            }
            let (text, mood) = end(last);
            tell(text, mood);
        }
        let Some(state) = &container.state else { continue };
        if state_before == Some(state) {
            continue;
        }
        if state.running.is_some()
            && state_before.is_none_or(|state| state.running.is_none() || container.restart_count > runs_before)
        {
            tell(start(container.restart_count), Mood::Good);
        } else if let Some(it) = ended(Some(state)) {
            if began_unseen(it, state_before) {
                tell(start(container.restart_count), Mood::Good);
            }
            let (text, mood) = end(it);
            tell(text, mood);
        } else if let Some(waiting) = &state.waiting
            && let Some(reason) = waiting.reason.as_deref()
            && !matches!(reason, "" | "PodInitializing" | "ContainerCreating")
        {
            let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            tell(format!("waits, {reason}{message}"), Mood::Bad);
        }
    }
    told
}

fn ended(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state.and_then(|state| state.terminated.as_ref())
}

/// Whether this run was not seen while it ran. One that could not be started began in 1970.
fn began_unseen(run: &ContainerStateTerminated, before: Option<&ContainerState>) -> bool {
    let seen = before.and_then(|state| state.running.as_ref()).and_then(|running| running.started_at.as_ref());
    run.started_at.as_ref().is_some_and(|at| at.0 > Timestamp::UNIX_EPOCH && seen != Some(at))
}

fn start(restarts: i32) -> String {
    match restarts {
        0 => "started".to_owned(),
        count => format!("started again (restart {count})"),
    }
}

fn end(run: &ContainerStateTerminated) -> (String, Mood) {
    let (code, message) = (run.exit_code, run.message.as_deref());
    let reason = run.reason.as_deref().filter(|reason| !matches!(*reason, "" | "Error" | "Completed"));
    let mut text = match (code, run.signal.filter(|signal| *signal != 0)) {
        (0, _) => "completed".to_owned(),
        // SIGTERM, by which a container is stopped in order.
        (143, _) => "stopped, exit code 143".to_owned(),
        (code, Some(signal)) => format!("killed by signal {signal}, exit code {code}"),
        (code, None) => format!("failed, exit code {code}"),
    };
    for more in [reason, message.map(str::trim).filter(|message| !message.is_empty())].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(more);
    }
    (text, if matches!(code, 0 | 143) { Mood::Good } else { Mood::Bad })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(restarts: i32, state: &Value, last: &Value) -> PodStatus {
        let container = json!({"name": "app", "ready": false, "restartCount": restarts, "image": "", "imageID": "",
            "state": state, "lastState": last});
        serde_json::from_value(json!({"containerStatuses": [container]})).unwrap()
    }

    fn told(before: &PodStatus, now: &PodStatus) -> Vec<String> {
        changes(before, now).into_iter().map(|(_, text, _)| text).collect()
    }

    #[test]
    fn every_change_is_told_once_also_one_that_nobody_saw() {
        let nothing = PodStatus::default();
        let created = pod(0, &json!({"waiting": {"reason": "ContainerCreating"}}), &json!({}));
        let running = pod(0, &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}), &json!({}));
        let failed = json!({"terminated": {
            "exitCode": 3, "reason": "Error", "message": "no luck\n", "startedAt": "2026-01-01T00:00:00Z"}});
        let backing_off = pod(1, &json!({"waiting": {"reason": "CrashLoopBackOff"}}), &failed);
        let again = pod(1, &json!({"running": {"startedAt": "2026-01-01T00:00:10Z"}}), &failed);
        let oom = json!({"terminated": {
            "exitCode": 137, "signal": 9, "reason": "OOMKilled", "startedAt": "2026-01-01T00:00:10Z"}});
        let killed = pod(1, &oom, &failed);
        assert!(told(&nothing, &created).is_empty());
        assert_eq!(told(&created, &running), ["started"]);
        assert!(told(&running, &running).is_empty());
        assert_eq!(told(&running, &backing_off), ["failed, exit code 3: no luck", "waits, CrashLoopBackOff"]);
        assert_eq!(told(&backing_off, &again), ["started again (restart 1)"]);
        assert_eq!(told(&again, &killed), ["killed by signal 9, exit code 137: OOMKilled"]);
        let short = ["started", "failed, exit code 3: no luck"];
        assert_eq!(told(&created, &pod(0, &failed, &json!({}))), short);
        assert_eq!(told(&created, &backing_off), [&short[..], &["waits, CrashLoopBackOff"]].concat());
        let again_short = ["started again (restart 1)", "killed by signal 9, exit code 137: OOMKilled"];
        assert_eq!(told(&created, &killed), [&short[..], &again_short].concat());
        let never = json!({"terminated": {
            "exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}});
        assert_eq!(told(&created, &pod(0, &never, &json!({}))), ["failed, exit code 128: StartError"]);
    }

    #[test]
    fn states_are_words() {
        for (state, expected) in [
            (json!({"running": {}}), "running"),
            (json!({"waiting": {"reason": "PodInitializing"}}), "waiting"),
            (json!({"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullBackOff"),
            (json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), "done"),
            (json!({"terminated": {"exitCode": 3, "reason": "Error"}}), "failed (3)"),
            (json!({"terminated": {"exitCode": 128, "reason": "StartError"}}), "StartError (128)"),
        ] {
            assert_eq!(word(&pod(0, &state, &json!({})).container_statuses.unwrap()[0]).0, expected);
        }
    }
}
