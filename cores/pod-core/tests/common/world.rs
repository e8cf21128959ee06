//! A launcher and a clock without processes: carries actions out, in any order that a real one could, and checks after
//! every step that the machine keeps its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use outrigger_pod_core::life::{
    Action, Deletion, Event, Exit, Found, HookKind, HookOutcome, ImageProblem, Instance, Lost, Machine, Options,
    PodAddresses, PrepareProblem, ProbeKind, ProbeOutcome, StartProblem, World as Met,
};
use outrigger_pod_core::plan::{ContainerName, PodPlan, Role};

use super::random_pod::{CODES, Choices};

/// A start is answered within this time.
const START_LIMIT: Duration = Duration::from_secs(1);

pub struct World {
    pub machine: Machine,
    plan: Arc<PodPlan>,
    options: Options,
    now: Timestamp,
    /// Actions whose answer is still to come, and until when a launcher that obeys gives it.
    open: Vec<(Action, Option<Timestamp>)>,
    /// Processes, and when each is killed; `Err`: ended, but not told yet.
    alive: BTreeMap<Instance, Process>,
    images: BTreeSet<Instance>,
    started: BTreeSet<Instance>,
    /// Init containers that succeeded and sidecars that started, since all containers last restarted.
    passed: BTreeSet<ContainerName>,
    hooks: BTreeSet<Instance>,
    restarts: BTreeMap<String, i32>,
    last: Option<PodStatus>,
    /// By when everything has ended, once a deletion was asked for.
    ends_by: Option<Timestamp>,
    deleted: bool,
    trace: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Process {
    began: Timestamp,
    kill_at: Option<Timestamp>,
    told: bool,
}

/// What happened, kept as it is: only a failing case prints it.
enum Line {
    At(Timestamp, Event),
    Asked(Action),
    Lost(Action),
    Restart,
    Meets(Instance, &'static str),
}

pub type Verdict = Result<(), String>;

impl World {
    pub fn new(plan: PodPlan, scale: f64) -> Self {
        let (plan, now) = (Arc::new(plan), Timestamp::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let options = Options { back_off_scale: scale };
        Self {
            machine: Machine::new(plan.clone(), options, now),
            plan,
            options,
            now,
            open: Vec::new(),
            alive: BTreeMap::new(),
            images: BTreeSet::new(),
            started: BTreeSet::new(),
            passed: BTreeSet::new(),
            hooks: BTreeSet::new(),
            restarts: BTreeMap::new(),
            last: None,
            ends_by: None,
            deleted: false,
            trace: Vec::new(),
        }
    }

    /// What happened so far, for a failing case.
    pub fn trace(&self) -> String {
        let line = |line: &Line| match line {
            Line::At(at, event) => format!("{at} {event:?}\n"),
            Line::Asked(Action::Note(_)) => String::new(),
            Line::Asked(action) => format!("    -> {action:?}\n"),
            Line::Lost(action) => format!("no answer to {action:?}\n"),
            Line::Restart => "restart\n".to_owned(),
            Line::Meets(instance, how) => format!("    {instance:?} {how}\n"),
        };
        self.trace.iter().map(line).collect()
    }

    /// Lives through all choices, then calmly to the end, which must come.
    pub fn live(&mut self, choices: &mut Choices) -> Verdict {
        self.happens(Event::Tick)?;
        while !choices.is_empty() && !self.machine.is_over() {
            self.choose(choices)?;
        }
        if !self.machine.is_over() {
            self.delete(None)?;
        }
        for _ in 0..400 {
            if self.machine.is_over() {
                let json = serde_json::to_value(self.machine.status()).map_err(|error| error.to_string())?;
                return ensure(json["phase"] != "Running", "a pod that is over runs");
            }
            self.choose(&mut Choices::new(&[]))?;
        }
        Err("the pod does not come to its end".to_owned())
    }

    fn choose(&mut self, choices: &mut Choices) -> Verdict {
        match choices.below(24) {
            0..=11 => self.answer(choices),
            12..=15 => self.exit(choices),
            16 => self.restart(choices),
            17 if choices.one_in(3) => self.delete(Some(choices.seconds(20))),
            17 if choices.one_in(4) => self.evict(),
            18 if choices.one_in(3) => self.drop_answer(choices),
            19 if choices.one_in(2) => self.late_answer(choices),
            _ => self.wait(choices),
        }
    }

    /// Answers one open action, else lets time pass.
    fn answer(&mut self, choices: &mut Choices) -> Verdict {
        if self.open.is_empty() {
            return self.wait(choices);
        }
        let (action, _) = self.open.remove(choices.below(self.open.len()));
        self.answer_to(action, choices)
    }

    fn answer_to(&mut self, action: Action, choices: &mut Choices) -> Verdict {
        let bad = choices.one_in(6);
        let text = || "why".to_owned();
        match action {
            Action::Prepare if bad => {
                let fatal = choices.one_in(4).then(|| "Refused".to_owned());
                self.happens(Event::PrepareFailed { problem: PrepareProblem::Sandbox, message: text(), fatal })
            }
            Action::Prepare => {
                let here = vec![std::net::IpAddr::from([127, 0, 0, 1])];
                self.happens(Event::Prepared(PodAddresses { pod: here.clone(), host: here }))
            }
            Action::Pull(instance) if bad => {
                let problems = [ImageProblem::Pull, ImageProblem::NeverPull, ImageProblem::Inspect];
                let problem = problems[choices.below(3)];
                self.happens(Event::ImageFailed { instance, problem, message: text() })
            }
            Action::Pull(instance) => {
                self.images.insert(instance.clone());
                self.happens(Event::ImageReady { instance, image_id: "id".to_owned(), pulled: None })
            }
            Action::Start(instance) if bad => {
                let problems = [StartProblem::Config, StartProblem::Create, StartProblem::Exec];
                let problem = problems[choices.below(3)];
                if problem == StartProblem::Exec {
                    self.restart_all(&instance, 128);
                } else {
                    self.images.remove(&instance);
                    self.started.remove(&instance);
                }
                self.happens(Event::StartFailed { instance, problem, message: text(), id: None })
            }
            Action::Start(instance) if choices.one_in(8) => {
                // It ended before its start was told.
                self.ends(instance, CODES[choices.below(CODES.len())])
            }
            Action::Start(instance) => {
                let process = Process { began: self.now, kill_at: None, told: false };
                self.alive.insert(instance.clone(), process);
                let id = format!("fake://{}-{}", instance.container, instance.attempt);
                self.happens(Event::Started { instance, id, user: None })
            }
            Action::Hook { instance, hook, .. } => {
                let outcome = if bad { HookOutcome::Failed(text()) } else { HookOutcome::Done };
                self.hooks.remove(&instance);
                self.happens(Event::HookDone { instance, hook, outcome })
            }
            Action::Probe { instance, kind } => {
                let outcome = match choices.below(6) {
                    0..=2 => ProbeOutcome::Success,
                    3 | 4 => ProbeOutcome::Failure(text()),
                    _ => ProbeOutcome::Unknown(text()),
                };
                self.happens(Event::Probed { instance, kind, outcome })
            }
            Action::Remove => self.happens(Event::Removed),
            Action::Stop { .. } | Action::Note(_) => Ok(()),
        }
    }

    /// An answer is lost: only of what may hang in a real launcher.
    fn drop_answer(&mut self, choices: &mut Choices) -> Verdict {
        let hangs = |action: &Action| matches!(action, Action::Probe { .. } | Action::Hook { .. });
        if let Some(at) = self.open.iter().position(|(action, _)| hangs(action)) {
            let (action, _) = self.open.remove(at);
            self.trace.push(Line::Lost(action));
            return Ok(());
        }
        self.wait(choices)
    }

    /// An event comes once more after its instance is gone; it changes nothing.
    fn late_answer(&mut self, choices: &mut Choices) -> Verdict {
        let newest = |instance: &Instance| self.started.iter().rfind(|it| it.container == instance.container).cloned();
        let stale = |line: &&Line| match line {
            Line::At(_, event) => instance_of(event).is_some_and(|it| newest(it).is_some_and(|newest| *it < newest)),
            _ => false,
        };
        let all: Vec<&Line> = self.trace.iter().filter(stale).collect();
        if all.is_empty() {
            return self.wait(choices);
        }
        let Line::At(_, event) = all[choices.below(all.len())] else { return Ok(()) };
        let (event, before) = (event.clone(), self.machine.record());
        self.happens(event)?;
        let mut after = self.machine.record();
        after["now"] = before["now"].clone();
        ensure(before == after, "a late answer changes something")
    }

    /// A process ends by itself.
    fn exit(&mut self, choices: &mut Choices) -> Verdict {
        if self.alive.is_empty() {
            return self.answer(choices);
        }
        let at = choices.below(self.alive.len());
        let code = CODES[choices.below(CODES.len())];
        let instance = self.alive.keys().nth(at).cloned().ok_or("no process")?;
        self.ends(instance, code)
    }

    fn ends(&mut self, instance: Instance, code: i32) -> Verdict {
        self.alive.remove(&instance);
        self.hooks.remove(&instance);
        self.open.retain(|(action, _)| !matches!(action, Action::Hook { instance: of, .. } if *of == instance));
        if code == 0 && self.role(&instance.container) == Role::Init {
            self.passed.insert(instance.container.clone());
        }
        self.restart_all(&instance, code);
        self.happens(Event::Exited { instance, exit: exit(code), message: String::new() })
    }

    /// Lets time pass up to the next thing that must happen, or a part of the way.
    fn wait(&mut self, choices: &mut Choices) -> Verdict {
        let wake = self.machine.wake();
        let kills = self.alive.iter().filter_map(|(instance, process)| Some((process.kill_at?, instance.clone())));
        let kill = kills.min();
        let answer = self.open.iter().enumerate().filter_map(|(i, (_, by))| Some(((*by)?, i))).min();
        let next = [wake, kill.as_ref().map(|kill| kill.0), answer.map(|answer| answer.0)].into_iter().flatten().min();
        let Some(next) = next else {
            // Nothing is due: whoever runs must end, whoever is asked must answer.
            if !self.open.is_empty() {
                return self.answer(choices);
            }
            self.now += choices.seconds(700);
            return match self.alive.keys().next().cloned() {
                Some(_) if self.ends_by.is_some() => Err("nothing is due, but something runs".to_owned()),
                Some(instance) => self.ends(instance, 0),
                None => Err("nothing is due, nothing runs, and the pod is not over".to_owned()),
            };
        };
        let part = choices.one_in(4);
        if part {
            let whole = Duration::try_from(next.duration_since(self.now)).unwrap_or_default();
            self.now += whole / 2;
            return self.happens(Event::Tick);
        }
        self.now = self.now.max(next);
        match (kill, answer) {
            (Some((at, instance)), _) if at == next => self.ends(instance, 137),
            (_, Some((at, i))) if at == next => {
                let (action, _) = self.open.remove(i);
                self.answer_to(action, choices)
            }
            _ => self.happens(Event::Tick),
        }
    }

    fn delete(&mut self, grace: Option<Duration>) -> Verdict {
        self.deleted = true;
        let own = grace.unwrap_or(self.plan.grace);
        let least = if grace == Some(Duration::ZERO) { Duration::ZERO } else { Duration::from_secs(3) };
        let by = self.now + (own + Duration::from_secs(2)).max(least) + START_LIMIT;
        self.ends_by = Some(self.ends_by.map_or(by, |before| before.min(by)));
        self.happens(Event::Delete(Deletion { grace }))
    }

    fn evict(&mut self) -> Verdict {
        let by = self.now + Duration::from_secs(3) + START_LIMIT;
        self.ends_by = Some(self.ends_by.map_or(by, |before| before.min(by)));
        self.happens(Event::Evict { reason: "Evicted".to_owned(), message: "full".to_owned() })
    }

    /// The runner ends and comes again: open answers are lost, some processes with them.
    fn restart(&mut self, choices: &mut Choices) -> Verdict {
        let record = self.machine.record();
        let over = choices.one_in(8);
        let mut found = Vec::new();
        self.trace.push(Line::Restart);
        let mut unanswered = BTreeSet::new();
        for (action, _) in std::mem::take(&mut self.open) {
            // A start that was not answered may have been carried out, or not.
            if let Action::Start(instance) = action {
                if choices.one_in(2) {
                    unanswered.insert(instance.clone());
                    self.alive.insert(instance, Process { began: self.now, kill_at: None, told: false });
                } else {
                    self.started.remove(&instance);
                }
            }
        }
        let alive = std::mem::take(&mut self.alive);
        for (instance, process) in alive {
            let id = "fake://again".to_owned();
            let fate = if over { 0 } else { choices.below(4) };
            let exit = match fate {
                1 => Some((exit(CODES[choices.below(CODES.len())]), String::new())),
                _ => None,
            };
            if fate == 0 && over || fate == 2 {
                if unanswered.contains(&instance) && !over {
                    // As if it had never been: it is started again.
                    self.started.remove(&instance);
                } else {
                    self.gone(&instance, 137);
                }
                self.trace.push(Line::Meets(instance, "is lost"));
            } else {
                let how = if exit.is_some() { "is found ended" } else { "is found" };
                self.trace.push(Line::Meets(instance.clone(), how));
                if let Some((exit, _)) = &exit {
                    self.gone(&instance, exit.code);
                } else {
                    self.alive.insert(instance.clone(), process.clone());
                }
                found.push(Found { instance, id, started_at: process.began, exit });
            }
        }
        self.hooks.clear();
        let lost = if over { Lost::PodOver } else { Lost::Ended };
        if over {
            self.deleted = true;
            self.ends_by.get_or_insert(self.now + START_LIMIT);
        }
        let met = Met { found: &found, lost };
        let (machine, actions) = Machine::restore(self.plan.clone(), self.options, &record, met, self.now)
            .map_err(|error| error.to_string())?;
        let (again, _) = Machine::restore(self.plan.clone(), self.options, &record, met, self.now)
            .map_err(|error| error.to_string())?;
        ensure(machine.record() == again.record(), "a record read twice gives two machines")?;
        self.machine = machine;
        let ends = |action: &Action| matches!(action, Action::Remove | Action::Note(_));
        let waits = |action: &Action| matches!(action, Action::Hook { .. } | Action::Stop { .. });
        ensure(
            !over || actions.iter().all(|it| ends(it) || (waits(it) && !found.is_empty())),
            "a pod that is over begins",
        )?;
        self.carry_out(actions)
    }

    fn gone(&mut self, instance: &Instance, code: i32) {
        if code == 0 && self.role(&instance.container) == Role::Init {
            self.passed.insert(instance.container.clone());
        }
        self.restart_all(instance, code);
    }

    /// Where a rule of this container restarts all, everything must pass again.
    fn restart_all(&mut self, instance: &Instance, code: i32) {
        let plan = self.plan.container(&instance.container).expect("a container of the plan");
        let first = plan.restart.rules.iter().find(|rule| rule.codes.contains(&code) != rule.not_in);
        if first.is_some_and(|rule| rule.whole_pod) {
            self.passed.clear();
        }
    }

    fn happens(&mut self, event: Event) -> Verdict {
        self.trace.push(Line::At(self.now, event.clone()));
        let actions = self.machine.step(self.now, event);
        self.carry_out(actions)
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Verdict {
        let status = self.machine.status();
        self.carry_out_with(actions, &status)?;
        self.check(status)
    }

    fn carry_out_with(&mut self, actions: Vec<Action>, status: &PodStatus) -> Verdict {
        let restarts = |it: &PodCondition| it.type_ == "AllContainersRestarting" && it.status == "True";
        if !status.conditions.iter().flatten().any(restarts) {
            let started = status.init_container_statuses.iter().flatten().filter(|it| it.started == Some(true));
            let started = started.map(|it| ContainerName(it.name.clone())).filter(|it| self.role(it) == Role::Sidecar);
            self.passed.extend(started.collect::<Vec<_>>());
        }
        for action in actions {
            self.trace.push(Line::Asked(action.clone()));
            self.accept(&action)?;
            let by = match &action {
                Action::Start(_) => Some(self.now + START_LIMIT),
                _ => None,
            };
            if !matches!(action, Action::Note(_) | Action::Stop { .. }) {
                self.open.push((action, by));
            }
        }
        Ok(())
    }

    /// Whether this action may be asked for now.
    fn accept(&mut self, action: &Action) -> Verdict {
        match action {
            Action::Pull(instance) => {
                ensure(!self.deleted, "a start after a deletion")?;
                self.may_begin(instance)
            }
            Action::Start(instance) => {
                self.may_begin(instance)?;
                ensure(self.images.contains(instance), "a start without its image")?;
                ensure(self.started.insert(instance.clone()), "an instance started twice")
            }
            Action::Hook { instance, hook, .. } => {
                if *hook == HookKind::PostStart {
                    self.hooks.insert(instance.clone());
                }
                ensure(self.alive.contains_key(instance), "a hook of a container that does not run")
            }
            Action::Probe { instance, kind } => {
                let process = self.alive.get(instance).ok_or("a probe of a container that does not run")?;
                ensure(*kind == ProbeKind::Readiness || !process.told, "a probe of a container that ends")
            }
            Action::Stop { instance, grace, .. } => self.told(instance, *grace),
            Action::Remove => {
                ensure(self.alive.is_empty(), "taken down while something runs")?;
                let starts = self.open.iter().any(|(action, _)| matches!(action, Action::Start(_)));
                ensure(!starts, "taken down while something starts")
            }
            Action::Prepare | Action::Note(_) => Ok(()),
        }
    }

    fn told(&mut self, instance: &Instance, grace: Duration) -> Verdict {
        let role = self.role(&instance.container);
        let waits_for = |other: &Instance| match self.role(&other.container) {
            Role::Main => true,
            Role::Sidecar => other.container > instance.container,
            Role::Init => false,
        };
        let early = role == Role::Sidecar && self.deleted && self.alive.keys().any(waits_for);
        let process = self.alive.get_mut(instance).ok_or("a stop of a container that does not run")?;
        ensure(!early || process.told || grace <= Duration::from_secs(2), "a sidecar is told before its turn")?;
        process.told = true;
        let kill = self.now + grace;
        process.kill_at = Some(process.kill_at.map_or(kill, |at| at.min(kill)));
        Ok(())
    }

    /// Order of starts, and never two instances of one container.
    fn may_begin(&self, instance: &Instance) -> Verdict {
        let one = self.alive.keys().all(|other| other.container != instance.container);
        ensure(one, "two instances of one container")?;
        for earlier in self.plan.containers.iter().take_while(|plan| plan.name != instance.container) {
            if earlier.role != Role::Main {
                ensure(self.passed.contains(&earlier.name), "a start before an init container has passed")?;
            }
        }
        Ok(())
    }

    /// What holds after every step.
    fn check(&mut self, status: PodStatus) -> Verdict {
        if let Some(by) = self.ends_by {
            ensure(self.now <= by || self.alive.is_empty(), "something runs after the grace")?;
        }
        ensure(self.machine.wake().is_none_or(|wake| wake > self.now), "the machine wants to be called at once")?;
        let all = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for it in all() {
            self.check_container(it)?;
            let before = self.restarts.insert(it.name.clone(), it.restart_count);
            ensure(before.is_none_or(|before| before <= it.restart_count), "a restart count shrinks")?;
        }
        if status.phase.as_deref() == Some("Succeeded") {
            let good = |it: &ContainerStatus| {
                it.state.as_ref().is_some_and(|it| it.terminated.as_ref().is_some_and(|it| it.exit_code == 0))
            };
            ensure(status.container_statuses.iter().flatten().all(good), "a success with a failed container")?;
        }
        let ready = status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        let mains_ready = status.container_statuses.iter().flatten().all(|it| it.ready);
        ensure(!ready || mains_ready, "a ready pod with a container that is not")?;
        if let Some(last) = &self.last {
            ensure(*last == status, "a final status changes")?;
        } else if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            ensure(self.alive.is_empty(), "a final phase while something runs")?;
            self.last = Some(status);
        }
        Ok(())
    }

    fn check_container(&mut self, it: &ContainerStatus) -> Verdict {
        let state = it.state.as_ref().ok_or("no state")?;
        let states = [state.running.is_some(), state.waiting.is_some(), state.terminated.is_some()];
        ensure(states.iter().filter(|it| **it).count() == 1, "not one state")?;
        let name = ContainerName(it.name.clone());
        let role = self.role(&name);
        let runs = self.alive.keys().find(|instance| instance.container == name);
        if state.running.is_some() {
            let instance = runs.ok_or("shown as running, but nothing runs")?;
            let count = i32::try_from(instance.attempt).map_err(|error| error.to_string())?;
            ensure(it.restart_count == count, "a restart count that is not the attempt")?;
        } else {
            let shown_late = runs.is_none_or(|instance| self.hooks.contains(instance));
            ensure(shown_late, "something runs, but is not shown")?;
            ensure(it.started == Some(false), "started, but not running")?;
        }
        ensure(!it.ready || role == Role::Init || it.started == Some(true), "ready, but not started")
    }

    fn role(&self, name: &ContainerName) -> Role {
        self.plan.container(name).expect("a container of the plan").role
    }
}

fn instance_of(event: &Event) -> Option<&Instance> {
    match event {
        Event::PullBegan { instance }
        | Event::ImageReady { instance, .. }
        | Event::ImageFailed { instance, .. }
        | Event::Started { instance, .. }
        | Event::StartFailed { instance, .. }
        | Event::Exited { instance, .. }
        | Event::HookDone { instance, .. }
        | Event::Probed { instance, .. } => Some(instance),
        _ => None,
    }
}

fn exit(code: i32) -> Exit {
    Exit { code, signal: None, out_of_memory: false, started_at: None, finished_at: None }
}

fn ensure(holds: bool, otherwise: &str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
