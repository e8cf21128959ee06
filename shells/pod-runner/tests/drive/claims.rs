//! Claims: waited for with progress, merged, lost, given back.

use std::sync::Arc;
use std::time::Duration;

use outrigger_fake_provider::{SEAT, Seats};
use outrigger_pod_core::plan::{ContainerPlan, PodPlan};
use outrigger_pod_core::quantity::Quantity;
use outrigger_pod_directory::Ending;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, container, pod};

fn seated(name: &str, seats: Quantity, steps: &[&str]) -> ContainerPlan {
    ContainerPlan { limits: [(SEAT.to_owned(), seats)].into(), ..container(name, steps) }
}

fn bench(seats: &Seats) -> Bench {
    Bench { providers: vec![Arc::new(seats.clone())], ..Bench::new() }
}

fn uid(plan: &PodPlan) -> Vec<String> {
    vec![plan.uid.clone()]
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_claim_says_so_and_gives_it_back_at_the_end() {
    let seats = Seats::new(4);
    let bench = bench(&seats);
    seats.occupy(3);
    let plan = pod(vec![seated("main", Quantity::whole(2), &["sleep:1"]), container("other", &["sleep:1"])]);
    let runner = bench.new_runner(plan.clone());
    let mut status = runner.handle().status;
    let watch = async {
        let waits = status.wait_for(|snapshot| snapshot.waiting.is_some()).await.unwrap().waiting.clone();
        assert_eq!(waits.as_deref(), Some("waits for 2 of example.test/seat"));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(bench.engine.history().is_empty(), "it started without its claim");
        seats.vacate(3);
        assert_eq!(status.wait_for(|snapshot| !snapshot.running.is_empty()).await.unwrap().waiting, None);
        assert_eq!(seats.taken(), 2);
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), watch);
    assert_eq!(outcome.unwrap().status.phase.as_deref(), Some("Succeeded"));
    assert_eq!((seats.taken(), seats.given(), seats.returned()), (0, uid(&plan), uid(&plan)));
    let history = bench.engine.history();
    let of = |name: &str| history.iter().find(|run| run.instance.container.0 == name).unwrap().env.clone();
    assert_eq!(of("main"), [("SEATS".to_owned(), "2".to_owned())]);
    assert_eq!(of("other"), []);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_stopped_while_it_waits_takes_nothing() {
    let seats = Seats::new(1);
    let bench = bench(&seats);
    seats.occupy(1);
    let runner = bench.new_runner(pod(vec![seated("main", Quantity::whole(1), &["sleep:1"])]));
    let mut status = runner.handle().status;
    let stop = CancellationToken::new();
    let watch = async {
        status.wait_for(|snapshot| snapshot.waiting.is_some()).await.unwrap();
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(runner.run(stop.clone()), watch);
    assert_eq!(outcome.unwrap().ending, Ending::Interrupted);
    assert_eq!((seats.taken(), seats.given()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_claim_ends_the_pod_and_is_given_back_after_its_last_process() {
    let seats = Seats::new(1);
    let bench = bench(&seats);
    let plan = pod(vec![seated("main", Quantity::whole(1), &["sleep:1000"])]);
    let runner = bench.new_runner(plan.clone());
    let mut status = runner.handle().status;
    let watch = async {
        status.wait_for(|snapshot| !snapshot.running.is_empty()).await.unwrap();
        seats.lose_all("the license server took it back");
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), watch);
    let status = outcome.unwrap().status;
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("ClaimLost")));
    assert_eq!(status.message.as_deref(), Some("the license server took it back"));
    assert_eq!((seats.taken(), seats.returned()), (0, uid(&plan)));
    assert!(bench.engine.history()[0].ended.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_can_never_be_had_fails_the_pod() {
    for seats_wanted in [Quantity::whole(5), Quantity(1_500_000_000)] {
        let seats = Seats::new(4);
        let bench = bench(&seats);
        let runner = bench.new_runner(pod(vec![seated("main", seats_wanted, &["exit:0"])]));
        let status = runner.run(CancellationToken::new()).await.unwrap().status;
        assert_eq!(
            (status.phase.as_deref(), status.reason.as_deref()),
            (Some("Failed"), Some("UnexpectedAdmissionError"))
        );
        assert!(bench.engine.history().is_empty());
    }
}
