//! A Job's decisions over a simulated crowd of pods.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A driver without I/O: it does what it is told, and its pods end when the test says so.
struct Crowd {
    plan: JobPlan,
    status: JobStatus,
    pods: Vec<JobPod>,
    now: Timestamp,
    wake: Option<Timestamp>,
    end: Option<JobEnd>,
}

impl Crowd {
    fn new(spec: &Value) -> Self {
        let mut whole = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let job = serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": whole})).unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        let plan = JobPlan::new(job, "u");
        let mut crowd = Self { plan, status: JobStatus::default(), pods: vec![], now, wake: None, end: None };
        crowd.decide();
        crowd
    }

    /// Decides, and carries out.
    fn decide(&mut self) {
        let decision = decide(&self.plan, &self.status, &self.pods, self.now);
        self.status = decision.status;
        self.wake = decision.wake;
        self.end = decision.end;
        for action in decision.actions {
            match action {
                JobAction::Start { index } => self.pods.push(JobPod::started(format!("p{}", self.pods.len()), index)),
                JobAction::Stop { pod } => {
                    let stopped = self.pods.iter_mut().find(|known| known.name == pod).expect("a known pod is stopped");
                    stopped.stopped = Some(self.now);
                }
            }
        }
    }

    fn finish(&mut self, place: usize, how: PodEnd) {
        self.pods[place].end = Some((how, self.now));
        self.decide();
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.decide();
    }

    fn running(&self) -> Vec<usize> {
        (0..self.pods.len()).filter(|place| self.pods[*place].end.is_none()).collect()
    }

    fn conditions(&self) -> Vec<(&str, &str)> {
        let conditions = self.status.conditions.iter().flatten();
        conditions
            .map(|condition| (condition.type_.as_str(), condition.reason.as_deref().unwrap_or_default()))
            .collect()
    }
}

#[test]
fn one_pod_that_succeeds_completes_the_job() {
    let mut crowd = Crowd::new(&json!({}));
    assert_eq!(crowd.pods.len(), 1);
    assert_eq!((crowd.status.active, crowd.status.succeeded), (Some(1), None));
    crowd.finish(0, PodEnd::Succeeded);
    assert_eq!(crowd.end, Some(JobEnd::Complete));
    assert_eq!(crowd.conditions(), [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]);
    assert_eq!((crowd.status.active, crowd.status.succeeded), (Some(0), Some(1)));
    assert_eq!(crowd.status.completion_time, Some(Time(crowd.now)));
}

#[test]
fn parallelism_bounds_what_runs_and_completions_what_is_started() {
    let mut crowd = Crowd::new(&json!({"completions": 3, "parallelism": 2}));
    assert_eq!(crowd.running(), [0, 1]);
    crowd.finish(0, PodEnd::Succeeded);
    assert_eq!(crowd.running(), [1, 2]);
    crowd.finish(1, PodEnd::Succeeded);
    assert_eq!(crowd.running(), [2]);
    crowd.finish(2, PodEnd::Succeeded);
    assert_eq!(crowd.end, Some(JobEnd::Complete));
}

#[test]
fn without_completions_the_first_success_is_enough_and_the_others_end_by_themselves() {
    let mut crowd = Crowd::new(&json!({"parallelism": 3}));
    crowd.finish(1, PodEnd::Succeeded);
    assert_eq!(crowd.running(), [0, 2]);
    crowd.finish(0, PodEnd::Failed);
    assert_eq!(crowd.pods.len(), 3);
    crowd.finish(2, PodEnd::Succeeded);
    assert_eq!(crowd.end, Some(JobEnd::Complete));
}

#[test]
fn failures_wait_ten_seconds_and_then_twice_as_long_to_ten_minutes() {
    let mut crowd = Crowd::new(&json!({"backoffLimit": 20}));
    for wait in [10, 20, 40, 80, 160, 320, 600, 600] {
        let last = crowd.pods.len() - 1;
        crowd.finish(last, PodEnd::Failed);
        assert_eq!(crowd.wake, Some(crowd.now + SignedDuration::from_secs(wait)));
        crowd.pass(wait - 1);
        assert_eq!(crowd.running(), [0_usize; 0]);
        crowd.pass(1);
        assert_eq!(crowd.running().len(), 1);
    }
}

