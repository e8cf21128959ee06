//! What the node agent counts, under `outrigger_devices_…`, and under the generic-device-plugin's three names where it is
//! called by that name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_device_plugin::{RegisterReason, ResourceState};
use outrigger_host::events::Counts;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// One label with its value.
type Label = (&'static str, String);

/// Seconds from a tenth of a millisecond to ten seconds.
const SECONDS: [f64; 10] = [0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0];

/// All metrics. Clones count the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    known: ByResource<2, Gauge>,
    allocations: ByResource<2, Counter>,
    allocate_seconds: Histogram,
    registrations: ByResource<3, Counter>,
    register_seconds: Histogram,
    stream_connected: ByResource<1, Gauge>,
    list_bytes: ByResource<1, Gauge>,
    list_sent: ByResource<1, Counter>,
    events: Family<[Label; 1], Counter>,
    overruns: Counter,
    transitions: ByResource<3, Counter>,
    claims: ByResource<1, Gauge>,
    stale_claims: ByResource<2, Gauge>,
    reloads: Family<[Label; 1], Counter>,
    event_source: Family<[Label; 1], Gauge>,
    evidence_missing: Family<[Label; 1], Gauge>,
    gdp: Option<Gdp>,
}

/// Those of the generic-device-plugin.
#[derive(Clone, Debug, Default)]
struct Gdp {
    devices: ByResource<1, Gauge>,
    allocations: ByResource<1, Counter>,
    restarts: ByResource<1, Counter>,
}

/// Metrics of which the first label is the resource, so that one that is gone is forgotten with all its other labels: with
/// `perMatch` there is no end of names.
#[derive(Clone, Debug)]
struct ByResource<const N: usize, M> {
    family: Family<[Label; N], M>,
    known: Arc<Mutex<BTreeMap<String, Vec<[Label; N]>>>>,
}

impl<const N: usize, M: Default + Clone> ByResource<N, M> {
    /// The metric with these labels.
    fn of(&self, labels: &[Label; N]) -> M {
        if let Some(known) = self.family.get(labels) {
            return known.clone();
        }
        let resource = labels.first().map(|(_, resource)| resource.clone()).unwrap_or_default();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(resource).or_default().push(labels.clone());
        self.family.get_or_create_owned(labels)
    }

    fn forget(&self, resource: &str) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
        for labels in known.iter().flatten() {
            self.family.remove(labels);
        }
    }
}

impl<const N: usize, M: Default> Default for ByResource<N, M> {
    fn default() -> Self {
        Self { family: Family::default(), known: Arc::default() }
    }
}

