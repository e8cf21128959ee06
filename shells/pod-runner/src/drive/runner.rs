//! The runner: one loop that owns the pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use outrigger_launcher::Launcher;
use outrigger_launcher::claims::Provider;
use outrigger_pod_core::env::Sources;
use outrigger_pod_core::life::{Deletion, Event, Found, Instance, LastExit, Lost, Machine, Note, Options, World};
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use outrigger_pod_core::quantity::Quantity;
use outrigger_pod_directory::log::{LogRules, LogThread, LogTrouble, WrittenLogs};
use outrigger_pod_directory::{Ending, OwnedRun, RunDirectory};
use outrigger_runtime::Children;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::clock::Clock;
use super::pod::{Happened, Live, Pod, Stand};
use super::publish::Publisher;
use super::stdin::Returned;
use crate::control::{self, Bound};
use crate::handle::{Handle, Request, Snapshot};

/// How many pieces of output a live reader may fall behind before it is told what it missed.
const LIVE_PIECES: usize = 64;

/// How many happenings, requests or log troubles wait at a time; whoever has more waits itself.
const QUEUE: usize = 64;

/// How long the tasks of a pod that is over may take to end.
const LAST_GRACE: Duration = Duration::from_secs(10);

/// How often the final status is tried to be written, and the pause between: without it the next command says that the
/// runner died.
const LAST_TRIES: u32 = 5;
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A pod to run, and everything it is run with.
pub struct RunnerConfig {
    /// The pod.
    pub plan: Arc<PodPlan>,
    /// `ConfigMaps`, Secrets and files beside it.
    pub sources: Arc<Sources>,
    /// What starts its containers.
    pub launcher: Arc<dyn Launcher>,
    /// Who hands out what Kubernetes does not know.
    pub providers: Vec<Arc<dyn Provider>>,
    /// Its directory. Where a record is in it already, the pod is continued from there.
    pub directory: OwnedRun,
    /// The process's log thread.
    pub logs: Arc<LogThread>,
    /// The rest.
    pub options: RunnerOptions,
}

/// How a pod is run.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// Where the time comes from.
    pub clock: Clock,
    /// How large logs may get.
    pub log_rules: LogRules,
    /// All back-off times of the kubelet are multiplied by this; 1.0 is a kubelet's.
    pub back_off_scale: f64,
    /// The caller's own limit for the whole pod.
    pub time_limit: Option<Duration>,
    /// The address to report; `None`: the source address of the default route.
    pub pod_ip: Option<IpAddr>,
    /// Directories for persistent volume claims, by the claim's name.
    pub claim_directories: BTreeMap<String, PathBuf>,
    /// What `spec.nodeName` shows: this machine's name.
    pub node_name: String,
    /// What the machine has, by resource name: a container without a limit may use this much.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Whether containers end with their runner: then a continued pod whose containers are gone is over.
    pub containers_end_with_runner: bool,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            log_rules: LogRules::default(),
            back_off_scale: 1.0,
            time_limit: None,
            pod_ip: None,
            claim_directories: BTreeMap::new(),
            node_name: "localhost".to_owned(),
            allocatable: BTreeMap::new(),
            containers_end_with_runner: true,
        }
    }
}

/// How a pod ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The final status.
    pub status: PodStatus,
    /// Why the run ended.
    pub ending: Ending,
    /// How each container last ended.
    pub last_exits: Vec<LastExit>,
    /// Containers whose command could not be executed at their last start: 126 or 127.
    pub not_executed: BTreeMap<ContainerName, i32>,
    /// Whether `activeDeadlineSeconds` ended it.
    pub deadline_exceeded: bool,
    /// Where everything about it stands.
    pub directory: RunDirectory,
}

/// Runs one pod.
pub struct Runner {
    pub(super) pod: Arc<Pod>,
    pub(super) machine: Machine,
    pub(super) tasks: Children,
    pub(super) stand: Option<Arc<Stand>>,
    pub(super) live: BTreeMap<Instance, Live>,
    pub(super) publisher: Publisher,
    pub(super) ending: Option<Ending>,
    owned: OwnedRun,
    happened: mpsc::Receiver<Happened>,
    trouble: mpsc::Receiver<LogTrouble>,
    requests: mpsc::Receiver<Request>,
    handle: Handle,
    /// Given to whoever borrows a stdin, to bring it back.
    pub(super) lent: mpsc::Sender<Returned>,
    returned: mpsc::Receiver<Returned>,
    /// Whether the disk refused the last write of the status.
    unwritten: bool,
    /// The control socket, and what is closed when its server has ended.
    control: Option<(Bound, oneshot::Receiver<()>)>,
    /// Ends the control socket's server.
    closing: CancellationToken,
    /// Whether the machine was built from a record, and so what its pod stood on must stand again.
    restored: Option<serde_json::Value>,
}

