//! How each resource fares with the kubelet, told to `/readyz` and counted.

use std::collections::BTreeMap;
use std::convert::Infallible;

use outrigger_device_plugin::{ResourceName, ResourceState, States};
use outrigger_runtime::{Condition, Readiness};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// Passes on every change until `stop`. `conditions` are those of the resources that are served from the start.
pub async fn tell(
    mut states: watch::Receiver<States>,
    readiness: Readiness,
    mut conditions: BTreeMap<ResourceName, Condition>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut before = States::new();
    loop {
        let now = states.borrow_and_update().clone();
        for (name, state) in &now {
            let condition = conditions.entry(name.clone()).or_insert_with(|| readiness.condition(name.to_string()));
            match missing(state) {
                None => condition.met(),
                Some(why) => condition.lost_because(why),
            }
            metrics.state(name.as_str(), state, before.get(name));
        }
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            metrics.forget(name.as_str());
            if let Some(condition) = conditions.remove(name) {
                condition.retire();
            }
        }
        before = now;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = states.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            },
        }
    }
}

/// What a resource lacks to be ready.
fn missing(state: &ResourceState) -> Option<String> {
    if state.is_ready() {
        return None;
    }
    Some(match &state.last_error {
        Some(error) => error.clone(),
        None if state.silent => "a newer instance serves it".to_owned(),
        None if state.endpoint.is_none() => "the kubelet is not there".to_owned(),
        None if state.registered => "the kubelet has not opened its stream".to_owned(),
        None => "the kubelet has not taken it yet".to_owned(),
    })
}
