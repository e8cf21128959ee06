//! A record of each format that was ever written is read, and what cannot be read is refused by name.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use jiff::Timestamp;
use outrigger_pod_core::life::{Action, Found, Instance, Lost, Machine, Options, RestoreError, World};
use outrigger_pod_core::plan::{ContainerName, Handler, PodPlan, RestartPolicy, Role};
use serde_json::Value;

/// A sidecar and a main container with a probe, 12 s after the pod began, the main container in its second run.
const FORMAT_1: &str = include_str!("record/format-1.json");

fn plan() -> Arc<PodPlan> {
    let mut main = common::container("main", Role::Main);
    main.liveness = Some(common::probe());
    main.pre_stop = Some(Handler::Exec(vec!["true".to_owned()]));
    Arc::new(common::pod(RestartPolicy::Always, vec![common::container("proxy", Role::Sidecar), main]))
}

fn sample() -> Value {
    serde_json::from_str(FORMAT_1).unwrap()
}

fn found(name: &str, attempt: u32) -> Found {
    let instance = Instance { container: ContainerName(name.to_owned()), attempt };
    Found { instance, id: format!("host://{name}"), started_at: now(), exit: None }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:20Z".parse().unwrap()
}

fn restore(record: &Value, found: &[Found]) -> Result<(Machine, Vec<Action>), RestoreError> {
    Machine::restore(plan(), Options::default(), record, World { found, lost: Lost::Ended }, now())
}

#[test]
fn the_first_format_is_read() {
    let (machine, actions) = restore(&sample(), &[found("proxy", 0), found("main", 1)]).unwrap();
    let status = serde_json::to_value(machine.status()).unwrap();
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    let instance = found("main", 1).instance;
    assert_eq!(actions, [Action::Probe { instance, kind: outrigger_pod_core::life::ProbeKind::Liveness }]);
}

#[test]
fn a_run_that_nobody_knows_is_ended() {
    let (_, actions) = restore(&sample(), &[found("main", 0), found("main", 1)]).unwrap();
    assert!(matches!(&actions[0], Action::Stop { instance, .. } if *instance == found("main", 0).instance));
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let mut record = sample();
    record["format"] = 9.into();
    assert_eq!(restore(&record, &[]).unwrap_err(), RestoreError::Format { found: "9".to_owned() });
    let mut record = sample();
    record["uid"] = "other".into();
    assert!(matches!(restore(&record, &[]), Err(RestoreError::OtherPod { .. })));
    let mut record = sample();
    record["containers"][1]["state"]["run"]["startedAt"] = "noon".into();
    let damaged = RestoreError::Damaged { path: "containers[1].state.run.startedAt".to_owned() };
    assert_eq!(restore(&record, &[]).unwrap_err(), damaged);
}

#[test]
fn what_was_read_is_written_unchanged() {
    let mut expected = sample();
    let (machine, _) = restore(&expected, &[found("proxy", 0), found("main", 1)]).unwrap();
    let mut record = machine.record();
    for changed in ["/now", "/containers/1/state/run/probes/liveness/asked"] {
        *expected.pointer_mut(changed).unwrap() = Value::Null;
        *record.pointer_mut(changed).unwrap() = Value::Null;
    }
    assert_eq!(record, expected);
}
