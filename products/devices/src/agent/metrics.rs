//! What the node agent counts, under `outrigger_devices_…`, and under the generic-device-plugin's three names where it is
//! called by that name.

use std::time::Duration;

use outrigger_device_plugin::{RegisterReason, ResourceState};
use outrigger_host::events::Counts;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::report::STATES;

/// One label with its value.
type Label = (&'static str, String);

/// Seconds from a tenth of a millisecond to ten seconds.
const SECONDS: [f64; 10] = [0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0];

/// All metrics. Clones count the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    known: Family<[Label; 2], Gauge>,
    allocations: Family<[Label; 2], Counter>,
    allocate_seconds: Histogram,
    registrations: Family<[Label; 3], Counter>,
    register_seconds: Histogram,
    stream_connected: Family<[Label; 1], Gauge>,
    list_bytes: Family<[Label; 1], Gauge>,
    list_sent: Family<[Label; 1], Counter>,
    events: Family<[Label; 1], Counter>,
    overruns: Counter,
    transitions: Family<[Label; 3], Counter>,
    claims: Family<[Label; 1], Gauge>,
    stale_claims: Family<[Label; 2], Gauge>,
    reloads: Family<[Label; 1], Counter>,
    event_source: Family<[Label; 1], Gauge>,
    evidence_missing: Family<[Label; 1], Gauge>,
    gdp: Option<Gdp>,
}

/// Those of the generic-device-plugin.
#[derive(Clone, Debug, Default)]
struct Gdp {
    devices: Family<[Label; 1], Gauge>,
    allocations: Family<[Label; 1], Counter>,
    restarts: Family<[Label; 1], Counter>,
}

impl Metrics {
    /// Registers them all; `as_gdp` adds those of the generic-device-plugin.
    pub fn new(registry: &mut Registry, as_gdp: bool) -> Self {
        let metrics = Self {
            known: Family::default(),
            allocations: Family::default(),
            allocate_seconds: Histogram::new(SECONDS),
            registrations: Family::default(),
            register_seconds: Histogram::new(SECONDS),
            stream_connected: Family::default(),
            list_bytes: Family::default(),
            list_sent: Family::default(),
            events: Family::default(),
            overruns: Counter::default(),
            transitions: Family::default(),
            claims: Family::default(),
            stale_claims: Family::default(),
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
        ours.register("known", "Devices by resource and state", self.known.clone());
        ours.register("allocations", "Calls of Allocate by result", self.allocations.clone());
        ours.register("registrations", "Registrations with the kubelet", self.registrations.clone());
        ours.register("stream_connected", "Whether the kubelet reads our list", self.stream_connected.clone());
        ours.register("list_bytes", "Size of the list as sent", self.list_bytes.clone());
        ours.register("list_sent", "Lists sent to the kubelet", self.list_sent.clone());
        ours.register("events", "Changes of the machine by who told of them", self.events.clone());
        ours.register("uevent_overruns", "Times that events were lost and all was read again", self.overruns.clone());
        ours.register("health_transitions", "Changes of health by reason", self.transitions.clone());
        ours.register("claims", "Devices that pods hold, as the kubelet tells", self.claims.clone());
        ours.register("stale_claims", "Claims that should not be, by kind", self.stale_claims.clone());
        ours.register("config_reloads", "Times the configuration was read again", self.reloads.clone());
        ours.register("event_source", "1 for each source of changes in use", self.event_source.clone());
        ours.register("evidence_missing", "Disks without this evidence", self.evidence_missing.clone());
        let Some(gdp) = &self.gdp else { return };
        let theirs = registry.sub_registry_with_prefix("generic_device_plugin");
        theirs.register("devices", "The number of devices managed by this device plugin", gdp.devices.clone());
        theirs.register("allocations", "The number of allocations made by this device plugin", gdp.allocations.clone());
        theirs.register("restarts", "The number of times the device plugin has restarted", gdp.restarts.clone());
    }

    /// How many devices of a resource are in each state, and how many are listed.
    pub fn known(&self, resource: &str, states: &[(&str, usize)], listed: usize) {
        for (state, count) in states {
            let labels = [("resource", resource.to_owned()), ("state", (*state).to_owned())];
            self.known.get_or_create(&labels).set(gauge(*count));
        }
        if let Some(gdp) = &self.gdp {
            gdp.devices.get_or_create(&[("resource", resource.to_owned())]).set(gauge(listed));
        }
    }

    /// A call of Allocate has been answered.
    pub fn allocated(&self, resource: &str, result: &str, took: Duration) {
        let labels = [("resource", resource.to_owned()), ("result", result.to_owned())];
        self.allocations.get_or_create(&labels).inc();
        self.allocate_seconds.observe(took.as_secs_f64());
        if let Some(gdp) = self.gdp.as_ref().filter(|_| result == "ok") {
            gdp.allocations.get_or_create(&[("resource", resource.to_owned())]).inc();
        }
    }

    /// How a resource fares with the kubelet, beside how it did.
    pub fn state(&self, resource: &str, state: &ResourceState, before: Option<&ResourceState>) {
        let label = [("resource", resource.to_owned())];
        self.stream_connected.get_or_create(&label).set(i64::from(state.stream_connected));
        self.list_bytes.get_or_create(&label).set(gauge(state.list_bytes));
        let sent = before.map_or(0, |before| before.lists_sent);
        self.list_sent.get_or_create(&label).inc_by(state.lists_sent.saturating_sub(sent));
        for ((reason, result), count) in &state.registrations {
            let known = before.and_then(|before| before.registrations.get(&(*reason, *result))).copied().unwrap_or(0);
            let more = count.saturating_sub(known);
            let words = [("reason", reason.as_str()), ("result", result.as_str())];
            let [reason_label, result_label] = words.map(|(name, word)| (name, word.to_owned()));
            self.registrations.get_or_create(&[label[0].clone(), reason_label, result_label]).inc_by(more);
            if let Some(gdp) = self.gdp.as_ref().filter(|_| *reason != RegisterReason::Start) {
                gdp.restarts.get_or_create(&label).inc_by(more);
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
        self.transitions.get_or_create(&labels).inc();
    }

    /// How many devices of a resource pods hold.
    pub fn claims(&self, resource: &str, count: usize) {
        self.claims.get_or_create(&[("resource", resource.to_owned())]).set(gauge(count));
    }

    /// How many claims of a kind should not be.
    pub fn stale_claims(&self, resource: &str, kind: &str, count: usize) {
        let labels = [("resource", resource.to_owned()), ("kind", kind.to_owned())];
        self.stale_claims.get_or_create(&labels).set(gauge(count));
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
        let label = [("resource", resource.to_owned())];
        for state in STATES {
            self.known.remove(&[label[0].clone(), ("state", state.word().to_owned())]);
        }
        self.stream_connected.remove(&label);
        self.list_bytes.remove(&label);
        self.claims.remove(&label);
        if let Some(gdp) = &self.gdp {
            gdp.devices.remove(&label);
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
