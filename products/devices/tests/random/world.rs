//! One run: its steps one after another, each followed by what must be so then.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use outrigger_device_core::decide::Claims;
use outrigger_device_core::refuse::{When, refuse};
use outrigger_device_core::unit::Unit;
use outrigger_host::{Attempt, LockHolder};
use outrigger_stub_kubelet::{AdmissionError, Admitted, ContainerRequest, PodRequest};
use tokio::time::Instant;

use super::checks::{self, Meanings, SETTLED, SETTLED_UNNAMED};
use super::machine::{BAYS, SLOTS, THINGS};
use super::node::{Held, KIND, Node, Pod, Run};
use super::steps::{RESOURCES, Script, Step, Whom};
use super::time::{called, pass, ticks};

/// How many agents overlap at most.
const AGENTS: usize = 2;

/// How long a wait is that is no settling.
const MOMENT: Duration = Duration::from_millis(30);

/// For how long an agent that starts may be asking the kubelet.
const START: u32 = 40;

/// A run and what has been learned in it.
struct World {
    node: Node,
    meanings: Meanings,
    has_twins: bool,
    /// Slots in which something came or went since all had settled.
    restless: BTreeSet<usize>,
    /// Whether nothing was done at the machine since then, nor beside the kubelet.
    is_quiet: bool,
    /// Whether nothing at all but pods came and went since then.
    is_calm: bool,
    /// Whether a pod may have been given something that the kubelet never names.
    has_unnamed: bool,
    /// Pods that a killed kubelet had asked for, which the next one lists without any device.
    unanswered: Vec<String>,
    /// Whether an agent was started without a kubelet since all had settled.
    is_blind: bool,
    /// How many things came or went since an agent was started.
    falls: usize,
    /// How many pods and agents were started so far.
    pods: usize,
    starts: usize,
    /// Whether every step is printed.
    prints: bool,
}

/// Lives through a run; what is wrong, with the steps so far.
pub async fn live(script: &Script, prints: bool) -> Result<(), String> {
    let node = Node::new(script).await;
    let (meanings, restless) = Default::default();
    let mut world = World {
        node,
        meanings,
        has_twins: script.has_twins,
        restless,
        is_quiet: false,
        is_calm: false,
        has_unnamed: false,
        unanswered: Vec::new(),
        is_blind: false,
        falls: 0,
        pods: 0,
        starts: 0,
        prints,
    };
    for (number, step) in script.steps.iter().enumerate() {
        let came = world.step(*step).await.map_err(|broken| format!("at step {number}, {step}: {broken}"))?;
        world.print(number, *step, &came);
    }
    Ok(())
}

impl World {
    #[allow(clippy::print_stderr, reason = "what is replayed is shown")]
    fn print(&self, number: usize, step: Step, came: &str) {
        if self.prints {
            eprintln!("{number:3} {step}{}{came}", if came.is_empty() { "" } else { ": " });
        }
    }

    /// One step, and what came of it in words.
    async fn step(&mut self, step: Step) -> Result<String, String> {
        let is_pods = matches!(step, Step::Admit { .. } | Step::Release { .. } | Step::Restart { .. });
        self.is_calm &= is_pods;
        let is_processes =
            matches!(step, Step::RestartKubelet | Step::StartAgent | Step::StopAgent { .. } | Step::KillAgent { .. });
        self.is_quiet &= is_pods || is_processes || matches!(step, Step::Moment | Step::Settle);
        match step {
            Step::Plug { .. } | Step::Unplug { .. } | Step::Employ { .. } | Step::Leave { .. } => self.touch(step),
            Step::Admit { resource, count } => return self.admit(resource, count, None).await,
            Step::AdmitAndKill { resource, ticks, whom } => return self.admit(resource, 1, Some((ticks, whom))).await,
            Step::Release { pod } => return Ok(self.release(pod)),
            Step::Restart { pod } => return self.restart(pod).await,
            Step::Run { resource } => return self.run(RESOURCES[resource]),
            Step::EndRun { run } => {
                if !self.node.runs.is_empty() {
                    let run = run % self.node.runs.len();
                    self.node.runs.remove(run);
                }
            }
            Step::StartAgent | Step::StopAgent { .. } | Step::KillAgent { .. } => self.agent(step).await?,
            Step::RestartKubelet
            | Step::KillKubelet
            | Step::StartKubelet
            | Step::ReplaceSocket
            | Step::CloseStreams { .. } => self.kubelet(step).await,
            Step::Reload { configuration } => {
                self.restless.extend(0..SLOTS);
                self.node.configure(configuration);
            }
            Step::ReloadWrong => {
                // Whatever was written before has been read.
                self.pass(MOMENT).await?;
                self.node.write_configuration("devices: [{name: 3, groups: [{block: 1}]}]");
            }
            Step::Recover => {
                if !self.node.has_kubelet() {
                    self.kubelet(Step::StartKubelet).await;
                }
                if self.node.agents.is_empty() {
                    self.agent(Step::StartAgent).await?;
                }
            }
            Step::Moment => self.pass(MOMENT).await?,
            Step::Settle => self.settle().await?,
        }
        Ok(String::new())
    }

