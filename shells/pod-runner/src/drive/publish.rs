//! Telling where the pod stands: the snapshot for watchers, the notes, `status.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use outrigger_pod_core::claim::{ClaimValue, Given};
use outrigger_pod_core::life::{Action, Instance, Machine, Note};
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::{
    DirectoryError, End, Ending, OwnedRun, RecordedGiven, RecordedNote, RunnerIdentity, StatusFile,
};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::pod::Live;
use crate::handle::{Snapshot, TimedNote};

/// How long a change that no act depends on and nobody sees in the status may wait for the disk.
const LAZY: Duration = Duration::from_secs(5);

/// Owns what is told about the pod.
pub(super) struct Publisher {
    show: watch::Sender<Arc<Snapshot>>,
    notes: broadcast::Sender<TimedNote>,
    snapshot: Snapshot,
    control: Option<PathBuf>,
    recorded: Vec<RecordedNote>,
    given: BTreeMap<String, Vec<RecordedGiven>>,
    stands: bool,
    /// When what is on disk must be brought up to date.
    due: Option<Instant>,
    status_changed: bool,
}

impl Publisher {
    pub fn new(
        show: watch::Sender<Arc<Snapshot>>,
        notes: broadcast::Sender<TimedNote>,
        before: Option<&StatusFile>,
    ) -> Self {
        let not_executed = before.map(|before| &before.not_executed).into_iter().flatten();
        let not_executed = not_executed.map(|(name, code)| (ContainerName(name.clone()), *code)).collect();
        Self {
            show,
            notes,
            snapshot: Snapshot { not_executed, ..Snapshot::default() },
            control: None,
            recorded: before.map(|before| before.notes.clone()).unwrap_or_default(),
            given: before.map(|before| before.given.clone()).unwrap_or_default(),
            stands: before.is_some_and(|before| before.stands),
            due: None,
            status_changed: false,
        }
    }

    pub fn control(&mut self, socket: PathBuf) {
        self.control = Some(socket);
    }

    /// Whether claims were held and volumes stood when the record was written.
    pub fn stood(&self) -> bool {
        self.stands
    }

    pub fn stands(&mut self, stands: bool) {
        self.stands = stands;
        if self.snapshot.waiting.take().is_some() {
            self.show();
        }
    }

    /// Takes over what the containers have of what providers hand out.
    pub fn given(&mut self, values: &BTreeMap<ContainerName, ClaimValue>) {
        let given = values.iter().filter(|(_, value)| !value.given.is_empty());
        let recorded = |given: &[Given]| given.iter().map(RecordedGiven::from).collect();
        self.given = given.map(|(name, value)| (name.0.clone(), recorded(&value.given))).collect();
        self.status_changed = true;
    }

    /// Takes over what the pod waits for. It may take hours, and is written down at once.
    pub fn waits(&mut self, waiting: Option<String>, now: Timestamp) {
        if self.snapshot.waiting == waiting {
            return;
        }
        if let Some(message) = waiting.clone() {
            self.note(Note { container: None, warning: false, reason: "WaitingForClaim".into(), message }, now);
            self.status_changed = true;
        }
        self.snapshot.waiting = waiting;
        self.show();
    }

    pub fn not_executed(&mut self, instance: &Instance, code: i32) {
        self.snapshot.not_executed.insert(instance.container.clone(), code);
    }

    pub fn executed(&mut self, instance: &Instance) {
        self.snapshot.not_executed.remove(&instance.container);
    }

    pub fn unexecuted(&self) -> BTreeMap<ContainerName, i32> {
        self.snapshot.not_executed.clone()
    }

    /// Takes over how the pod ended, which is told by [`Publisher::show`].
    pub fn ended(&mut self, why: Ending, at: Timestamp) {
        self.snapshot.end = Some(End { at: Time(at), why });
    }

    /// Tells the notes among the actions; answers the others.
    pub fn take_notes(&mut self, actions: Vec<Action>, now: Timestamp) -> Vec<Action> {
        let mut acts = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Note(note) => self.note(note, now),
                act => acts.push(act),
            }
        }
        acts
    }

    pub fn note(&mut self, note: Note, now: Timestamp) {
        RecordedNote::add(&mut self.recorded, &note, now);
        self.due.get_or_insert_with(|| Instant::now() + LAZY);
        // Nobody need listen.
        let _ = self.notes.send(TimedNote { at: now, note });
    }

    /// Takes over where the machine stands now.
    pub fn changed(&mut self, machine: &Machine, live: &BTreeMap<Instance, Live>) {
        let status = machine.status();
        let running = live.values().map(|live| (live.instance.clone(), live.started_at)).collect();
        self.due.get_or_insert_with(|| Instant::now() + LAZY);
        if self.snapshot.status != status || self.snapshot.running != running {
            self.snapshot.status = status;
            self.snapshot.running = running;
            self.status_changed = true;
            self.show();
        }
    }

    /// Whether the disk must be brought up to date before `acts` begin: a probe changes nothing that a restart needs.
    pub fn must_write(&self, acts: &[Action]) -> bool {
        self.status_changed || acts.iter().any(|act| !matches!(act, Action::Probe { .. }))
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn write(&mut self, owned: &OwnedRun, machine: &Machine, last: bool) -> Result<(), DirectoryError> {
        let not_executed = self.snapshot.not_executed.iter().map(|(name, code)| (name.0.clone(), *code)).collect();
        let file = StatusFile {
            status: self.snapshot.status.clone(),
            record: machine.record(),
            stands: self.stands,
            runner: RunnerIdentity::this(),
            control: self.control.clone(),
            not_executed,
            given: self.given.clone(),
            notes: self.recorded.clone(),
            end: self.snapshot.end.clone(),
        };
        // Tried again after a while where the disk refuses.
        self.due = Some(Instant::now() + LAZY);
        owned.write_status(&file, last)?;
        self.due = None;
        self.status_changed = false;
        Ok(())
    }

    /// Tells the watchers where the pod stands.
    pub fn show(&self) {
        self.show.send_replace(Arc::new(self.snapshot.clone()));
    }
}