#[test]
fn a_success_forgets_the_failures_before_it() {
    let mut crowd = Crowd::new(&json!({"completions": 5}));
    crowd.finish(0, PodEnd::Failed);
    crowd.pass(10);
    crowd.finish(1, PodEnd::Failed);
    crowd.pass(20);
    crowd.finish(2, PodEnd::Succeeded);
    crowd.pass(1);
    crowd.finish(3, PodEnd::Failed);
    assert_eq!(crowd.wake, Some(crowd.now + SignedDuration::from_secs(10)));
}

#[test]
fn one_failure_too_many_fails_the_job_and_stops_the_others() {
    let mut crowd = Crowd::new(&json!({"completions": 4, "parallelism": 2, "backoffLimit": 0}));
    crowd.finish(0, PodEnd::Failed);
    assert_eq!(crowd.pods[1].stopped, Some(crowd.now));
    assert_eq!(crowd.conditions(), [("FailureTarget", "BackoffLimitExceeded")]);
    assert_eq!((crowd.status.active, crowd.status.terminating, crowd.status.failed), (Some(0), Some(1), Some(2)));
    assert_eq!(crowd.end, None);
    crowd.pass(5);
    crowd.finish(1, PodEnd::Failed);
    assert_eq!(crowd.end, Some(JobEnd::BackoffLimitExceeded));
    assert_eq!(crowd.conditions(), [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]);
    assert_eq!((crowd.status.terminating, crowd.status.failed), (Some(0), Some(2)));
}

#[test]
fn restarts_count_where_the_pods_restart_their_containers() {
    let template = json!({"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}});
    let mut crowd = Crowd::new(&json!({"backoffLimit": 2, "template": template}));
    crowd.pods[0].restarts = 1;
    crowd.pass(1);
    assert_eq!(crowd.conditions(), []);
    crowd.pods[0].restarts = 2;
    crowd.pass(1);
    assert_eq!(crowd.conditions(), [("FailureTarget", "BackoffLimitExceeded")]);
}

#[test]
fn the_deadline_ends_the_job() {
    let mut crowd = Crowd::new(&json!({"activeDeadlineSeconds": 60}));
    assert_eq!(crowd.wake, Some(crowd.now + SignedDuration::from_secs(60)));
    crowd.pass(60);
    assert!(crowd.pods[0].stopped.is_some());
    crowd.pods[0].end = Some((PodEnd::Failed, crowd.now));
    crowd.pass(1);
    assert_eq!(crowd.end, Some(JobEnd::DeadlineExceeded));
    assert_eq!(crowd.wake, None);
}

#[test]
fn a_suspended_job_starts_nothing() {
    let mut crowd = Crowd::new(&json!({"suspend": true, "activeDeadlineSeconds": 1}));
    crowd.pass(100);
    assert_eq!(crowd.pods.len(), 0);
    assert_eq!(crowd.status.start_time, None);
    assert_eq!(crowd.conditions(), [("Suspended", "JobSuspended")]);
}

#[test]
fn an_indexed_job_repeats_the_index_that_failed() {
    let mut crowd = Crowd::new(&json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2}));
    let indexes = |crowd: &Crowd| crowd.pods.iter().map(|pod| pod.index.unwrap()).collect::<Vec<_>>();
    assert_eq!(indexes(&crowd), [0, 1]);
    crowd.finish(0, PodEnd::Failed);
    crowd.pass(10);
    assert_eq!(indexes(&crowd), [0, 1, 0]);
    crowd.finish(1, PodEnd::Succeeded);
    assert_eq!(indexes(&crowd), [0, 1, 0, 2]);
    crowd.finish(3, PodEnd::Succeeded);
    assert_eq!(crowd.status.completed_indexes.as_deref(), Some("1,2"));
    crowd.finish(2, PodEnd::Succeeded);
    assert_eq!(crowd.status.completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(crowd.end, Some(JobEnd::Complete));
}

#[test]
fn a_stopped_pod_is_replaced_at_once_unless_only_failed_ones_are() {
    for (policy, pods) in [("TerminatingOrFailed", 2), ("Failed", 1)] {
        let mut crowd = Crowd::new(&json!({"podReplacementPolicy": policy}));
        crowd.pods[0].stopped = Some(crowd.now);
        crowd.pass(10);
        assert_eq!(crowd.pods.len(), pods, "{policy}");
    }
}

#[test]
fn a_pod_is_named_labeled_and_told_its_index() {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "template": {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}}});
    let job = serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": spec})).unwrap();
    let plan = JobPlan::new(job, "u1");
    let pod = plan.pod(Some(2), "abcde");
    assert_eq!(pod.metadata.name.as_deref(), Some("j-2-abcde"));
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["app"], "x");
    assert_eq!(labels["batch.kubernetes.io/job-name"], "j");
    assert_eq!(labels["batch.kubernetes.io/job-completion-index"], "2");
    let spec = pod.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("j-2"));
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        assert_eq!(container.env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
    }
    let long = json!({"metadata": {"name": "x".repeat(80)}, "spec": {"template": {}}});
    let name = JobPlan::new(serde_json::from_value(long).unwrap(), "u").pod(None, "abcde").metadata.name.unwrap();
    assert_eq!((name.len(), &name[56..]), (63, "x-abcde"));
}