    /// Something is done at the machine; no time passes.
    fn touch(&mut self, step: Step) {
        let machine = &mut self.node.machine;
        match step {
            Step::Plug { slot, thing } => {
                for slot in machine.slot_of(thing).into_iter().chain([slot]) {
                    machine.unplug(slot);
                    self.restless.insert(slot);
                    self.falls += 1;
                }
                machine.plug(slot, thing);
            }
            Step::Unplug { slot } => {
                machine.unplug(slot);
                self.restless.insert(slot);
                self.falls += 1;
            }
            Step::Employ { slot, how } => {
                machine.leave(slot);
                machine.employ(slot, how);
            }
            Step::Leave { slot } => machine.leave(slot),
            _ => (),
        }
    }

    async fn agent(&mut self, step: Step) -> Result<(), String> {
        let count = self.node.agents.len();
        match step {
            Step::StartAgent if count < AGENTS => {
                self.node.start_agent();
                (self.falls, self.starts) = (0, self.starts + 1);
                self.is_blind |= !self.node.has_kubelet();
                ticks(START).await;
            }
            Step::StopAgent { agent } if count > 0 => {
                let agent = self.node.agents.remove(agent % count);
                called(agent.stop()).await.ok_or("the agent does not end")??;
            }
            Step::KillAgent { agent } if count > 0 => self.node.kill_agent(agent % count).await,
            _ => (),
        }
        Ok(())
    }

    async fn kubelet(&mut self, step: Step) {
        let kubelet = &mut self.node.kubelet;
        match step {
            Step::RestartKubelet => kubelet.restart().await.unwrap(),
            Step::KillKubelet => kubelet.kill().await,
            Step::StartKubelet if !kubelet.view().running => kubelet.start().await.unwrap(),
            Step::ReplaceSocket if kubelet.view().running => kubelet.replace_socket().await.unwrap(),
            Step::CloseStreams { resource } => kubelet.close_streams(RESOURCES[resource]),
            _ => (),
        }
    }

    /// A pod asks for devices; perhaps somebody is killed meanwhile.
    async fn admit(&mut self, resource: usize, count: usize, kill: Option<(usize, Whom)>) -> Result<String, String> {
        self.pods += 1;
        let (resource, name) = (RESOURCES[resource], format!("pod-{}", self.pods));
        let container = ContainerRequest {
            name: "app".to_owned(),
            limits: [(resource.to_owned(), count)].into(),
            ..ContainerRequest::default()
        };
        let (uid, namespace) = (name.clone(), "default".to_owned());
        let request = PodRequest { uid, name: name.clone(), namespace, containers: vec![container] };
        let mut admitted = None;
        self.has_unnamed |= kill.is_some();
        {
            let mut call = pin!(self.node.kubelet.admit(&request));
            if let Some((patience, _)) = kill {
                tokio::select! {
                    biased;
                    answer = &mut call => admitted = Some(answer),
                    () = ticks(u32::try_from(patience).unwrap_or(0)) => (),
                }
            }
            let is_kubelets_end = matches!(kill, Some((_, Whom::Kubelet)));
            if kill.is_some() && !is_kubelets_end {
                drop(self.node.agents.pop());
            }
            if admitted.is_none() && !is_kubelets_end {
                admitted = Some(called(call).await.ok_or("the admission does not end")?);
            }
        }
        if let Some((_, Whom::Kubelet)) = kill {
            self.node.kubelet.restart().await.unwrap();
        }
        match admitted {
            None => {
                self.unanswered.push(name);
                Ok("the kubelet was killed before the answer".to_owned())
            }
            Some(Err(error)) if self.is_quiet && error.to_string().contains("cannot be given") => {
                Err(format!("refused, though nothing has happened: {error}"))
            }
            Some(Err(error @ (AdmissionError::Plugin { .. } | AdmissionError::Unregistered(_))))
                if self.is_calm && self.node.kubelet.view().allocatable(resource) > 0 =>
            {
                Err(format!("refused, though all was well: {error}"))
            }
            Some(Err(error)) => Ok(error.to_string()),
            Some(Ok(mut admitted)) => self.admitted(name, resource, &admitted.remove("app").unwrap_or_default()),
        }
    }

