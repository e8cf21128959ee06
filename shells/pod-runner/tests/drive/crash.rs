//! A runner that dies anywhere: the next one goes on, or a command clears up after it.

use std::sync::Arc;
use std::task::Poll;

use outrigger_fake_provider::Seats;
use outrigger_pod_core::plan::{PodPlan, RestartPolicy};
use outrigger_pod_directory::{Ending, Kind};
use outrigger_pod_runner::drive::Runner;
use outrigger_pod_runner::recover::recover;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, container, init, pod};

/// When a runner is dropped, as a kill would end it.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// Its intents are on disk, and nothing is done yet.
    BeforeTheActs(usize),
    /// The acts are done, and it has not heard of it yet.
    BeforeTheAnswers(usize),
}

/// Runs until its death; answers whether it had ended before.
async fn run_until(runner: Runner, death: Death) -> bool {
    let mut run = Box::pin(runner.run(CancellationToken::new()));
    let mut polls = 0;
    std::future::poll_fn(move |context| {
        if matches!(death, Death::BeforeTheActs(0)) {
            return Poll::Ready(false);
        }
        polls += 1;
        if matches!(death, Death::BeforeTheAnswers(at) if polls > at) {
            return Poll::Ready(false);
        }
        match run.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome.map(|_| true).unwrap()),
            Poll::Pending if matches!(death, Death::BeforeTheActs(at) if polls == at) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn plan() -> PodPlan {
    let containers = vec![
        init("first", &["sleep:1"]),
        container("left", &["print:a", "sleep:3"]),
        container("right", &["sleep:2", "print:b"]),
    ];
    PodPlan { restart_policy: RestartPolicy::OnFailure, ..pod(containers) }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_runner_dies_between_any_two_steps_is_continued() {
    for death in [Death::BeforeTheActs as fn(usize) -> Death, Death::BeforeTheAnswers] {
        let mut step = 1;
        while !dies_and_is_continued(death(step)).await {
            step += 1;
        }
        assert!(step > 8, "the life had only {step} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_runner_died_is_brought_to_its_end_with_the_truth() {
    for death in [Death::BeforeTheActs as fn(usize) -> Death, Death::BeforeTheAnswers] {
        let mut step = 0;
        while !dies_and_is_recovered(death(step)).await {
            step += 1;
        }
        assert!(step > 8, "the life had only {step} steps");
    }
}

/// Answers whether the runner had ended before its death.
async fn dies_and_is_recovered(death: Death) -> bool {
    let seats = Seats::new(1);
    let bench = Bench { providers: vec![Arc::new(seats.clone())], ..Bench::new() };
    let runner = bench.new_runner(plan());
    let directory = bench.state().list(Kind::Pod).unwrap().pop().unwrap();
    let now = bench.clock.now();
    let launcher = bench.engine.launcher();
    assert!(!recover(&directory, &*launcher, &bench.providers, now).await.unwrap(), "its runner lives");
    if run_until(runner, death).await {
        assert!(!recover(&directory, &*launcher, &bench.providers, now).await.unwrap(), "it has ended well");
        return true;
    }
    if let Some(end) = directory.status().unwrap().and_then(|file| file.end) {
        assert_eq!(end.why, Ending::Finished, "it died after it had written down the end");
        return true;
    }
    let secret = directory.secrets().join("token");
    std::fs::create_dir_all(&secret).unwrap();

    assert!(directory.is_abandoned().unwrap());
    assert!(recover(&directory, &*launcher, &bench.providers, now).await.unwrap());
    assert!(!directory.is_abandoned().unwrap());
    assert!(bench.engine.is_empty() && !secret.exists(), "{death:?}");
    assert_eq!(seats.cleared(), [plan().uid], "{death:?}");
    let file = directory.status().unwrap().unwrap();
    assert_eq!(file.end.unwrap().why, Ending::RunnerDied, "{death:?}");
    assert!(matches!(file.status.phase.as_deref(), Some("Failed" | "Succeeded")), "{death:?}: {:?}", file.status);
    let still =
        file.status.container_statuses.iter().flatten().filter_map(|status| status.state.as_ref()?.running.as_ref());
    assert_eq!(still.count(), 0, "{death:?}");
    assert_eq!(file.notes.last().unwrap().reason, "RunnerDied");
    false
}

/// Answers whether the runner had ended before its death.
async fn dies_and_is_continued(death: Death) -> bool {
    let bench = Bench::new();
    if run_until(bench.new_runner(plan()), death).await {
        return true;
    }
    let directory = bench.state().list(Kind::Pod).unwrap().pop().unwrap();
    let taken = directory.take_over().unwrap().expect("its runner is dead");
    let outcome = bench.runner(plan(), taken).run(CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.status.phase.as_deref(), Some("Succeeded"), "{death:?}");
    assert!(bench.engine.is_empty(), "{death:?}");
    let history = bench.engine.history();
    assert_eq!(history.len(), 3, "{death:?}: {history:?}");
    assert_eq!(history[0].instance.container.0, "first");
    false
}
