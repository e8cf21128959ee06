//! A JSON value back to a machine.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{FORMAT, RestoreError};
use crate::life::backoff::{BackOff, Pace};
use crate::life::conditions::Transition;
use crate::life::container::{Container, Ended, Run, Stage, State, Stop, StopCause, Why};
use crate::life::ending::{Cause, Ending};
use crate::life::machine::Prepare;
use crate::life::phase::Phase;
use crate::life::probe::{Probe, Probes};
use crate::life::{Machine, Options, PodAddresses};
use crate::plan::PodPlan;

type Read<T> = Result<T, RestoreError>;

pub(super) fn machine(plan: Arc<PodPlan>, options: Options, record: &Value, now: Timestamp) -> Read<Machine> {
    let format = &record["format"];
    if format.as_u64() != Some(FORMAT) {
        return Err(RestoreError::Format { found: format.to_string() });
    }
    let at = At { value: record, path: String::new() };
    let uid = at.get("uid").text()?;
    if uid != plan.uid {
        return Err(RestoreError::OtherPod { what: format!("its uid is {uid}") });
    }
    let records = at.get("containers").list()?;
    let names = records.iter().map(|it| it.get("name").text()).collect::<Read<Vec<_>>>()?;
    if !names.iter().eq(plan.containers.iter().map(|container| &container.name.0)) {
        return Err(RestoreError::OtherPod { what: format!("its containers are {}", names.join(", ")) });
    }
    Ok(Machine {
        plan,
        pace: Pace::scaled(options.back_off_scale),
        now: at.get("now").time()?.max(now),
        began: at.get("began").time()?,
        prepare: prepare(&at.get("prepare"))?,
        containers: records.iter().map(container).collect::<Read<_>>()?,
        initialized: at.get("initialized").flag()?,
        was_initialized: at.get("wasInitialized").flag()?,
        resetting: at.get("resetting").flag()?,
        ending: at.get("ending").option(ending)?,
        deleted: at.get("deleted").flag()?,
        at_once: at.get("atOnce").flag()?,
        last: at.get("last").option(last)?,
        removed: at.get("removed").flag()?,
        transitions: at.get("transitions").list()?.iter().map(transition).collect::<Read<_>>()?,
    })
}

/// A place in the record.
struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    fn get(&self, key: &str) -> At<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        At { value: &self.value[key], path: format!("{}{dot}{key}", self.path) }
    }

    fn list(&self) -> Read<Vec<At<'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.damaged())?;
        let all = list.iter().enumerate().map(|(i, value)| At { value, path: format!("{}[{i}]", self.path) });
        Ok(all.collect())
    }

    fn option<T>(&self, read: impl Fn(&Self) -> Read<T>) -> Read<Option<T>> {
        if self.value.is_null() { Ok(None) } else { read(self).map(Some) }
    }

    fn damaged(&self) -> RestoreError {
        RestoreError::Damaged { path: self.path.clone() }
    }

    fn flag(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.damaged())
    }

    fn number<T: TryFrom<i64>>(&self) -> Read<T> {
        self.value.as_i64().and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.damaged())
    }

    fn text(&self) -> Read<String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.damaged())
    }

    fn time(&self) -> Read<Timestamp> {
        self.value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| self.damaged())
    }

    fn span(&self) -> Read<Duration> {
        self.value.as_u64().map(Duration::from_nanos).ok_or_else(|| self.damaged())
    }
}

fn prepare(at: &At) -> Read<Prepare> {
    let addresses = |key: &str| -> Read<Vec<IpAddr>> {
        let all = at.get(key).list()?;
        all.iter().map(|it| it.text()?.parse().map_err(|_| it.damaged())).collect()
    };
    if at.value == "asked" {
        Ok(Prepare::Asked)
    } else if let Some(due) = at.get("due").option(At::time)? {
        Ok(Prepare::Due(due))
    } else {
        Ok(Prepare::Done(PodAddresses { pod: addresses("pod")?, host: addresses("host")? }))
    }
}