    /// Looks at what a pod got.
    fn admitted(&mut self, name: String, resource: &'static str, admitted: &Admitted) -> Result<String, String> {
        let (starts, since) = (self.starts, Instant::now());
        let mut pod = Pod { name, resource, starts, since, may_be_stale: false, held: Vec::new() };
        for (ids, answer) in admitted.values() {
            for id in ids {
                let variable = format!("OUTRIGGER_DEVICE_{}_PATH", id.to_uppercase().replace('-', "_"));
                let path = answer.envs.get(&variable).ok_or(format!("nothing was given for {id}: {answer:?}"))?;
                let device = answer.devices.iter().find(|device| device.container_path == *path);
                let node = device.map(|device| device.host_path.clone()).ok_or(format!("{path} was not given"))?;
                let slot = self.node.machine.slot_at(&node).ok_or(format!("{node} was given, and is not there"))?;
                let (thing, plug) = self.node.machine.slots[slot].as_ref().map_or((0, 0), |it| (it.thing, it.plug));
                let held = Held { id: id.clone(), node, thing, slot, plug };
                self.meanings.learn(&held)?;
                pod.may_be_stale |= self.restless.contains(&slot) && (slot >= BAYS || self.node.agents.len() > 1);
                pod.held.push(held);
            }
            let nodes: BTreeSet<&str> = answer.devices.iter().map(|device| device.host_path.as_str()).collect();
            if let Some(more) = nodes.into_iter().find(|node| !pod.held.iter().any(|held| held.node == **node)) {
                return Err(format!("{more} was given beside {}", told(&pod.held)));
            }
        }
        let told = format!("{} has {}", pod.name, told(&pod.held));
        self.node.pods.push(pod);
        let pod = self.node.pods.last().into_iter();
        pod.flat_map(|pod| &pod.held).try_for_each(|held| checks::may_be_given(&self.node, held, resource))?;
        Ok(told)
    }

    /// A pod that ends before the kubelet was asked about it is never named.
    fn release(&mut self, pod: usize) -> String {
        if self.node.pods.is_empty() || !self.node.has_kubelet() {
            return String::new();
        }
        let pod = self.node.pods.remove(pod % self.node.pods.len());
        self.node.kubelet.remove_pod(&pod.name);
        self.has_unnamed |= pod.since.elapsed() < checks::NAMED;
        format!("{} gives back {}", pod.name, told(&pod.held))
    }

    /// A container that starts again gets the cached answer: it must still mean the same.
    async fn restart(&mut self, pod: usize) -> Result<String, String> {
        let node = &self.node;
        let Some(pod) = (!node.pods.is_empty()).then(|| &node.pods[pod % node.pods.len()]) else {
            return Ok(String::new());
        };
        let is_asked = !node.kubelet.sockets(pod.resource).is_empty() && pod.held.iter().all(|held| held.slot < BAYS);
        let started = called(node.kubelet.start_container(&pod.name, "app")).await.ok_or("the start does not end")?;
        match started {
            Err(AdmissionError::NotAdmitted { .. }) => Err(format!("{} is not known any more", pod.name)),
            Err(error) => Ok(error.to_string()),
            Ok(_) if !is_asked => Ok(String::new()),
            Ok(_) => {
                // An agent that has started since then never saw what was there when it was given.
                let may_know = |held: &&Held| !THINGS[held.thing].is_nameless() || pod.starts == self.starts;
                for held in pod.held.iter().filter(|held| !THINGS[held.thing].is_twin).filter(may_know) {
                    let there = node.machine.slots[held.slot].as_ref().map(|plugged| THINGS[plugged.thing].name);
                    let given = THINGS[held.thing].name;
                    if there != Some(given) {
                        return Err(format!(
                            "{} starts again with {} for {given}",
                            pod.name,
                            there.unwrap_or("nothing")
                        ));
                    }
                }
                Ok(format!("{} starts with {}", pod.name, told(&pod.held)))
            }
        }
    }

