//! The world: containers that run, whoever looks.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use outrigger_launcher::{ContainerId, LogStream};
use outrigger_pod_core::life::{Exit, Found, Instance};
use outrigger_pod_runner::drive::Clock;
use outrigger_runtime::Children;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};

use crate::launcher::EngineLauncher;
use crate::program::{Program, Step};

/// A container engine. Cheap to clone; every clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) clock: Clock,
    world: Arc<Mutex<World>>,
}

/// A run of a container, as the engine saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which run of which container.
    pub instance: Instance,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

pub(crate) struct World {
    pub pods: BTreeSet<String>,
    pub containers: BTreeMap<ContainerId, Container>,
    pub history: Vec<Run>,
    /// How many calls of prepare are still to fail.
    pub refusals: usize,
    tasks: Children,
}

pub(crate) struct Container {
    pub uid: String,
    pub instance: Instance,
    pub started_at: Timestamp,
    pub state: watch::Sender<State>,
    /// Its place in the history.
    run: usize,
    /// Who listens to its output, and what nobody has listened to yet.
    listener: Option<mpsc::Sender<(LogStream, Bytes)>>,
    unheard: Vec<(LogStream, Bytes)>,
}

/// How a container stands, and what was asked of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub exit: Option<Exit>,
    /// The signal that was sent, and when it is to be killed.
    pub stop: Option<(i32, tokio::time::Instant)>,
}

impl Engine {
    /// An engine without containers.
    pub fn new(clock: Clock) -> Self {
        let world = World {
            pods: BTreeSet::new(),
            containers: BTreeMap::new(),
            history: Vec::new(),
            refusals: 0,
            tasks: Children::new(10_000),
        };
        Self { clock, world: Arc::new(Mutex::new(world)) }
    }

    /// A connection of one caller.
    pub fn launcher(&self) -> Arc<EngineLauncher> {
        Arc::new(EngineLauncher { engine: self.clone() })
    }

    /// Lets the next `count` preparations fail.
    pub fn refuse_preparations(&self, count: usize) {
        self.world().refusals = count;
    }

    /// Every run that ever was, in the order of their beginnings.
    pub fn history(&self) -> Vec<Run> {
        self.world().history.clone()
    }

    /// Whether nothing of any pod is left.
    pub fn is_empty(&self) -> bool {
        let world = self.world();
        world.pods.is_empty() && world.containers.is_empty()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program as a container. There never are two runs of one container at a time.
    pub(crate) fn begin(
        &self,
        (uid, instance): (&str, &Instance),
        program: Program,
        env: Vec<(String, String)>,
    ) -> ContainerId {
        let now = self.clock.now();
        let mut world = self.world();
        let twice = world.containers.values().any(|other| {
            other.uid == uid && other.instance.container == instance.container && other.state.borrow().exit.is_none()
        });
        assert!(!twice, "two runs of container {} at a time", instance.container);
        let id = ContainerId(format!("engine-{}-{}-{}", uid, instance.container, instance.attempt));
        let run = world.history.len();
        world.history.push(Run { instance: instance.clone(), began: now, ended: None, env });
        let container = Container {
            uid: uid.to_owned(),
            instance: instance.clone(),
            started_at: now,
            state: watch::Sender::default(),
            run,
            listener: None,
            unheard: Vec::new(),
        };
        let stops = container.state.subscribe();
        world.containers.insert(id.clone(), container);
        let (engine, named) = (self.clone(), id.clone());
        let task = async move {
            let exit = engine.execute(&named, program, stops).await;
            engine.ended(&named, exit);
            Ok::<(), Infallible>(())
        };
        world.tasks.start(id.0.clone(), task).expect("there is room for every test's containers");
        id
    }

    async fn execute(&self, id: &ContainerId, program: Program, mut stops: watch::Receiver<State>) -> Exit {
        let Program { steps, message_file } = program;
        let mut deaf = false;
        for step in steps {
            match step {
                Step::Write(stream, text) => self.say(id, stream, text.into()).await,
                Step::Message(text) => {
                    // As for a container whose disk is full: nobody is told.
                    let _ = std::fs::write(&message_file, text);
                }
                Step::Deaf => deaf = true,
                Step::Exit(code) => return exit(code, None),
                Step::Sleep(time) => {
                    tokio::select! {
                        () = sleep(time) => (),
                        signal = stopped(&mut stops, deaf) => return exit(128 + signal, Some(signal)),
                    }
                }
            }
        }
        exit(0, None)
    }

    async fn say(&self, id: &ContainerId, stream: LogStream, text: Bytes) {
        let listener = self.world().containers.get(id).and_then(|container| container.listener.clone());
        let unheard = match listener {
            Some(listener) => listener.send((stream, text)).await.err().map(|unheard| unheard.0),
            None => Some((stream, text)),
        };
        if let (Some(unheard), Some(container)) = (unheard, self.world().containers.get_mut(id)) {
            container.unheard.push(unheard);
        }
    }

    fn ended(&self, id: &ContainerId, exit: Exit) {
        let now = self.clock.now();
        let mut world = self.world();
        let Some(container) = world.containers.get_mut(id) else { return };
        container.listener = None;
        container.state.send_modify(|state| state.exit = Some(exit));
        let run = container.run;
        world.history[run].ended = Some(now);
    }

    /// Listens to a container from what nobody has heard on.
    pub(crate) fn listen(&self, id: &ContainerId) -> Option<mpsc::Receiver<(LogStream, Bytes)>> {
        let mut world = self.world();
        let container = world.containers.get_mut(id)?;
        let (listener, output) = mpsc::channel(1000);
        for piece in container.unheard.drain(..) {
            let _ = listener.try_send(piece);
        }
        if container.state.borrow().exit.is_none() {
            container.listener = Some(listener);
        }
        Some(output)
    }

    /// The containers of a pod.
    pub(crate) fn found(&self, uid: &str) -> Vec<Found> {
        let world = self.world();
        let of_pod = world.containers.iter().filter(|(_, container)| container.uid == uid);
        of_pod
            .map(|(id, container)| Found {
                instance: container.instance.clone(),
                id: id.0.clone(),
                started_at: container.started_at,
                exit: container.state.borrow().exit.map(|exit| (exit, String::new())),
            })
            .collect()
    }
}

/// Waits for the signal that ends the container.
async fn stopped(stops: &mut watch::Receiver<State>, deaf: bool) -> i32 {
    const KILL: i32 = 9;
    loop {
        let stop = stops.borrow_and_update().stop;
        match stop {
            Some((signal, _)) if !deaf || signal == KILL => return signal,
            Some((_, kill)) => tokio::select! {
                () = sleep_until(kill) => return KILL,
                _ = stops.changed() => (),
            },
            None => {
                if stops.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn exit(code: i32, signal: Option<i32>) -> Exit {
    Exit { code, signal, out_of_memory: false, started_at: None, finished_at: None }
}

impl State {
    /// Asks for the end; a shorter grace wins.
    pub fn stop(&mut self, signal: i32, grace: Duration) {
        let kill = tokio::time::Instant::now() + grace;
        let kill = self.stop.map_or(kill, |(_, before)| before.min(kill));
        self.stop = Some((signal, kill));
    }
}
