//! The machine as a JSON value. Times are RFC 3339 with all their digits, durations are nanoseconds.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::FORMAT;
use crate::life::Machine;
use crate::life::backoff::BackOff;
use crate::life::conditions::Transition;
use crate::life::container::{Container, Ended, Run, Stage, State, Stop, StopCause, Why};
use crate::life::ending::{Cause, Ending};
use crate::life::machine::Prepare;
use crate::life::probe::Probe;

pub(super) fn machine(machine: &Machine) -> Value {
    let containers = machine.plan.containers.iter().zip(&machine.containers);
    json!({
        "format": FORMAT,
        "uid": machine.plan.uid,
        "now": time(machine.now),
        "began": time(machine.began),
        "prepare": prepare(&machine.prepare),
        "containers": containers.map(|(plan, it)| container(&plan.name.0, it)).collect::<Vec<_>>(),
        "initialized": machine.initialized,
        "wasInitialized": machine.was_initialized,
        "resetting": machine.resetting,
        "ending": machine.ending.as_ref().map(ending),
        "deleted": machine.deleted,
        "atOnce": machine.at_once,
        "last": machine.last.map(crate::life::phase::Phase::name),
        "removed": machine.removed,
        "transitions": machine.transitions.iter().map(transition).collect::<Vec<_>>(),
    })
}

fn time(time: Timestamp) -> Value {
    Value::String(time.to_string())
}

fn span(span: Duration) -> Value {
    json!(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn prepare(prepare: &Prepare) -> Value {
    match prepare {
        Prepare::Due(at) => json!({ "due": time(*at) }),
        Prepare::Asked => json!("asked"),
        Prepare::Done(addresses) => json!({
            "pod": addresses.pod.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "host": addresses.host.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
    }
}

fn ending(ending: &Ending) -> Value {
    let (cause, reason, message) = match &ending.cause {
        Cause::Finished => ("finished", None, None),
        Cause::Deleted => ("deleted", None, None),
        Cause::Deadline => ("deadline", None, None),
        Cause::Evicted { reason, message } => ("evicted", Some(reason), Some(message)),
        Cause::Rejected { reason, message } => ("rejected", Some(reason), Some(message)),
    };
    json!({ "cause": cause, "reason": reason, "message": message, "deadline": time(ending.deadline) })
}

fn transition(transition: &Transition) -> Value {
    json!({ "kind": transition.kind, "holds": transition.holds, "since": time(transition.since) })
}

fn container(name: &str, container: &Container) -> Value {
    json!({
        "name": name,
        "state": state(&container.state),
        "attempt": container.attempt,
        "restarts": container.restarts,
        "created": container.created,
        "ended": container.ended.as_ref().map(ended),
        "before": container.before.as_ref().map(ended),
        "why": container.why.as_ref().map(|Why { reason, message }| json!({ "reason": reason, "message": message })),
        "exitedAt": container.exited_at.map(time),
        "forced": container.forced,
        "crash": back_off(container.crash),
        "pull": back_off(container.pull),
        "pullError": container.pull_error,
        "imageId": container.image_id,
        "id": container.id,
        "passed": container.passed,
    })
}

fn back_off(back_off: BackOff) -> Value {
    match back_off.entry {
        Some((delay, updated)) => json!({ "delay": span(delay), "updated": time(updated) }),
        None => Value::Null,
    }
}

fn ended(ended: &Ended) -> Value {
    json!({
        "code": ended.code,
        "reason": ended.reason,
        "message": ended.message,
        "startedAt": ended.started_at.map(time),
        "finishedAt": ended.finished_at.map(time),
        "id": ended.id,
    })
}

fn state(state: &State) -> Value {
    match state {
        State::Idle(at) => json!({ "idle": time(*at) }),
        State::Pulling => json!("pulling"),
        State::Starting => json!("starting"),
        State::Running(run) => json!({ "running": self::run(run) }),
    }
}

fn run(run: &Run) -> Value {
    json!({
        "id": run.id,
        "startedAt": time(run.started_at),
        "hook": run.hook,
        "started": run.started,
        "startup": probe(&run.probes.startup),
        "readiness": probe(&run.probes.readiness),
        "liveness": probe(&run.probes.liveness),
        "stop": run.stop.map(stop),
    })
}

fn probe(probe: &Probe) -> Value {
    if *probe == Probe::default() {
        return Value::Null;
    }
    json!({
        "result": probe.result,
        "row": probe.row.map(|(well, count)| json!({ "well": well, "count": count })),
        "asked": probe.asked.map(|(at, open)| json!({ "at": time(at), "open": open })),
        "hold": probe.hold,
    })
}

fn stop(stop: Stop) -> Value {
    let cause = match stop.cause {
        StopCause::Pod => "pod",
        StopCause::Probe { restart: true } => "probe, restart",
        StopCause::Probe { restart: false } => "probe",
        StopCause::Hook => "hook",
        StopCause::RestartAll => "restart all",
    };
    let stage = match stop.stage {
        Stage::PreStop => json!("preStop"),
        Stage::Turn => json!("turn"),
        Stage::Told(kill) => json!({ "told": time(kill) }),
    };
    json!({ "cause": cause, "deadline": time(stop.deadline), "stage": stage })
}
