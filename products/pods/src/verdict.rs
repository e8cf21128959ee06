//! The exit code of `outrigger run`: a pure function of how everything ended.
//!
//! The rules, first match wins: interrupted 130; out of `--timeout` 124; else the highest over all pods and jobs, where a
//! pod out of its `activeDeadlineSeconds` gives 124, a refused one 125, a failed init container its own code, and all
//! others the highest code of their main containers. Sidecars do not count. A command that is not found gives 127, one
//! that is not executable 126, as in a shell (the status has 128, as with a kubelet).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

/// Out of time, as `timeout` of coreutils says it.
pub const TIMED_OUT: i32 = 124;
/// Refused or failed by us.
pub const REFUSED: i32 = 125;
/// Interrupted by Ctrl-C.
pub const INTERRUPTED: i32 = 130;

/// What happened to the run as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Somebody pressed Ctrl-C or sent a signal.
    pub interrupted: bool,
    /// `--timeout` passed.
    pub timed_out: bool,
}

/// How one pod or job ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The pod ran, or tried to.
    Pod {
        /// Its last status.
        status: Box<PodStatus>,
        /// The names of its sidecars: they do not count.
        sidecars: Vec<String>,
        /// Containers whose command could not be executed, and what a shell would say: 126 or 127.
        not_executed: BTreeMap<String, i32>,
    },
    /// The job reached its end.
    Job {
        /// Whether it completed.
        complete: bool,
        /// The reason of its condition `Failed`.
        reason: Option<String>,
        /// How its pods ended.
        pods: Vec<End>,
    },
    /// It never began, or its runner failed.
    Refused,
}

/// The exit code of the whole run.
pub fn exit_code(ends: &[End], circumstances: Circumstances) -> i32 {
    match circumstances {
        Circumstances { interrupted: true, .. } => INTERRUPTED,
        Circumstances { timed_out: true, .. } => TIMED_OUT,
        _ => ends.iter().map(End::code).max().unwrap_or(0),
    }
}

impl End {
    fn code(&self) -> i32 {
        match self {
            Self::Refused => REFUSED,
            Self::Job { complete: true, .. } => 0,
            Self::Job { reason, .. } if reason.as_deref() == Some("DeadlineExceeded") => TIMED_OUT,
            Self::Job { pods, .. } => positive(pods.iter().map(Self::code).max()),
            Self::Pod { status, .. } if status.reason.as_deref() == Some("DeadlineExceeded") => TIMED_OUT,
            Self::Pod { status, sidecars, not_executed } => pod_code(status, sidecars, not_executed),
        }
    }
}

fn pod_code(status: &PodStatus, sidecars: &[String], not_executed: &BTreeMap<String, i32>) -> i32 {
    let code = |container: &ContainerStatus| {
        let executed = || last_end(container).map(|end| end.exit_code);
        not_executed.get(&container.name).copied().or_else(executed)
    };
    let init = status.init_container_statuses.iter().flatten().filter(|container| !sidecars.contains(&container.name));
    let failed_init = init.filter_map(code).find(|code| *code != 0);
    let main = status.container_statuses.iter().flatten();
    let highest = main.map(|container| code(container).unwrap_or(REFUSED)).max();
    let code = failed_init.or(highest).unwrap_or(REFUSED);
    match status.phase.as_deref() {
        // Lost a claim, over a volume's limit, …: not good, whatever its containers say.
        Some("Failed") => positive(Some(code)),
        _ => code,
    }
}

/// A failure has a code that says so.
fn positive(code: Option<i32>) -> i32 {
    code.filter(|code| *code != 0).unwrap_or(REFUSED)
}