impl Metrics {
    /// Registers them all; `as_gdp` adds those of the generic-device-plugin.
    pub fn new(registry: &mut Registry, as_gdp: bool) -> Self {
        let metrics = Self {
            known: ByResource::default(),
            allocations: ByResource::default(),
            allocate_seconds: Histogram::new(SECONDS),
            registrations: ByResource::default(),
            register_seconds: Histogram::new(SECONDS),
            stream_connected: ByResource::default(),
            list_bytes: ByResource::default(),
            list_sent: ByResource::default(),
            events: Family::default(),
            overruns: Counter::default(),
            transitions: ByResource::default(),
            claims: ByResource::default(),
            stale_claims: ByResource::default(),
            reloads: Family::default(),
            event_source: Family::default(),
            evidence_missing: Family::default(),
            gdp: as_gdp.then(Gdp::default),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let seconds = [("allocate", &self.allocate_seconds), ("register", &self.register_seconds)];
        for (name, histogram) in seconds {
            let help = format!("How long calls of {name} took");
            registry.register_with_unit(format!("outrigger_devices_{name}"), help, Unit::Seconds, histogram.clone());
        }
        let ours = registry.sub_registry_with_prefix("outrigger_devices");
        ours.register("known", "Devices by resource and state", self.known.family.clone());
        ours.register("allocations", "Calls of Allocate by result", self.allocations.family.clone());
        ours.register("registrations", "Registrations with the kubelet", self.registrations.family.clone());
        ours.register("stream_connected", "Whether the kubelet reads our list", self.stream_connected.family.clone());
        ours.register("list_bytes", "Size of the list as sent", self.list_bytes.family.clone());
        ours.register("list_sent", "Lists sent to the kubelet", self.list_sent.family.clone());
        ours.register("events", "Changes of the machine by who told of them", self.events.clone());
        ours.register("uevent_overruns", "Times that events were lost and all was read again", self.overruns.clone());
        ours.register("health_transitions", "Changes of health by reason", self.transitions.family.clone());
        ours.register("claims", "Devices that pods hold, as the kubelet tells", self.claims.family.clone());
        ours.register("stale_claims", "Claims that should not be, by kind", self.stale_claims.family.clone());
        ours.register("config_reloads", "Times the configuration was read again", self.reloads.clone());
        ours.register("event_source", "1 for each source of changes in use", self.event_source.clone());
        ours.register("evidence_missing", "Disks without this evidence", self.evidence_missing.clone());
        let Some(gdp) = &self.gdp else { return };
        let theirs = registry.sub_registry_with_prefix("generic_device_plugin");
        theirs.register("devices", "The number of devices managed by this device plugin", gdp.devices.family.clone());
        theirs.register(
            "allocations",
            "The number of allocations made by this device plugin",
            gdp.allocations.family.clone(),
        );
        theirs.register("restarts", "The number of times the device plugin has restarted", gdp.restarts.family.clone());
    }

    /// How many devices of a resource are in each state, and how many are listed.
    pub fn known(&self, resource: &str, states: &[(&str, usize)], listed: usize) {
        for (state, count) in states {
            let labels = [("resource", resource.to_owned()), ("state", (*state).to_owned())];
            self.known.of(&labels).set(gauge(*count));
        }
        if let Some(gdp) = &self.gdp {
            gdp.devices.of(&[("resource", resource.to_owned())]).set(gauge(listed));
        }
    }

    /// A call of Allocate has been answered.
    pub fn allocated(&self, resource: &str, result: &str, took: Duration) {
        let labels = [("resource", resource.to_owned()), ("result", result.to_owned())];
        self.allocations.of(&labels).inc();
        self.allocate_seconds.observe(took.as_secs_f64());
        if let Some(gdp) = self.gdp.as_ref().filter(|_| result == "ok") {
            gdp.allocations.of(&[("resource", resource.to_owned())]).inc();
        }
    }

    /// How a resource fares with the kubelet, beside how it did.
    pub fn state(&self, resource: &str, state: &ResourceState, before: Option<&ResourceState>) {
        let label = [("resource", resource.to_owned())];
        self.stream_connected.of(&label).set(i64::from(state.stream_connected));
        self.list_bytes.of(&label).set(gauge(state.list_bytes));
        let sent = before.map_or(0, |before| before.lists_sent);
        self.list_sent.of(&label).inc_by(state.lists_sent.saturating_sub(sent));
        for ((reason, result), count) in &state.registrations {
            let known = before.and_then(|before| before.registrations.get(&(*reason, *result))).copied().unwrap_or(0);
            let more = count.saturating_sub(known);
            let words = [("reason", reason.as_str()), ("result", result.as_str())];
            let [reason_label, result_label] = words.map(|(name, word)| (name, word.to_owned()));
            self.registrations.of(&[label[0].clone(), reason_label, result_label]).inc_by(more);
            if let Some(gdp) = self.gdp.as_ref().filter(|_| *reason != RegisterReason::Start) {
                gdp.restarts.of(&label).inc_by(more);
            }
        }
        let took = before.map_or(Duration::ZERO, |before| before.register_time);
        if let Some(more) = state.register_time.checked_sub(took).filter(|more| !more.is_zero()) {
            self.register_seconds.observe(more.as_secs_f64());
        }
    }

    /// Something told of changes.
    pub fn event(&self, source: &str) {
        self.events.get_or_create(&[("source", source.to_owned())]).inc();
    }

    /// Which sources of changes are in use, and how the kernel's fares.
    pub fn sources(&self, is_polling: bool, counts: Counts) {
        for (source, in_use) in [("uevent", !is_polling), ("poll", is_polling)] {
            self.event_source.get_or_create(&[("source", source.to_owned())]).set(i64::from(in_use));
        }
        self.overruns.inc_by(counts.overruns.saturating_sub(self.overruns.get()));
    }

    /// A device has become healthy or unhealthy.
    pub fn transition(&self, resource: &str, to: &str, reason: &str) {
        let labels = [("resource", resource.to_owned()), ("to", to.to_owned()), ("reason", reason.to_owned())];
        self.transitions.of(&labels).inc();
    }

    /// How many devices of a resource pods hold.
    pub fn claims(&self, resource: &str, count: usize) {
        self.claims.of(&[("resource", resource.to_owned())]).set(gauge(count));
    }

    /// How many claims of a kind should not be.
    pub fn stale_claims(&self, resource: &str, kind: &str, count: usize) {
        let labels = [("resource", resource.to_owned()), ("kind", kind.to_owned())];
        self.stale_claims.of(&labels).set(gauge(count));
    }

    /// The configuration has been read again.
    pub fn reloaded(&self, result: &str) {
        self.reloads.get_or_create(&[("result", result.to_owned())]).inc();
    }

    /// For how many disks a source of evidence is missing.
    pub fn evidence_missing(&self, source: &str, count: usize) {
        self.evidence_missing.get_or_create(&[("source", source.to_owned())]).set(gauge(count));
    }

    /// Forgets a resource that is no longer served.
    pub fn forget(&self, resource: &str) {
        self.known.forget(resource);
        self.allocations.forget(resource);
        self.registrations.forget(resource);
        self.stream_connected.forget(resource);
        self.list_bytes.forget(resource);
        self.list_sent.forget(resource);
        self.transitions.forget(resource);
        self.claims.forget(resource);
        self.stale_claims.forget(resource);
        if let Some(gdp) = &self.gdp {
            gdp.devices.forget(resource);
            gdp.allocations.forget(resource);
            gdp.restarts.forget(resource);
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use outrigger_device_plugin::RegisterResult;
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// Tried with a resource of which only the gauges of its list are forgotten.
    #[test]
    fn nothing_is_left_of_a_resource_that_is_no_longer_served() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, true);
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let registrations = [((RegisterReason::Audit, RegisterResult::Taken), 2)].into();
        let state = ResourceState { lists_sent: 1, registrations, ..ResourceState::default() };
        for resource in ["a.b/kept", "a.b/gone"] {
            metrics.known(resource, &[("offered", 1)], 1);
            metrics.allocated(resource, "ok", Duration::ZERO);
            metrics.state(resource, &state, None);
            metrics.transition(resource, "offered", "none");
            metrics.claims(resource, 1);
            metrics.stale_claims(resource, "unknown", 1);
        }
        let of = |text: &str, resource: &str| text.lines().filter(|line| line.contains(resource)).count();
        assert_eq!((of(&text(), "a.b/kept"), of(&text(), "a.b/gone")), (12, 12), "{}", text());
        metrics.forget("a.b/gone");
        assert_eq!((of(&text(), "a.b/kept"), of(&text(), "a.b/gone")), (12, 0), "{}", text());
    }
}