impl Runner {
    /// A runner for the pod; nothing is begun before [`Runner::run`].
    pub fn new(config: RunnerConfig) -> Result<Self, RunError> {
        let RunnerConfig { plan, sources, launcher, providers, directory: owned, logs, options } = config;
        let (tell, happened) = mpsc::channel(QUEUE);
        let (tell_trouble, trouble) = mpsc::channel(QUEUE);
        let (ask, requests) = mpsc::channel(QUEUE);
        let (lent, returned) = mpsc::channel(plan.containers.len().max(1));
        let (live, _) = broadcast::channel(LIVE_PIECES);
        let (notes, _) = broadcast::channel(256);
        let (show, status) = watch::channel(Arc::new(Snapshot::default()));
        let before = owned.directory().status()?;
        let now = options.clock.now();
        let machine = Machine::new(Arc::clone(&plan), Options { back_off_scale: options.back_off_scale }, now);
        let publisher = Publisher::new(show, notes.clone(), before.as_ref());
        let directory = owned.directory().clone();
        let handle = Handle {
            plan: Arc::clone(&plan),
            directory: directory.clone(),
            status,
            notes,
            output: live.clone(),
            written: WrittenLogs::default(),
            requests: ask,
        };
        let tasks = Children::new(64 + 16 * plan.containers.len());
        let ending = CancellationToken::new();
        let pod = Pod {
            plan,
            sources,
            launcher,
            providers,
            directory,
            logs,
            options,
            live,
            written: handle.written.clone(),
            trouble: tell_trouble,
            happened: tell,
            ending,
        };
        Ok(Self {
            pod: Arc::new(pod),
            machine,
            tasks,
            stand: None,
            live: BTreeMap::new(),
            publisher,
            ending: None,
            owned,
            happened,
            trouble,
            requests,
            handle,
            lent,
            returned,
            unwritten: false,
            control: None,
            closing: CancellationToken::new(),
            restored: before.map(|before| before.record),
        })
    }