/// How the container ended last: its present state, else the run before.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ended = |state: &'_ Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    let state = if ended(&container.state) { &container.state } else { &container.last_state };
    state.as_ref().and_then(|state| state.terminated.as_ref())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerState, ContainerStateRunning};

    use super::*;

    fn ended(code: i32, reason: &str) -> ContainerState {
        let terminated = ContainerStateTerminated {
            exit_code: code,
            reason: Some(reason.into()),
            ..ContainerStateTerminated::default()
        };
        ContainerState { terminated: Some(terminated), ..ContainerState::default() }
    }

    fn container(name: &str, state: ContainerState, last_state: Option<ContainerState>) -> ContainerStatus {
        ContainerStatus { name: name.into(), state: Some(state), last_state, ..ContainerStatus::default() }
    }

    fn with(code: i32) -> ContainerStatus {
        container("main", ended(code, if code == 0 { "Completed" } else { "Error" }), None)
    }

    fn pod(phase: &str, init: Vec<ContainerStatus>, main: Vec<ContainerStatus>) -> End {
        let status = PodStatus {
            phase: Some(phase.into()),
            init_container_statuses: Some(init),
            container_statuses: Some(main),
            ..PodStatus::default()
        };
        End::Pod { status: Box::new(status), sidecars: vec!["sidecar".into()], not_executed: BTreeMap::new() }
    }

    fn not_executed(code: i32) -> End {
        let End::Pod { status, sidecars, .. } = pod("Failed", vec![], vec![with(128)]) else { unreachable!() };
        End::Pod { status, sidecars, not_executed: [("main".into(), code)].into() }
    }

    fn because(reason: &str, mut end: End) -> End {
        if let End::Pod { status, .. } = &mut end {
            status.reason = Some(reason.into());
        }
        end
    }

    #[test]
    fn every_end_has_its_code() {
        let waiting = || container("main", ContainerState::default(), None);
        let restarting = || container("main", ContainerState::default(), Some(ended(7, "Error")));
        let running = || {
            let running = Some(ContainerStateRunning::default());
            container("main", ContainerState { running, ..ContainerState::default() }, None)
        };
        let init = |name: &str, code| container(name, ended(code, "Error"), None);
        let job = |complete, reason: &str, pods| End::Job { complete, reason: Some(reason.into()), pods };
        for (what, ends, code) in [
            ("nothing ran", vec![], 0),
            ("one that is good", vec![pod("Succeeded", vec![], vec![with(0)])], 0),
            ("the highest of its main containers", vec![pod("Failed", vec![], vec![with(3), with(0), with(2)])], 3),
            ("one that was killed", vec![pod("Failed", vec![], vec![with(137)])], 137),
            (
                "the highest over all pods",
                vec![pod("Failed", vec![], vec![with(3)]), pod("Failed", vec![], vec![with(9)])],
                9,
            ),
            ("sidecars do not count", vec![pod("Succeeded", vec![init("sidecar", 143)], vec![with(0)])], 0),
            ("a failed init container gives its own", vec![pod("Failed", vec![init("setup", 4)], vec![waiting()])], 4),
            ("stopped before it ran", vec![pod("Failed", vec![], vec![waiting()])], 125),
            ("stopped while it waited to be restarted", vec![pod("Failed", vec![], vec![restarting()])], 7),
            ("its runner died", vec![pod("Running", vec![], vec![running()])], 125),
            ("a command that is not found", vec![not_executed(127)], 127),
            ("a command that is a directory", vec![not_executed(126)], 126),
            ("its deadline passed", vec![because("DeadlineExceeded", pod("Failed", vec![], vec![with(137)]))], 124),
            ("evicted after it was good", vec![because("Evicted", pod("Failed", vec![], vec![with(0)]))], 125),
            ("refused", vec![pod("Failed", vec![], vec![with(3)]), End::Refused], 125),
            ("a job with one retry", vec![job(true, "", vec![pod("Failed", vec![], vec![with(3)])])], 0),
            (
                "a job that failed",
                vec![job(false, "BackoffLimitExceeded", vec![pod("Failed", vec![], vec![with(3)])])],
                3,
            ),
            ("a job out of time", vec![job(false, "DeadlineExceeded", vec![])], 124),
            ("a job without a pod", vec![job(false, "BackoffLimitExceeded", vec![])], 125),
        ] {
            assert_eq!(exit_code(&ends, Circumstances::default()), code, "{what}");
        }
    }

    #[test]
    fn an_interrupt_beats_a_timeout_and_both_beat_the_containers() {
        let ends = [pod("Failed", vec![], vec![with(3)])];
        let timed_out = Circumstances { timed_out: true, interrupted: false };
        assert_eq!(exit_code(&ends, timed_out), 124);
        assert_eq!(exit_code(&ends, Circumstances { interrupted: true, ..timed_out }), 130);
    }
}
