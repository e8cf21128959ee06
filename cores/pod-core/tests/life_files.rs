//! The pods below `life/`: manifest, events, and what a kubelet would do and write.
//!
//! Each file is one pod's life. `event` is what happens at `at` (seconds), `actions` is everything the machine wants
//! done then, and `status`, where it stands, the whole `v1.PodStatus`. The manifests are such that a real kubelet comes
//! to the same statuses, but for times, ids and addresses. With `UPDATE_EXPECT=1` the files are written anew; what
//! changed is to be read against the kubelet's source.
//!
//! Events: `tick`; `ticks` (every wake until then, without answers); `settle` (a calm launcher answers everything but
//! hooks and probes, again and again); `prepared`; `prepare-failed claims|sandbox|volumes: TEXT`;
//! `refused REASON: TEXT`; `ready C`; `pulled C`; `image-failed C pull|never|name|inspect: TEXT`; `started C`;
//! `start-failed C config|create|exec: TEXT`;
//! `exited C CODE [oom]: MESSAGE`; `hook C postStart|preStop done|late|failed: TEXT`;
//! `probe C KIND good|bad|unknown: TEXT`; `delete [SECONDS]`; `evict REASON: TEXT`; `removed`;
//! `restart ended|over C…` (the runner comes again; `C…` still run).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "a test reads its files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use outrigger_pod_core::life::{
    Action, Deletion, Event, Exit, Found, HookKind, HookOutcome, ImageProblem, Instance, LinuxUser, Lost, Machine,
    Options, PodAddresses, PrepareProblem, ProbeKind, ProbeOutcome, Pulled, StartProblem, World,
};
use outrigger_pod_core::plan::{ContainerName, PodPlan};
use serde_json::{Value, json};