#[test]
fn an_observed_status_tells_how_a_pod_ended() {
    let status = json!({"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
        {"name": "c", "restartCount": 3, "image": "", "imageID": "", "ready": false,
         "state": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:10:00Z"}}}]});
    let mut pod = JobPod::started("p".to_owned(), None);
    pod.observe(&serde_json::from_value(status).unwrap(), Timestamp::UNIX_EPOCH);
    assert_eq!(pod.restarts, 3);
    assert_eq!(pod.end, Some((PodEnd::Failed, Timestamp::from_second(600).unwrap())));
}

/// 20,000 orders; when soaking, as many as `PROPTEST_CASES` says.
#[expect(clippy::disallowed_methods, reason = "a test reads whether it is to soak")]
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = if std::env::var_os("OUTRIGGER_SOAK").is_some() { given.cases.max(100_000) } else { 20_000 };
    ProptestConfig { cases, ..given }
}

proptest! {
    #![proptest_config(config())]
    /// Whatever the order in which pods end: never more run than allowed, never more succeed than asked, no index runs
    /// twice at once, a driver that comes back with the recorded status decides the same, and the Job ends.
    #[test]
    fn a_job_keeps_its_promises(
        completions in 1_u32..6,
        parallelism in 1_u32..4,
        limit in 0_u32..5,
        indexed: bool,
        ends in proptest::collection::vec((0_usize..4, any::<bool>()), 60),
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let spec = json!({"completions": completions, "parallelism": parallelism, "backoffLimit": limit, "completionMode": mode});
        let mut crowd = Crowd::new(&spec);
        for (which, good) in ends {
            let running = crowd.running();
            prop_assert!(running.len() <= parallelism as usize);
            let mut indexes = BTreeMap::new();
            for place in &running {
                *indexes.entry(crowd.pods[*place].index).or_insert(0) += 1;
            }
            prop_assert!(!indexed || indexes.values().all(|count| *count == 1));
            let again = decide(&crowd.plan, &crowd.status, &crowd.pods, crowd.now);
            prop_assert_eq!(&again.status, &crowd.status);
            prop_assert!(again.actions.is_empty());
            match running.get(which % running.len().max(1)) {
                Some(place) => crowd.finish(*place, if good { PodEnd::Succeeded } else { PodEnd::Failed }),
                None => crowd.pass(600),
            }
        }
        for _ in 0..40 {
            match crowd.running().first() {
                Some(place) => crowd.finish(*place, PodEnd::Succeeded),
                None => crowd.pass(600),
            }
        }
        prop_assert!(crowd.end.is_some());
        prop_assert!(crowd.status.succeeded.unwrap_or(0) <= i32::try_from(completions).unwrap());
        prop_assert_eq!(crowd.status.active, Some(0));
    }
}