    /// What `outrigger run` does: look, decide, lock what the kubelet's pods have not, look again.
    fn run(&mut self, resource: &'static str) -> Result<String, String> {
        if !self.node.has_kubelet() {
            // Then nobody tells whether a pod has it.
            return Ok(String::new());
        }
        let inventory = self.node.inventory();
        let mut holders = Claims { held: self.node.holders(), ..Claims::default() };
        let is_had = |holder: &LockHolder| {
            holders
                .held
                .keys()
                .any(|(resource, id)| [resource, id].iter().all(|it| holder.text.contains(&format!("\"{it}\""))))
        };
        let left = self.node.locks().left(KIND, |_| false).into_iter().filter(|(_, holder)| is_had(holder));
        let left: Vec<_> = left.map(|(name, _)| (name, "an agent before".to_owned())).collect();
        holders.elsewhere.extend(left);
        let (_, decision) = inventory.decide_once(&holders);
        let lists = decision.lists.iter().filter(|list| &*list.resource == resource);
        for listed in lists.flat_map(|list| list.listed.iter()).filter(|listed| listed.is_healthy()) {
            let unit: &Unit = &listed.unit;
            if holders.held.contains_key(&(resource.to_owned(), unit.id.to_string())) {
                continue;
            }
            let locks = self.node.locks();
            let attempt = |name: &str| {
                let attempt = if unit.shares(name) {
                    locks.try_share(KIND, name, "a run")
                } else {
                    locks.try_lock(KIND, name, "a run")
                };
                attempt.unwrap()
            };
            let attempts = unit.locks().map(|name| (name.clone(), attempt(&name)));
            let taken = attempts.filter_map(|(name, attempt)| match attempt {
                Attempt::Locked(lock) => Some((name, lock)),
                Attempt::Held(_) => None,
            });
            let taken: std::collections::BTreeMap<_, _> = taken.collect();
            let fresh = inventory.survey.fresh(unit, &inventory.rules);
            if taken.len() < unit.locks().count() || !refuse(&inventory.rules, unit, &fresh, When::Allocate).is_empty()
            {
                continue;
            }
            let node = unit.body.parts.iter().find_map(|part| part.give.host_path()).unwrap_or_default().to_owned();
            let slot = self.node.machine.slot_at(&node).ok_or(format!("{node} was given, and is not there"))?;
            let (thing, plug) = self.node.machine.slots[slot].as_ref().map_or((0, 0), |it| (it.thing, it.plug));
            let held = Held { id: unit.id.to_string(), node, thing, slot, plug };
            self.meanings.learn(&held)?;
            let told = told(std::slice::from_ref(&held));
            let (shared, locks) = taken.into_iter().partition(|(name, _)| unit.shares(name));
            self.node.runs.push(Run { held: held.clone(), locks, shared });
            checks::may_be_given(&self.node, &held, resource)?;
            return Ok(format!("a run has {told}"));
        }
        Ok("nothing is free".to_owned())
    }

    /// Lets time pass, and looks at every list that the kubelet reads.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let node = &self.node;
        let is_steady = |pod: &Pod, held: &Held| {
            let there = node.machine.slots[held.slot].as_ref();
            !self.restless.contains(&held.slot)
                && !THINGS[held.thing].is_twin
                && there.is_some_and(|plugged| (plugged.thing, &plugged.node) == (held.thing, &held.node))
                && node.gives(held.slot, pod.resource)
                // What no unit has the id of any more, because the count is another one, an agent that has started since then
                // cannot know: neither the kubelet nor a lock tells what the id was made of.
                && (node.makes(&held.id, pod.resource) || pod.starts == self.starts)
        };
        let steady = node.pods.iter().flat_map(|pod| pod.held.iter().filter(|held| is_steady(pod, held)));
        let steady: BTreeSet<String> = steady.map(|held| held.id.clone()).collect();
        let (begun, mut views) = (Instant::now(), node.kubelet.views());
        views.mark_changed();
        pass(time, || {
            if !views.has_changed().unwrap_or(false) {
                return Ok(());
            }
            let listed = checks::are_listed(&views.borrow_and_update(), &node.pods, &steady);
            // An agent that was started without a kubelet asks who has what when that comes, and is asked for a list then.
            if self.is_blind && listed.is_err() && begun.elapsed() < checks::UNASKED {
                return Ok(());
            }
            listed
        })
        .await?;
        self.node.is_new = false;
        Ok(())
    }

    /// Whether everything is as it must be when nothing has happened for long.
    fn has_settled(&self) -> Result<(), String> {
        if !self.node.has_kubelet() || self.node.agents.is_empty() {
            return Ok(());
        }
        if !self.has_twins {
            checks::lists_are_as_decided(&self.node, self.falls)?;
        }
        checks::locks_are_as_claimed(&self.node)
    }

    async fn settle(&mut self) -> Result<(), String> {
        self.pass(if self.has_unnamed { SETTLED_UNNAMED } else { SETTLED }).await?;
        if let Err(broken) = self.has_settled() {
            if !self.has_unnamed {
                return Err(broken);
            }
            // What nobody names, a pod that came at the same time may have in an init container.
            let pods = std::mem::take(&mut self.node.pods).into_iter().map(|pod| pod.name);
            for pod in pods.chain(std::mem::take(&mut self.unanswered)) {
                self.node.kubelet.remove_pod(&pod);
            }
            self.pass(SETTLED_UNNAMED).await?;
            self.has_settled()?;
        }
        self.has_unnamed &= !(self.node.pods.is_empty() && self.unanswered.is_empty());
        self.restless.clear();
        self.is_calm = self.node.has_kubelet() && !self.node.agents.is_empty();
        (self.is_quiet, self.is_blind) = (true, false);
        Ok(())
    }
}

fn told(held: &[Held]) -> String {
    let one = |held: &Held| format!("{} ({} at {})", held.id, THINGS[held.thing].name, held.node);
    held.iter().map(one).collect::<Vec<_>>().join(", ")
}
