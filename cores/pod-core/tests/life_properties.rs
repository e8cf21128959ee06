//! Whatever the order of events, the machine keeps its promises.
//!
//! Random pods (init containers, sidecars, main containers, policies, rules, probes, hooks, deadlines) live through
//! random orders of answers, failures, exits, deletions, evictions, lost answers and restarts of the runner. The
//! promises are written where they are checked, in `common/world.rs`.
//!
//! Tried once: with the rule taken out of `life/stop.rs` (`shorten`) that a container which was told already is told again
//! when a later deletion leaves it less time, every property here failed within 500 lives ("something runs after the
//! grace"); the smallest life found was a container that had been told with 13 s, then a deletion with the shorter grace of
//! the pod. With init containers passing whatever their exit code, all failed within 12 lives.
#![allow(clippy::disallowed_methods, reason = "a test reads whether it is to soak")]

mod common;

use common::random_pod::{Choices, random_pod};
use common::world::World;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::{Config, TestCaseError};

fn live(pod: &[u64], moves: &[u64]) -> Result<(), TestCaseError> {
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let (plan, moves) = (random_pod(&mut Choices::new(&bytes(pod))), bytes(moves));
    let scale = if pod.len().is_multiple_of(2) { 1.0 } else { 0.01 };
    let mut world = World::new(plan, scale);
    world
        .live(&mut Choices::new(&moves))
        .map_err(|broken| TestCaseError::fail(format!("{broken}; what happened:\n{}", world.trace())))
}

/// Four times 25,000 orders, so that two cores share them; when soaking, as many each as `PROPTEST_CASES` says.
fn config() -> Config {
    let given = Config::default();
    let cases = if std::env::var_os("OUTRIGGER_SOAK").is_some() { given.cases.max(100_000) } else { 25_000 };
    Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..given }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn promises_hold_for_short_lives(pod in vec(any::<u64>(), 0..6), moves in vec(any::<u64>(), 0..8)) {
        live(&pod, &moves)?;
    }

    #[test]
    fn promises_hold_for_small_pods(pod in vec(any::<u64>(), 0..3), moves in vec(any::<u64>(), 0..16)) {
        live(&pod, &moves)?;
    }

    #[test]
    fn promises_hold_for_large_pods(pod in vec(any::<u64>(), 6..12), moves in vec(any::<u64>(), 0..16)) {
        live(&pod, &moves)?;
    }

    #[test]
    fn promises_hold_for_long_lives(pod in vec(any::<u64>(), 2..8), moves in vec(any::<u64>(), 16..25)) {
        live(&pod, &moves)?;
    }
}