#[test]
fn every_life_is_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/life");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "only {} lives", files.len());
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let expected: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let lived = live(&expected);
        if update {
            fs::write(&file, format!("{}\n", serde_json::to_string_pretty(&lived).unwrap())).unwrap();
        } else if lived != expected {
            wrong.push(format!("{}:\n{}", file.display(), difference("", &expected, &lived)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file with what really happened.
fn live(file: &Value) -> Value {
    let pod: Pod = serde_json::from_value(file["manifest"].clone()).unwrap();
    let mut life = Life::new(PodPlan::new(pod, "3b1f0c5e-0000-4000-8000-000000000001").unwrap());
    let mut lived = file.clone();
    for step in lived["steps"].as_array_mut().unwrap() {
        let at = Duration::from_secs_f64(step["at"].as_f64().unwrap());
        life.now = START.checked_add(at).unwrap();
        life.happens(step["event"].as_str().unwrap());
        step["actions"] = json!(std::mem::take(&mut life.done));
        if step.get("status").is_some() {
            step["status"] = serde_json::to_value(life.machine.status()).unwrap();
        }
    }
    lived
}

const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

struct Life {
    machine: Machine,
    plan: Arc<PodPlan>,
    now: Timestamp,
    open: Vec<Action>,
    done: Vec<String>,
    attempts: BTreeMap<String, u32>,
    began: BTreeMap<String, Timestamp>,
}

impl Life {
    fn new(plan: PodPlan) -> Self {
        let plan = Arc::new(plan);
        Self {
            machine: Machine::new(plan.clone(), Options::default(), START),
            plan,
            now: START,
            open: Vec::new(),
            done: Vec::new(),
            attempts: BTreeMap::new(),
            began: BTreeMap::new(),
        }
    }

    fn happens(&mut self, text: &str) {
        let (head, tail) = text.split_once(": ").unwrap_or((text, ""));
        let words: Vec<&str> = head.split(' ').collect();
        match words.as_slice() {
            ["ticks"] => {
                let until = self.now;
                while let Some(wake) = self.machine.wake().filter(|wake| *wake <= until) {
                    self.now = wake;
                    self.step(Event::Tick);
                }
                self.now = until;
                self.step(Event::Tick);
            }
            ["settle"] => self.settle(),
            ["restart", lost, running @ ..] => self.restart(lost, running),
            words => {
                let event = self.event(words, tail.to_owned());
                self.step(event);
            }
        }
    }

    fn event(&self, words: &[&str], message: String) -> Event {
        let instance = |name: &str| self.instance(name);
        match *words {
            ["tick"] => Event::Tick,
            ["prepared"] => prepared(),
            ["prepare-failed", step] => {
                let problem = match step {
                    "claims" => PrepareProblem::Claims,
                    "sandbox" => PrepareProblem::Sandbox,
                    _ => PrepareProblem::Volumes,
                };
                Event::PrepareFailed { problem, message, fatal: None }
            }
            ["refused", reason] => {
                Event::PrepareFailed { problem: PrepareProblem::Claims, message, fatal: Some(reason.to_owned()) }
            }
            ["pulling", name] => Event::PullBegan { instance: instance(name) },
            ["ready", name] => ready(instance(name), None),
            ["pulled", name] => {
                ready(instance(name), Some(Pulled { took: Duration::from_millis(1500), bytes: 2_000_000 }))
            }
            ["image-failed", name, problem] => {
                let problem = match problem {
                    "pull" => ImageProblem::Pull,
                    "never" => ImageProblem::NeverPull,
                    "name" => ImageProblem::InvalidName,
                    _ => ImageProblem::Inspect,
                };
                Event::ImageFailed { instance: instance(name), problem, message }
            }
            ["started", name] => started(instance(name)),
            ["start-failed", name, problem] => {
                let problem = match problem {
                    "config" => StartProblem::Config,
                    "create" => StartProblem::Create,
                    _ => StartProblem::Exec,
                };
                let id = (problem == StartProblem::Exec).then(|| id(&instance(name)));
                Event::StartFailed { instance: instance(name), problem, message, id }
            }
            ["exited", name, code, ref more @ ..] => {
                let exit = Exit {
                    code: code.parse().unwrap(),
                    signal: None,
                    out_of_memory: more == ["oom"],
                    started_at: None,
                    finished_at: None,
                };
                Event::Exited { instance: instance(name), exit, message }
            }
            ["hook", name, hook, outcome] => {
                let hook = if hook == "postStart" { HookKind::PostStart } else { HookKind::PreStop };
                let outcome = match outcome {
                    "done" => HookOutcome::Done,
                    "late" => HookOutcome::TimedOut,
                    _ => HookOutcome::Failed(message),
                };
                Event::HookDone { instance: instance(name), hook, outcome }
            }
            ["probe", name, kind, outcome] => {
                let outcome = match outcome {
                    "good" => ProbeOutcome::Success,
                    "bad" => ProbeOutcome::Failure(message),
                    _ => ProbeOutcome::Unknown(message),
                };
                Event::Probed { instance: instance(name), kind: kind_of(kind), outcome }
            }
            ["delete"] => Event::Delete(Deletion { grace: None }),
            ["delete", seconds] => {
                Event::Delete(Deletion { grace: Some(Duration::from_secs(seconds.parse().unwrap())) })
            }
            ["evict", reason] => Event::Evict { reason: reason.to_owned(), message },
            ["removed"] => Event::Removed,
            _ => panic!("no event: {words:?}"),
        }
    }

    fn step(&mut self, event: Event) {
        if let Event::Started { instance, .. } = &event {
            self.began.insert(instance.container.0.clone(), self.now);
        }
        let actions = self.machine.step(self.now, event);
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        let at = Duration::try_from(self.now.duration_since(START)).unwrap().as_secs_f64();
        for action in actions {
            if let Action::Pull(instance) | Action::Start(instance) = &action {
                self.attempts.insert(instance.container.0.clone(), instance.attempt);
            }
            self.done.push(format!("{at} {}", line(&action)));
            self.open.push(action);
        }
    }

    fn settle(&mut self) {
        while !self.open.is_empty() {
            match self.open.remove(0) {
                Action::Prepare => self.step(prepared()),
                Action::Pull(instance) => self.step(ready(instance, None)),
                Action::Start(instance) => self.step(started(instance)),
                Action::Remove => self.step(Event::Removed),
                Action::Hook { .. } | Action::Probe { .. } | Action::Stop { .. } | Action::Note(_) => (),
            }
        }
    }

    fn restart(&mut self, lost: &str, running: &[&str]) {
        let found = |name: &&str| {
            let instance = self.instance(name);
            Found { id: id(&instance), instance, started_at: self.began[*name], exit: None }
        };
        let found: Vec<Found> = running.iter().map(found).collect();
        let lost = if lost == "over" { Lost::PodOver } else { Lost::Ended };
        let (record, world) = (self.machine.record(), World { found: &found, lost });
        let (machine, actions) =
            Machine::restore(self.plan.clone(), Options::default(), &record, world, self.now).unwrap();
        self.machine = machine;
        self.open.clear();
        self.take(actions);
    }

    fn instance(&self, name: &str) -> Instance {
        Instance { container: ContainerName(name.to_owned()), attempt: self.attempts[name] }
    }
}

fn prepared() -> Event {
    Event::Prepared(PodAddresses { pod: vec!["10.1.2.3".parse().unwrap()], host: vec!["192.0.2.1".parse().unwrap()] })
}

fn ready(instance: Instance, pulled: Option<Pulled>) -> Event {
    Event::ImageReady { instance, image_id: "sha256:1234".to_owned(), pulled }
}

fn started(instance: Instance) -> Event {
    // As in the example of "Configure a Security Context for a Pod or Container".
    let user = LinuxUser { uid: 1000, gid: 3000, groups: vec![3000, 4000, 50000] };
    Event::Started { id: id(&instance), instance, user: Some(user) }
}

fn id(instance: &Instance) -> String {
    format!("host://{}-{}", instance.container, instance.attempt)
}

fn kind_of(kind: &str) -> ProbeKind {
    match kind {
        "startup" => ProbeKind::Startup,
        "readiness" => ProbeKind::Readiness,
        _ => ProbeKind::Liveness,
    }
}

fn line(action: &Action) -> String {
    let name = |instance: &Instance| format!("{}/{}", instance.container, instance.attempt);
    match action {
        Action::Prepare => "prepare".to_owned(),
        Action::Pull(instance) => format!("pull {}", name(instance)),
        Action::Start(instance) => format!("start {}", name(instance)),
        Action::Hook { instance, hook, limit: None } => format!("hook {} {hook:?}", name(instance)),
        Action::Hook { instance, hook, limit: Some(limit) } => {
            format!("hook {} {hook:?}, {} s at most", name(instance), limit.as_secs_f64())
        }
        Action::Probe { instance, kind } => format!("probe {} {kind:?}", name(instance)),
        Action::Stop { instance, signal, grace } => {
            format!("stop {} {signal}, {} s", name(instance), grace.as_secs_f64())
        }
        Action::Remove => "remove".to_owned(),
        Action::Note(note) => {
            let kind = if note.warning { "Warning" } else { "Normal" };
            let about = note.container.as_ref().map_or("pod", |name| name.0.as_str());
            format!("{kind} {} {about}: {}", note.reason, note.message)
        }
    }
}

/// Every place where two values differ.
fn difference(path: &str, expected: &Value, lived: &Value) -> String {
    match (expected, lived) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let each = keys.into_iter().map(|key| difference(&format!("{path}.{key}"), &expected[key], &lived[key]));
            each.collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let each = a.iter().zip(b).enumerate().map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b));
            each.collect()
        }
        (a, b) if a == b => String::new(),
        (a, b) => format!("  {path}: expected {a}, lived {b}\n"),
    }
}
