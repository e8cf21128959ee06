//! Values to JSON and back, each type declared once.
//!
//! Keys are field names in camel case, an enum is an object with its variant under `kind`, times are RFC 3339 with all
//! their digits, durations are nanoseconds, `None` is null. What is missing, or not of its type, is told by its path.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::RestoreError;
use crate::life::backoff::BackOff;
use crate::life::conditions::Transition;
use crate::life::container::{Container, Ended, Run, Stage, State, Stop, StopCause, Why};
use crate::life::ending::{Cause, Ending};
use crate::life::machine::Prepare;
use crate::life::phase::Phase;
use crate::life::probe::{Probe, Probes};
use crate::life::{LinuxUser, PodAddresses};

pub(super) type Read<T> = Result<T, RestoreError>;

/// A value that is recorded.
pub(super) trait Recorded: Sized {
    fn write(&self) -> Value;
    fn read(at: &At) -> Read<Self>;
}

/// A place in the record.
pub(super) struct At<'a> {
    pub value: &'a Value,
    pub path: String,
}

impl<'a> At<'a> {
    pub fn whole(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    pub fn get<T: Recorded>(&self, field: &str) -> Read<T> {
        let (key, dot) = (camel(field), if self.path.is_empty() { "" } else { "." });
        T::read(&At { value: &self.value[&key], path: format!("{}{dot}{key}", self.path) })
    }

    fn need<T>(&self, value: Option<T>) -> Read<T> {
        value.ok_or_else(|| RestoreError::Damaged { path: self.path.clone() })
    }
}

/// An object with these fields.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields.into_iter().map(|(field, value)| (camel(field), value)).collect()
}

/// `started_at` to `startedAt`.
fn camel(field: &str) -> String {
    let mut parts = field.split('_');
    let mut key = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(1);
        key += &first.to_uppercase();
        key += rest;
    }
    key
}

/// A struct, field by field.
macro_rules! record_struct {
    ($type:ident { $($field:ident),* }) => {
        impl Recorded for $type {
            fn write(&self) -> Value {
                object([$((stringify!($field), self.$field.write())),*])
            }

            fn read(at: &At) -> Read<Self> {
                Ok(Self { $($field: at.get(stringify!($field))?),* })
            }
        }
    };
}

/// An enum: variants without values, with named ones, or with one that gets its name here.
macro_rules! record_enum {
    ($type:ident { $($variant:ident $({ $($field:ident),* })? $(( $one:ident ))?),* }) => {
        impl Recorded for $type {
            fn write(&self) -> Value {
                match self {
                    $(Self::$variant $({ $($field),* })? $(($one))? => object([
                        ("kind", json!(stringify!($variant))),
                        $($((stringify!($field), $field.write()),)*)?
                        $((stringify!($one), $one.write()),)?
                    ]),)*
                }
            }

            fn read(at: &At) -> Read<Self> {
                match at.get::<String>("kind")?.as_str() {
                    $(stringify!($variant) => Ok(
                        Self::$variant
                            $({ $($field: at.get(stringify!($field))?),* })?
                            $((at.get(stringify!($one))?))?
                    ),)*
                    _ => at.need(None),
                }
            }
        }
    };
}

record_struct!(Container {
    state,
    attempt,
    restarts,
    created,
    ended,
    before,
    why,
    exited_at,
    forced,
    crash,
    pull,
    pull_error,
    image_id,
    id,
    user,
    passed
});
record_struct!(LinuxUser { uid, gid, groups });
record_enum!(State { Idle(not_before), Pulling, Starting, Running(run) });
record_struct!(Run { id, started_at, hook, started, probes, stop });
record_struct!(Probes { startup, readiness, liveness });
record_struct!(Probe { result, row, asked, hold });
record_struct!(Stop { cause, deadline, stage });
record_enum!(StopCause { Pod, Probe { restart }, Hook, RestartAll });
record_enum!(Stage { PreStop, Turn, Told(kill) });
record_struct!(Ended { code, reason, message, started_at, finished_at, id });
record_struct!(Why { reason, message });
record_struct!(BackOff { entry });
record_struct!(Ending { cause, deadline });
record_enum!(Cause { Finished, Deleted, Deadline, Evicted { reason, message }, Rejected { reason, message } });
record_enum!(Prepare { Due(not_before), Asked, Done(addresses) });
record_struct!(PodAddresses { pod, host });
record_enum!(Phase { Pending, Running, Succeeded, Failed });
record_struct!(Transition { kind, holds, since });

impl Recorded for bool {
    fn write(&self) -> Value {
        json!(self)
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_bool())
    }
}

impl Recorded for u32 {
    fn write(&self) -> Value {
        json!(self)
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_u64().and_then(|number| number.try_into().ok()))
    }
}

impl Recorded for i32 {
    fn write(&self) -> Value {
        json!(self)
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_i64().and_then(|number| number.try_into().ok()))
    }
}

impl Recorded for String {
    fn write(&self) -> Value {
        json!(self)
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_str().map(str::to_owned))
    }
}

impl Recorded for Timestamp {
    fn write(&self) -> Value {
        json!(self.to_string())
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_str().and_then(|text| text.parse().ok()))
    }
}

impl Recorded for IpAddr {
    fn write(&self) -> Value {
        json!(self.to_string())
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_str().and_then(|text| text.parse().ok()))
    }
}

impl Recorded for Duration {
    fn write(&self) -> Value {
        json!(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX))
    }

    fn read(at: &At) -> Read<Self> {
        at.need(at.value.as_u64().map(Self::from_nanos))
    }
}

impl<T: Recorded> Recorded for Option<T> {
    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::write)
    }

    fn read(at: &At) -> Read<Self> {
        if at.value.is_null() { Ok(None) } else { T::read(at).map(Some) }
    }
}

impl<T: Recorded> Recorded for Vec<T> {
    fn write(&self) -> Value {
        self.iter().map(T::write).collect()
    }

    fn read(at: &At) -> Read<Self> {
        let list = at.need(at.value.as_array())?;
        let each = list.iter().enumerate().map(|(i, value)| T::read(&At { value, path: format!("{}[{i}]", at.path) }));
        each.collect()
    }
}

impl<A: Recorded, B: Recorded> Recorded for (A, B) {
    fn write(&self) -> Value {
        json!([self.0.write(), self.1.write()])
    }

    fn read(at: &At) -> Read<Self> {
        let half = |i: usize| At { value: &at.value[i], path: format!("{}[{i}]", at.path) };
        Ok((A::read(&half(0))?, B::read(&half(1))?))
    }
}
