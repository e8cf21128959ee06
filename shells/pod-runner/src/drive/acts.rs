//! Each action of the machine as a task.

use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{ContainerId, label};
use outrigger_pod_core::life::{Action, Found, Instance};

use super::hook::Asked;
use super::pod::{Happened, Pod, Stand};
use super::runner::Runner;
use super::{container, hook, image, in_words, prepare};

impl Runner {
    /// Begins the actions in their order.
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.begin_act(action);
        }
    }

    fn begin_act(&mut self, action: Action) {
        let pod = Arc::clone(&self.pod);
        match action {
            Action::Note(note) => self.publisher.note(note, self.pod.clock().now()),
            Action::Prepare => self.start("prepare".to_owned(), prepare::prepare(pod)),
            Action::Remove => {
                self.pod.ending.cancel();
                self.publisher.stands(false);
                let stand = self.stand.take();
                self.start("remove".to_owned(), prepare::remove(pod, stand));
            }
            Action::Pull(instance) => self.start(format!("pull {}", label(&instance)), image::ensure(pod, instance)),
            Action::Start(instance) => {
                let stand = self.stand.clone();
                self.start(format!("container {}", label(&instance)), container::run(pod, stand, instance));
            }
            Action::Stop { instance, signal, grace } => {
                if let Some(live) = self.live.get(&instance) {
                    let id = live.id.clone();
                    self.start(format!("stop {}", label(&instance)), stop(pod, id, signal, grace));
                }
            }
            Action::Hook { instance, hook, limit } => {
                let asked = self.asked(instance);
                self.start(format!("{hook:?} {}", label(&asked.instance)), hook::hook(pod, asked, hook, limit));
            }
            Action::Probe { instance, kind } => {
                let asked = self.asked(instance);
                self.start(format!("{kind:?} {}", label(&asked.instance)), hook::probe(pod, asked, kind));
            }
        }
    }

    fn asked(&self, instance: Instance) -> Asked {
        let id = self.live.get(&instance).map(|live| live.id.clone());
        Asked::new(&self.pod, self.stand.as_deref(), instance, id)
    }

    /// Starts a task of this pod.
    pub(super) fn start(&mut self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let begun = self.tasks.start(name, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        });
        if let Err(refused) = begun {
            tracing::error!(pod = %self.pod.directory.name(), "{refused}");
        }
    }

    /// The pod stands: what it stands on is kept, and watched.
    pub(super) fn stands(&mut self, stand: Stand) {
        for claim in &stand.claims {
            let lost = claim.lost();
            self.start("claim".to_owned(), prepare::watch_claim(Arc::clone(&self.pod), lost));
        }
        let limited = stand.volumes.limited();
        if !limited.is_empty() {
            self.start("volume limits".to_owned(), prepare::watch_volumes(Arc::clone(&self.pod), limited));
        }
        self.publisher.given(&stand.values);
        self.stand = Some(Arc::new(stand));
        self.publisher.stands(true);
    }

    /// After a restart: takes the claims and lays out the volumes again. Answers why that failed.
    pub(super) async fn stand_again(&mut self) -> Option<String> {
        match prepare::stand(&self.pod).await {
            Ok(stand) => {
                self.stands(stand);
                None
            }
            Err(failed) => Some(failed.message),
        }
    }

    /// After a restart: joins the containers that were found running.
    pub(super) fn adopt(&mut self, found: Vec<Found>) {
        for Found { instance, id, started_at, exit } in found {
            if exit.is_none() {
                let id = ContainerId(id);
                let live = super::pod::Live {
                    instance: instance.clone(),
                    id: id.clone(),
                    started_at,
                    user: None,
                    stdin: None,
                    terminal: None,
                };
                self.live.insert(instance.clone(), live);
                let pod = Arc::clone(&self.pod);
                self.start(format!("container {}", label(&instance)), container::adopt(pod, instance, id));
            }
        }
    }
}

async fn stop(pod: Arc<Pod>, id: ContainerId, signal: String, grace: Duration) {
    if let Err(error) = pod.launcher.stop(&id, &signal, grace).await {
        let message = in_words(error);
        pod.tell(Happened::Warn { container: None, reason: "FailedKillPod", message }).await;
    }
}
