//! The view of a run: takes what happens, and writes what is to be seen.
//!
//! ```text
//! pods ──watch──► events ──► lines, live rows ──a frame at a time──► painter ──► terminal or pipe
//! ```
//!
//! It owns what stands on the screen. While the terminal is busy it takes nothing new, and the log files wait; the pods
//! never do.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use outrigger_launcher::Usage;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::log::read::Line;
use outrigger_pod_runner::handle::{Handle, Snapshot, TimedNote};
use outrigger_runtime::Children;
use outrigger_terminal::device;
use outrigger_terminal::figures;
use outrigger_terminal::line::{Prefixes, for_terminal};
use outrigger_terminal::paint::{Channel, Painter};
use outrigger_terminal::screen::Screen;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::live::{self, Row};
use super::state::{self, Mood};
use super::watch::{self, Event, Watched};

/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(50);

/// How many tasks read for the view: one for each container and each pod.
const MOST_READERS: usize = 100_000;

/// How much may wait to be written before nothing more is read.
const BACKLOG: usize = 256 * 1024;

/// How the run is shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Live lines, on a terminal.
    pub live: bool,
    /// Colors.
    pub colors: bool,
    /// Only what the containers write.
    pub quiet: bool,
    /// Where their lines go.
    pub logs: Channel,
    /// Whether names have their pod's before them.
    pub several: bool,
}

/// Shows the run until everybody who tells has gone. By `events` it lets the tasks of each pod tell it.
pub async fn show(style: Style, events: mpsc::WeakSender<Event>, told: mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let size = device::size(io::stdout().as_fd()).unwrap_or_default();
    let view = View {
        style,
        screen: style.live.then(|| Screen::new(size)),
        columns: size.columns,
        pods: Vec::new(),
        sources: Vec::new(),
        prefixes: Prefixes::new(Vec::new(), style.colors),
        lines: Vec::new(),
        texts: VecDeque::new(),
        backlog: 0,
        dirty: false,
        warned: BTreeMap::new(),
        tasks: Children::new(MOST_READERS),
    };
    view.run(events, told).await
}

struct View {
    style: Style,
    screen: Option<Screen>,
    columns: usize,
    pods: Vec<Shown>,
    /// The names of the sources of lines.
    sources: Vec<String>,
    prefixes: Prefixes,
    /// New lines for the screen.
    lines: Vec<String>,
    /// What is to be written where there is no screen.
    texts: VecDeque<(Channel, Vec<u8>)>,
    backlog: usize,
    dirty: bool,
    /// The last warning of each kind about a pod or container.
    warned: BTreeMap<(usize, Option<ContainerName>, Cow<'static, str>), String>,
    tasks: Children,
}

/// A pod as it is shown.
struct Shown {
    handle: Handle,
    snapshot: Arc<Snapshot>,
    used: BTreeMap<ContainerName, (Instant, Usage)>,
    /// CPU in thousandths of a core, and memory in bytes.
    rates: BTreeMap<ContainerName, (u64, u64)>,
}

impl View {
    async fn run(mut self, events: mpsc::WeakSender<Event>, mut told: mpsc::Receiver<Event>) -> anyhow::Result<()> {
        let painter = Painter::start();
        let mut resized = signal(SignalKind::window_change())?;
        let mut next_frame = Instant::now();
        let mut open = true;
        while open || self.has_more() {
            tokio::select! {
                biased;
                event = told.recv(), if open && self.backlog < BACKLOG => match event {
                    Some(Event::Pod(handle)) => if let Some(events) = events.upgrade() {
                        self.add(handle, &events)?;
                    },
                    Some(event) => self.take(event),
                    None => open = false,
                },
                _ = resized.recv(), if self.screen.is_some() => self.resize(),
                () = sleep_until(next_frame), if self.screen.is_some() && Instant::now() < next_frame && self.has_more() => (),
                room = painter.room(), if self.has_more() && (self.screen.is_none() || Instant::now() >= next_frame) => {
                    let Some(room) = room else { break };
                    room.send(self.next_text());
                    next_frame = Instant::now() + FRAME;
                }
            }
        }
        if let Some(screen) = &mut self.screen
            && let Some(room) = painter.room().await
        {
            room.send((Channel::Out, screen.finish().into_bytes()));
        }
        painter.finish().await;
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.dirty || !self.texts.is_empty()
    }