fn ending(at: &At) -> Read<Ending> {
    let texts = || Ok((at.get("reason").text()?, at.get("message").text()?));
    let cause = match at.get("cause").text()?.as_str() {
        "finished" => Cause::Finished,
        "deleted" => Cause::Deleted,
        "deadline" => Cause::Deadline,
        "evicted" => texts().map(|(reason, message)| Cause::Evicted { reason, message })?,
        "rejected" => texts().map(|(reason, message)| Cause::Rejected { reason, message })?,
        _ => return Err(at.get("cause").damaged()),
    };
    Ok(Ending { cause, deadline: at.get("deadline").time()? })
}

fn last(at: &At) -> Read<Phase> {
    let finals = [Phase::Succeeded, Phase::Failed];
    finals.into_iter().find(|phase| at.value == phase.name()).ok_or_else(|| at.damaged())
}

fn transition(at: &At) -> Read<Transition> {
    Ok(Transition { kind: at.get("kind").text()?, holds: at.get("holds").flag()?, since: at.get("since").time()? })
}

fn container(at: &At) -> Read<Container> {
    Ok(Container {
        state: state(&at.get("state"))?,
        attempt: at.get("attempt").number()?,
        restarts: at.get("restarts").number()?,
        created: at.get("created").flag()?,
        ended: at.get("ended").option(ended)?,
        before: at.get("before").option(ended)?,
        why: at.get("why").option(why)?,
        exited_at: at.get("exitedAt").option(At::time)?,
        forced: at.get("forced").flag()?,
        crash: back_off(&at.get("crash"))?,
        pull: back_off(&at.get("pull"))?,
        pull_error: at.get("pullError").text()?,
        image_id: at.get("imageId").text()?,
        id: at.get("id").text()?,
        passed: at.get("passed").flag()?,
    })
}

fn why(at: &At) -> Read<Why> {
    Ok(Why { reason: at.get("reason").text()?, message: at.get("message").text()? })
}

fn back_off(at: &At) -> Read<BackOff> {
    let entry = at.option(|at| Ok((at.get("delay").span()?, at.get("updated").time()?)))?;
    Ok(BackOff { entry })
}

fn ended(at: &At) -> Read<Ended> {
    Ok(Ended {
        code: at.get("code").number()?,
        reason: at.get("reason").text()?,
        message: at.get("message").text()?,
        started_at: at.get("startedAt").option(At::time)?,
        finished_at: at.get("finishedAt").option(At::time)?,
        id: at.get("id").text()?,
    })
}

fn state(at: &At) -> Read<State> {
    if at.value == "pulling" {
        return Ok(State::Pulling);
    } else if at.value == "starting" {
        return Ok(State::Starting);
    }
    match at.get("idle").option(At::time)? {
        Some(time) => Ok(State::Idle(time)),
        None => run(&at.get("running")).map(State::Running),
    }
}

fn run(at: &At) -> Read<Run> {
    let probe = |key: &str| at.get(key).option(probe).map(Option::unwrap_or_default);
    Ok(Run {
        id: at.get("id").text()?,
        started_at: at.get("startedAt").time()?,
        hook: at.get("hook").flag()?,
        started: at.get("started").flag()?,
        probes: Probes { startup: probe("startup")?, readiness: probe("readiness")?, liveness: probe("liveness")? },
        stop: at.get("stop").option(stop)?,
    })
}

fn probe(at: &At) -> Read<Probe> {
    Ok(Probe {
        result: at.get("result").option(At::flag)?,
        row: at.get("row").option(|at| Ok((at.get("well").flag()?, at.get("count").number()?)))?,
        asked: at.get("asked").option(|at| Ok((at.get("at").time()?, at.get("open").flag()?)))?,
        hold: at.get("hold").flag()?,
    })
}

fn stop(at: &At) -> Read<Stop> {
    let cause = match at.get("cause").text()?.as_str() {
        "pod" => StopCause::Pod,
        "probe, restart" => StopCause::Probe { restart: true },
        "probe" => StopCause::Probe { restart: false },
        "hook" => StopCause::Hook,
        "restart all" => StopCause::RestartAll,
        _ => return Err(at.get("cause").damaged()),
    };
    let stage = at.get("stage");
    let stage = match stage.value.as_str() {
        Some("preStop") => Stage::PreStop,
        Some("turn") => Stage::Turn,
        _ => Stage::Told(stage.get("told").time()?),
    };
    Ok(Stop { cause, deadline: at.get("deadline").time()?, stage })
}