    /// For those who watch the pod or want something of it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs the pod to its end. `stop` ends it in order.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Outcome, RunError> {
        self.open_control()?;
        self.begin().await?;
        let limit = self.pod.options.time_limit.map(|limit| Instant::now() + limit);
        let (mut stopping, mut limited) = (false, false);
        while !self.machine.is_over() {
            let wake = self.machine.wake().map(|at| self.pod.clock().instant(at));
            let write = self.publisher.due();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.end(Ending::Interrupted, None);
                }
                () = at(limit), if limit.is_some() && !limited => {
                    limited = true;
                    self.end(Ending::TimedOut, None);
                }
                Some(request) = self.requests.recv() => self.answer(request),
                Some(returned) = self.returned.recv() => self.stdin_back(returned),
                Some(trouble) = self.trouble.recv() => self.log_trouble(trouble),
                Some(happened) = self.happened.recv() => self.take(happened),
                () = at(wake), if wake.is_some() => self.step([Event::Tick]),
                () = at(write), if write.is_some() => self.write(false),
            }
        }
        self.finish().await
    }

    /// Opens the control socket and serves it.
    fn open_control(&mut self) -> Result<(), RunError> {
        let mut bound = control::bind(self.pod.directory.path())?;
        self.publisher.control(bound.path().to_owned());
        let (closed, served) = oneshot::channel();
        if let Some(listener) = bound.take_listener() {
            let (handle, closing) = (self.handle.clone(), self.closing.clone());
            self.start("control".to_owned(), async move {
                let _closed = closed;
                if let Err(error) = control::serve(listener, handle, closing).await {
                    tracing::error!("{:#}", anyhow::Error::new(error));
                }
            });
        }
        self.control = Some((bound, served));
        Ok(())
    }

    /// The first step, or what a restart meets.
    async fn begin(&mut self) -> Result<(), RunError> {
        let Some(record) = self.restored.take() else {
            self.step([Event::Tick]);
            return Ok(());
        };
        let now = self.pod.clock().now();
        let found = self.pod.launcher.list(&self.pod.plan.uid).await.map_err(RunError::List)?;
        let lost = if self.pod.options.containers_end_with_runner { Lost::PodOver } else { Lost::Ended };
        let options = Options { back_off_scale: self.pod.options.back_off_scale };
        let shown: Vec<Found> =
            found.iter().map(|found| Found { id: self.pod.shown_id(&found.id), ..found.clone() }).collect();
        let world = World { found: &shown, lost };
        let (machine, actions) = Machine::restore(Arc::clone(&self.pod.plan), options, &record, world, now)?;
        self.machine = machine;
        let refused = if self.publisher.stood() { self.stand_again().await } else { None };
        self.adopt(found);
        self.publisher.changed(&self.machine, &self.live);
        self.write(false);
        self.act(actions);
        if let Some(message) = refused {
            self.step([Event::Evict { reason: "ClaimLost".to_owned(), message }]);
        }
        Ok(())
    }

    /// Ends the pod because of `why`, unless it is ending for another reason already.
    pub(super) fn end(&mut self, why: Ending, grace: Option<Duration>) {
        self.ending.get_or_insert(why);
        self.step([Event::Delete(Deletion { grace })]);
    }

    /// Takes what a task told, and whatever else has come meanwhile, so that one write serves all of it.
    fn take(&mut self, first: Happened) {
        let mut events = Vec::new();
        let mut next = Some(first);
        while let Some(happened) = next {
            events.extend(self.note(happened));
            next = if events.len() < QUEUE { self.happened.try_recv().ok() } else { None };
        }
        self.step(events);
    }

    /// Keeps what the runner itself must know; answers what the machine must.
    fn note(&mut self, happened: Happened) -> Option<Event> {
        match happened {
            Happened::Event(event) => {
                if let Event::Exited { instance, .. } = &event {
                    self.live.remove(instance);
                }
                return Some(event);
            }
            Happened::Stands(stand) => {
                let addresses = stand.addresses.clone();
                self.stands(*stand);
                return Some(Event::Prepared(addresses));
            }
            Happened::Waits(waiting) => self.publisher.waits(waiting, self.pod.clock().now()),
            Happened::Runs(live) => {
                let (instance, id) = (live.instance.clone(), self.pod.shown_id(&live.id.0));
                let event = Event::Started { instance, id, user: live.user.clone() };
                self.publisher.executed(&live.instance);
                self.live.insert(live.instance.clone(), live);
                return Some(event);
            }
            Happened::NotExecuted(instance, code) => self.publisher.not_executed(&instance, code),
            Happened::Warn { container, reason, message } => self.warn(container, reason, message),
        }
        None
    }

    fn log_trouble(&mut self, trouble: LogTrouble) {
        let LogTrouble { instance, message, over } = trouble;
        let reason = if over { "LogResumed" } else { "LogStopped" };
        tracing::warn!(pod = %self.pod.directory.name(), container = %instance.container, "{message}");
        self.warn(Some(instance.container), reason, message);
    }

    fn warn(&mut self, container: Option<ContainerName>, reason: &'static str, message: String) {
        let note = Note { container, warning: true, reason: reason.into(), message };
        self.publisher.note(note, self.pod.clock().now());
    }

    fn stdin_back(&mut self, returned: Returned) {
        if let Some(live) = self.live.get_mut(&returned.instance) {
            live.stdin = Some(returned.stdin);
        }
    }

    /// Steps the machine, writes down what it wants, then does it.
    pub(super) fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = self.pod.clock().now();
        let mut actions = Vec::new();
        for event in events {
            actions.extend(self.machine.step(now, event));
        }
        let acts = self.publisher.take_notes(actions, now);
        self.publisher.changed(&self.machine, &self.live);
        if self.publisher.must_write(&acts) {
            self.write(false);
        }
        self.act(acts);
    }

    /// Brings `status.json` up to date. A disk that refuses (it is full) does not end the pod: that is told once, the write
    /// is tried again, and that it succeeded is told too.
    fn write(&mut self, last: bool) {
        match self.publisher.write(&self.owned, &self.machine, last) {
            Ok(()) => {
                if std::mem::take(&mut self.unwritten) {
                    self.warn(None, "StatusWritten", "the pod's status is written down again".to_owned());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    let advice = if error.is_full() { "make room there" } else { "see why" };
                    self.not_written(format!("{}; the pod goes on, and it is tried again: {advice}", error.in_words()));
                }
            }
        }
    }

    fn not_written(&mut self, message: String) {
        tracing::error!(pod = %self.pod.directory.name(), "The pod's status is not written down: {message}");
        self.warn(None, "StatusNotWritten", message);
    }

    /// Writes the final status, again and again for some seconds where the disk refuses.
    async fn write_last(&mut self) {
        self.write(true);
        for _ in 1..LAST_TRIES {
            if !self.unwritten {
                return;
            }
            sleep(LAST_PAUSE).await;
            self.write(true);
        }
        if self.unwritten {
            self.not_written(format!(
                "given up after {} s: the next command will say that the pod's runner died",
                LAST_PAUSE.as_secs() * u64::from(LAST_TRIES - 1)
            ));
        }
    }

    /// The pod is over: waits for the last tasks and writes the final status.
    async fn finish(mut self) -> Result<Outcome, RunError> {
        let ending = self.ending.unwrap_or(Ending::Finished);
        while let Ok(happened) = self.happened.try_recv() {
            self.note(happened);
        }
        self.publisher.changed(&self.machine, &self.live);
        self.publisher.ended(ending, self.pod.clock().now());
        self.write_last().await;
        // Only now, so that who is told of the end can read it, or has been told that it is not written down.
        self.publisher.show();
        self.closing.cancel();
        if let Some((_, served)) = &mut self.control {
            // Followers of logs get all of them; readers that stand still are cut by the server. Nothing is ever sent here.
            let _ = served.await;
        }
        let tasks = std::mem::replace(&mut self.tasks, Children::new(0));
        tasks.finish(LAST_GRACE).await?;
        Ok(Outcome {
            status: self.machine.status(),
            ending,
            last_exits: self.machine.last_exits(),
            not_executed: self.publisher.unexecuted(),
            deadline_exceeded: self.machine.deadline_exceeded(),
            directory: self.pod.directory.clone(),
        })
    }
}

/// Waits for a moment; the caller's guard sees that there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