    /// What is written next: a frame, or a piece of text.
    fn next_text(&mut self) -> (Channel, Vec<u8>) {
        if let Some(text) = self.texts.pop_front() {
            self.backlog = self.texts.iter().map(|(_, text)| text.len()).sum();
            return text;
        }
        self.backlog = 0;
        self.dirty = false;
        let live = live::lines(&self.rows(), self.columns, self.style.colors);
        let frame = self.screen.as_mut().map(|screen| screen.frame(std::mem::take(&mut self.lines), live));
        (Channel::Out, frame.unwrap_or_default().into_bytes())
    }

    fn add(&mut self, handle: Handle, events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
        let pod = self.pods.len();
        let (first_source, usage) = (self.sources.len(), self.screen.is_some());
        watch::start(&mut self.tasks, &Watched { handle: handle.clone(), pod, first_source, usage }, events)?;
        for container in &handle.plan.containers {
            self.sources.push(if self.style.several {
                format!("{}/{}", handle.plan.name, container.name)
            } else {
                container.name.0.clone()
            });
        }
        self.prefixes = Prefixes::new(self.sources.clone(), self.style.colors);
        let snapshot = Arc::new(Snapshot::default());
        self.pods.push(Shown { handle, snapshot, used: BTreeMap::new(), rates: BTreeMap::new() });
        self.dirty |= self.screen.is_some();
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Pod(_) => (),
            Event::Lines(source, lines) => lines.iter().for_each(|line| self.line(source, line)),
            Event::Say(text) => self.say(&text, Mood::Idle),
            Event::Fault(text) => self.say(&text, Mood::Bad),
            Event::Note(pod, note) => self.note(pod, &note),
            Event::Status(pod, snapshot) => self.status(pod, &snapshot),
            Event::Usage(pod, at, used) => self.usage(pod, at, used),
        }
    }

    fn line(&mut self, source: usize, line: &Line) {
        let prefix = self.prefixes.of(source);
        self.backlog += prefix.len() + line.text.len() + 1;
        if self.screen.is_some() {
            self.lines.push(prefix + &for_terminal(&line.text, self.style.colors));
            self.dirty = true;
            return;
        }
        let text = self.text(self.style.logs);
        text.extend_from_slice(prefix.as_bytes());
        text.extend_from_slice(&line.text);
        text.push(b'\n');
    }

    /// The text that waits for a channel, to be added to.
    fn text(&mut self, channel: Channel) -> &mut Vec<u8> {
        if self.texts.back().is_none_or(|(last, _)| *last != channel) {
            self.texts.push_back((channel, Vec::new()));
        }
        &mut self.texts.back_mut().expect("one was pushed where there was none").1
    }

