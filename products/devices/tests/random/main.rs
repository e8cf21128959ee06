//! Whatever happens to a node, each device has its holder and no other.
//!
//! Random machines, agents, kubelets and pods live through random orders of plugging, pulling, swapping, mounting, admission,
//! release, restarts and kills of either side, overlapping agents, reloads, and pods of `outrigger run` beside all that. It is
//! the whole agent over a stub kubelet that speaks the real protocol; only the machine is files, and only the clock is not
//! real. What must be so is in `checks`.
//!
//! A failure prints its seed and the shortest list of steps that was found to fail. `OUTRIGGER_SEED=n` lives through one seed
//! and prints what happens; `OUTRIGGER_SOAK=1` lives through 10,000. Without it there are 500, or as many as a minute has
//! room for, which it says. Where `tokio::select!` has several ready branches it takes one by chance, so that a replay may
//! have to be repeated.
//!
//! Each of these was tried, and found within 30 seeds:
//! - `agent/give.rs` gives the first units of the list, not those of the ids, as simple-device-plugin did: "nothing was given
//!   for ere7c6tnoe-1" (seed 4);
//! - `agent/give.rs` leaves out what `refuse` says of another device at the same name: "pod-1 starts again with disk c for
//!   disk d" (seed 4);
//! - `agent/ledger.rs` does not claim what the kubelet names to an agent that has started again: "claimed and not locked"
//!   (seed 25);
//! - `agent/give.rs` does not look at use, as if a container only started again: "given although it is `MountedElsewhere`"
//!   (seed 4);
//! - `agent/ledger.rs` takes a lock that another door has for one that it will get: "has 2 claims" (seed 15);
//! - ids of disks are made of their place: "disk b was given for ihbhcrnixj, which is vleotptlbq" (seed 11).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::disallowed_methods, reason = "a test reads whether it is to soak")]
#![allow(clippy::print_stderr, reason = "a test tells how much it did")]

mod checks;
mod found;
mod machine;
mod node;
mod steps;
mod time;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use steps::Script;

/// Runs on CI.
const RUNS: u64 = 500;

/// How long they may take there, all together.
const LIMIT: Duration = Duration::from_secs(55);

/// Runs when soaking, however long they take.
const SOAK: u64 = 10_000;

/// How long is spent on making a failure shorter.
const SHRINKING: Duration = Duration::from_secs(30);

#[test]
fn whatever_happens_each_device_has_its_holder_and_no_other() {
    if let Some(seed) = std::env::var("OUTRIGGER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        if let Err(broken) = lived(&Script::of(seed), true) {
            panic!("{}", told(seed, broken));
        }
        return;
    }
    let (runs, limit) = match std::env::var_os("OUTRIGGER_SOAK") {
        Some(_) => (SOAK, Duration::MAX),
        None => (RUNS, LIMIT),
    };
    let (begun, lived_through, next, failed) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
    let live_on = || {
        while failed.lock().unwrap().is_none() && begun.elapsed() < limit {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= runs {
                return;
            }
            if let Err(broken) = lived(&Script::of(seed), false) {
                failed.lock().unwrap().get_or_insert((seed, broken));
            }
            lived_through.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|threads| {
        // Half of them wait for their clerks.
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(live_on);
        }
    });
    if let Some((seed, broken)) = failed.into_inner().unwrap() {
        panic!("{}", told(seed, broken));
    }
    eprintln!("{} of {runs} runs in {:.1?}", lived_through.into_inner(), begun.elapsed());
}

/// Lives through a script on a runtime of its own.
fn lived(script: &Script, prints: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world::live(script, prints))));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panicked: {}", text.as_deref().or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// A failure in words, with its steps as few as they can be made.
fn told(seed: u64, broken: String) -> String {
    let (mut script, mut broken, begun) = (Script::of(seed), broken, Instant::now());
    let mut at = script.steps.len();
    while at > 0 && begun.elapsed() < SHRINKING {
        at -= 1;
        let mut shorter = script.clone();
        shorter.steps.remove(at);
        if let Err(still) = lived(&shorter, false) {
            (script, broken) = (shorter, still);
            at = at.min(script.steps.len());
            if at == 0 && script.steps.len() > 1 {
                at = script.steps.len();
            }
        }
    }
    let steps: String = script.steps.iter().enumerate().map(|(number, step)| format!("{number:3} {step}\n")).collect();
    let Script { overlap_bug, .. } = script;
    format!(
        "seed {seed} (OUTRIGGER_SEED={seed}), overlap bug {overlap_bug}: {broken}\nThe shortest steps found:\n{steps}"
    )
}
