//! What can happen, as values: a run is a list of them, made from a seed, and a shorter list is a run too.

use std::fmt;

use super::machine::{SLOTS, THINGS, TWINS, USES, Use};

/// The resources that configurations have.
pub const RESOURCES: [&str; 3] = ["example.com/disk", "example.com/big", "example.com/radio"];

/// How many configurations there are.
pub const CONFIGURATIONS: usize = 5;

/// One thing that happens. A number that chooses among what is there is taken modulo its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A thing is plugged into a slot; what is in it is pulled in the same moment: a swap.
    Plug { slot: usize, thing: usize },
    /// What is in a slot is pulled.
    Unplug { slot: usize },
    /// Somebody uses a disk.
    Employ { slot: usize, how: Use },
    /// And no longer.
    Leave { slot: usize },
    /// A pod is admitted.
    Admit { resource: usize, count: usize },
    /// A pod is admitted, and the kubelet or the newest agent is killed after so many milliseconds.
    AdmitAndKill { resource: usize, ticks: usize, whom: Whom },
    /// A pod ends.
    Release { pod: usize },
    /// A pod's container starts again.
    Restart { pod: usize },
    /// `outrigger run` takes a device.
    Run { resource: usize },
    /// And gives it back.
    EndRun { run: usize },
    /// The kubelet is killed and started again.
    RestartKubelet,
    /// The kubelet is killed.
    KillKubelet,
    /// The kubelet starts.
    StartKubelet,
    /// It serves a new socket, and its streams stay.
    ReplaceSocket,
    /// It loses its streams.
    CloseStreams { resource: usize },
    /// An agent starts, perhaps beside another one.
    StartAgent,
    /// An agent ends in order.
    StopAgent { agent: usize },
    /// An agent is killed.
    KillAgent { agent: usize },
    /// Another configuration.
    Reload { configuration: usize },
    /// A configuration that is none.
    ReloadWrong,
    /// What does not run is started: a kubelet, an agent.
    Recover,
    /// Some milliseconds pass.
    Moment,
    /// So much time passes that everything must be as it should be.
    Settle,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The kubelet.
    Kubelet,
    /// The newest agent.
    Agent,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plug { slot, thing } => {
                write!(f, "Plug {{ slot: {slot}, thing: {thing} }} ({})", THINGS[*thing].name)
            }
            step => write!(f, "{step:?}"),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Script {
    /// What decides the order of ids where a kubelet's is by chance.
    pub seed: u64,
    /// Whether the kubelet has the overlap bug.
    pub overlap_bug: bool,
    /// Whether things may be plugged that tell the same.
    pub has_twins: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Script {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let overlap_bug = chance.below(2) == 0;
        let has_twins = chance.below(4) == 0;
        let mut steps: Vec<Step> = (0..4).map(|_| plug(&mut chance, has_twins)).collect();
        steps.extend([Step::StartAgent, Step::Settle]);
        let length = 6 + chance.below(16);
        steps.extend((0..length).map(|_| step(&mut chance, has_twins)));
        steps.extend([Step::Recover, Step::Settle]);
        Self { seed, overlap_bug, has_twins, steps }
    }
}

/// Numbers that look like chance: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = (mixed ^ (mixed >> 31)) >> 8;
        usize::try_from(mixed).unwrap_or(0) % bound
    }
}

fn plug(chance: &mut Chance, has_twins: bool) -> Step {
    let slot = chance.below(SLOTS);
    let things = if has_twins { THINGS.len() } else { TWINS };
    loop {
        let thing = chance.below(things);
        if THINGS[thing].fits(slot) {
            return Step::Plug { slot, thing };
        }
    }
}

fn step(chance: &mut Chance, has_twins: bool) -> Step {
    let resource = [0, 0, 0, 1, 2, 2][chance.below(6)];
    let any = chance.below(64);
    match chance.below(100) {
        0..12 => plug(chance, has_twins),
        12..17 => Step::Unplug { slot: any % SLOTS },
        17..23 => Step::Employ { slot: any % 4, how: USES[chance.below(USES.len())] },
        23..27 => Step::Leave { slot: any % 4 },
        27..45 => Step::Admit { resource, count: 1 + any % 5 / 4 },
        45..49 => {
            let whom = if any.is_multiple_of(2) { Whom::Kubelet } else { Whom::Agent };
            Step::AdmitAndKill { resource, ticks: chance.below(16), whom }
        }
        49..56 => Step::Release { pod: any },
        56..60 => Step::Restart { pod: any },
        60..64 => Step::Run { resource },
        64..67 => Step::EndRun { run: any },
        67..71 => Step::RestartKubelet,
        71..72 => Step::KillKubelet,
        72..74 => Step::StartKubelet,
        74..75 => Step::ReplaceSocket,
        75..76 => Step::CloseStreams { resource },
        76..81 => Step::StartAgent,
        81..84 => Step::StopAgent { agent: any },
        84..87 => Step::KillAgent { agent: any },
        87..91 => Step::Reload { configuration: any % CONFIGURATIONS },
        91..92 => Step::ReloadWrong,
        92..97 => Step::Moment,
        _ => Step::Settle,
    }
}