    /// Says something that is ours, not a container's.
    fn say(&mut self, text: &str, mood: Mood) {
        if self.style.quiet && mood != Mood::Bad {
            return;
        }
        if self.screen.is_some() {
            let text = for_terminal(text.as_bytes(), false);
            let color = if mood == Mood::Bad { 33 } else { 90 };
            self.lines.push(if self.style.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text });
            self.dirty = true;
        } else {
            let line = format!("outrigger: {}\n", text.replace('\n', " "));
            self.text(Channel::Err).extend_from_slice(line.as_bytes());
        }
    }

    fn note(&mut self, pod: usize, note: &TimedNote) {
        let told_by_status = ["BackOff", "Failed", "Killing"].contains(&note.note.reason.as_ref());
        if !note.note.warning || told_by_status {
            return;
        }
        // The same trouble again is no news.
        let subject = (pod, note.note.container.clone(), note.note.reason.clone());
        if self.warned.insert(subject, note.note.message.clone()).as_ref() == Some(&note.note.message) {
            return;
        }
        let name = self.name(pod, note.note.container.as_ref().map(|name| name.0.as_str()));
        self.say(&format!("{name}: {}: {}", note.note.reason, note.note.message.trim_end()), Mood::Bad);
    }

    fn name(&self, pod: usize, container: Option<&str>) -> String {
        let pod = &self.pods[pod].handle.plan.name;
        match container {
            None => pod.clone(),
            Some(container) if self.style.several => format!("{pod}/{container}"),
            Some(container) => container.to_owned(),
        }
    }

    fn status(&mut self, pod: usize, snapshot: &Arc<Snapshot>) {
        let before = std::mem::replace(&mut self.pods[pod].snapshot, Arc::clone(snapshot));
        for (container, text, mood) in state::changes(&before.status, &snapshot.status) {
            // On a terminal the live line tells what goes well.
            if self.screen.is_none() || mood == Mood::Bad {
                let name = self.name(pod, Some(&container));
                self.say(&format!("{name} {text}"), mood);
            }
        }
        if snapshot.waiting != before.waiting
            && let Some(waiting) = &snapshot.waiting
        {
            let name = self.name(pod, None);
            self.say(&format!("{name} waits: {waiting}"), Mood::Idle);
        }
        if let Some(reason) = newly(before.status.reason.as_ref(), snapshot.status.reason.as_ref()) {
            let message = snapshot.status.message.as_deref().unwrap_or_default();
            let name = self.name(pod, None);
            self.say(&format!("{name}: {reason}: {message}"), Mood::Bad);
        }
        self.dirty |= self.screen.is_some();
    }

    fn usage(&mut self, pod: usize, at: Instant, used: BTreeMap<ContainerName, Usage>) {
        let pod = &mut self.pods[pod];
        pod.rates = used
            .iter()
            .map(|(name, usage)| {
                let before = pod.used.get(name).filter(|(_, before)| before.cpu <= usage.cpu);
                let rate = before.map_or(0, |(then, before)| {
                    let passed = at.duration_since(*then).as_millis().max(1);
                    u64::try_from(usage.cpu.saturating_sub(before.cpu).as_micros() / passed).unwrap_or(u64::MAX)
                });
                (name.clone(), (rate, usage.memory))
            })
            .collect();
        pod.used = used.into_iter().map(|(name, usage)| (name, (at, usage))).collect();
        self.dirty = true;
    }

    fn resize(&mut self) {
        if let (Some(screen), Some(size)) = (&mut self.screen, device::size(io::stdout().as_fd())) {
            self.columns = size.columns;
            let frame = screen.resize(size);
            self.texts.push_back((Channel::Out, frame.into_bytes()));
            self.dirty = true;
        }
    }

    /// The live lines of all pods that have not ended.
    fn rows(&self) -> Vec<Row> {
        let now = Timestamp::now();
        let mut rows = Vec::new();
        for (place, pod) in self.pods.iter().enumerate().filter(|(_, pod)| pod.snapshot.end.is_none()) {
            for plan in &pod.handle.plan.containers {
                rows.push(self.row(place, pod, plan, now));
            }
        }
        rows
    }

    fn row(&self, place: usize, pod: &Shown, plan: &outrigger_pod_core::plan::ContainerPlan, now: Timestamp) -> Row {
        let status: &PodStatus = &pod.snapshot.status;
        let found = state::containers(status).find(|container| container.name == plan.name.0);
        let (word, mood) = found.map_or(("waiting".to_owned(), Mood::Idle), state::word);
        let probes = found.map_or("", |it| state::probes(it, plan.startup.is_some(), plan.readiness.is_some()));
        let restarts = found.map_or(0, |container| container.restart_count);
        let running = found.and_then(|container| container.state.as_ref()?.running.as_ref()?.started_at.clone());
        let rate = pod.rates.get(&plan.name).filter(|_| running.is_some());
        Row {
            name: self.name(place, Some(&plan.name.0)),
            state: word,
            mood,
            probes: probes.to_owned(),
            restarts: if restarts > 0 {
                outrigger_config::count(restarts.unsigned_abs() as usize, "restart")
            } else {
                String::new()
            },
            cpu: rate.map(|(cpu, _)| figures::cpu(*cpu)).unwrap_or_default(),
            memory: rate.map(|(_, memory)| figures::bytes(*memory)).unwrap_or_default(),
            time: running.map(|at| figures::age(at.0, now)).unwrap_or_default(),
        }
    }
}

fn newly<'a>(before: Option<&String>, now: Option<&'a String>) -> Option<&'a String> {
    now.filter(|now| before != Some(*now) && !now.is_empty())
}
