//! A stream of choices, and pods made from it.

use std::time::Duration;

use outrigger_pod_core::plan::{ContainerPlan, Handler, PodPlan, ProbePlan, RestartPolicy, RestartRule, Role};

use super::{container, pod, probe};

/// Choices out of bytes, so that a failing case shrinks to fewer and smaller ones; after the last byte all are 0, the
/// calm choice.
pub struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == 0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % n
    }

    /// True about once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn seconds(&mut self, n: usize) -> Duration {
        Duration::from_secs(self.below(n) as u64)
    }
}

/// Exit codes that containers of these pods end with, and that their rules name.
pub const CODES: [i32; 4] = [0, 1, 42, 137];

/// A pod of up to three init containers or sidecars and up to three main containers.
pub fn random_pod(choices: &mut Choices) -> PodPlan {
    let mut containers = Vec::new();
    for i in 0..choices.below(4) {
        let role = if choices.below(2) == 0 { Role::Init } else { Role::Sidecar };
        containers.push(random_container(&format!("init-{i}"), role, choices));
    }
    for i in 0..=choices.below(3) {
        containers.push(random_container(&format!("main-{i}"), Role::Main, choices));
    }
    let mut plan = pod(policy(choices), containers);
    plan.grace = choices.seconds(40);
    plan.active_deadline = choices.one_in(5).then(|| Duration::from_secs(1) + choices.seconds(60));
    plan
}

fn random_container(name: &str, role: Role, choices: &mut Choices) -> ContainerPlan {
    let mut plan = container(name, role);
    if role != Role::Init {
        plan.startup = random_probe(choices);
        plan.readiness = random_probe(choices);
        plan.liveness = random_probe(choices);
        plan.post_start = choices.one_in(4).then(|| Handler::Exec(Vec::new()));
        plan.pre_stop = choices.one_in(4).then(|| Handler::Exec(Vec::new()));
    }
    if role != Role::Sidecar && choices.one_in(4) {
        plan.restart.policy = Some(policy(choices));
        if choices.one_in(2) {
            let (whole_pod, not_in) = (choices.one_in(2), choices.one_in(3));
            let codes = vec![CODES[choices.below(CODES.len())]];
            plan.restart.rules = vec![RestartRule { whole_pod, not_in, codes }];
        }
    }
    plan
}

fn policy(choices: &mut Choices) -> RestartPolicy {
    [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never][choices.below(3)]
}

fn random_probe(choices: &mut Choices) -> Option<ProbePlan> {
    choices.one_in(4).then(|| ProbePlan {
        initial_delay: choices.seconds(3),
        period: Duration::from_secs(1) + choices.seconds(3),
        success_threshold: 1 + u32::from(choices.one_in(3)),
        failure_threshold: 1 + u32::from(choices.one_in(2)),
        grace: choices.one_in(3).then(|| Duration::from_secs(1) + choices.seconds(60)),
        ..probe()
    })
}
