//! Whole lives of pods.

use std::sync::Arc;
use std::time::Duration;

use outrigger_pod_core::plan::{ContainerPlan, Handler, PodPlan, ProbePlan, PullPolicy, RestartPolicy};
use outrigger_pod_directory::{Ending, RunnerLife};
use outrigger_pod_runner::drive::RunnerOptions;
use outrigger_pod_runner::handle::{Request, Snapshot};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, container, container_status, init, pod, state};

#[tokio::test(start_paused = true)]
async fn a_pod_runs_to_its_end_and_leaves_the_truth() {
    let bench = Bench::new();
    let plan = pod(vec![
        init("first", &["print:made", "sleep:1"]),
        container("main", &["print:hello", "complain:oh", "message:done", "sleep:5"]),
    ]);
    let outcome = bench.new_runner(plan).run(CancellationToken::new()).await.unwrap();
    assert_eq!((outcome.status.phase.as_deref(), outcome.ending), (Some("Succeeded"), Ending::Finished));
    let ended = state(&outcome.status, "main").terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.message.as_deref(), ended.reason.as_deref()),
        (0, Some("done"), Some("Completed"))
    );
    let took = ended.finished_at.unwrap().0.duration_since(ended.started_at.unwrap().0);
    assert_eq!(took.as_secs(), 5);

    assert_eq!(outcome.directory.life().unwrap(), RunnerLife::Dead);
    let file = outcome.directory.status().unwrap().unwrap();
    assert_eq!(file.status, outcome.status);
    assert_eq!(file.end.unwrap().why, Ending::Finished);
    let reasons: Vec<&str> = file.notes.iter().map(|note| note.reason.as_str()).collect();
    assert!(reasons.contains(&"Started"), "{reasons:?}");
    let log = bench.read("pods/default/web/1/logs/main/0.log");
    let lines: Vec<&str> = log.lines().map(|line| &line[31..]).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.contains(&"stdout F hello") && lines.contains(&"stderr F oh"), "{log}");
    assert!(bench.engine.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failing_container_is_restarted_with_back_off() {
    let bench = Bench::new();
    let plan = PodPlan { restart_policy: RestartPolicy::OnFailure, ..pod(vec![container("main", &["exit:3"])]) };
    let runner = bench.new_runner(plan);
    let mut status = runner.handle().status;
    let stop = CancellationToken::new();
    let watch = async {
        status
            .wait_for(|snapshot| snapshot.status.container_statuses.iter().flatten().any(|one| one.restart_count == 3))
            .await
            .unwrap();
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(runner.run(stop.clone()), watch);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.ending, Ending::Interrupted);
    let began: Vec<_> = bench.engine.history().iter().map(|run| run.began).collect();
    let pauses: Vec<i64> = began.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    assert_eq!(pauses, [0, 10, 20], "the kubelet's back-off begins with the second restart");
    assert_eq!(container_status(&outcome.status, "main").restart_count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_order_lets_a_deaf_container_have_its_grace() {
    let bench = Bench::new();
    let plan = PodPlan { grace: Duration::from_secs(7), ..pod(vec![container("main", &["deaf", "sleep:1000"])]) };
    let runner = bench.new_runner(plan);
    let handle = runner.handle();
    let ask = async {
        let mut status = handle.status.clone();
        status.wait_for(|snapshot| !snapshot.running.is_empty()).await.unwrap();
        let (reply, answered) = oneshot::channel();
        handle.requests.send(Request::Stop { grace: None, reply }).await.unwrap();
        answered.await.unwrap();
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), ask);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.ending, Ending::Stopped);
    let run = &bench.engine.history()[0];
    assert_eq!(run.ended.unwrap().duration_since(run.began).as_secs(), 7);
    assert_eq!(state(&outcome.status, "main").terminated.unwrap().exit_code, 137);
}

#[tokio::test(start_paused = true)]
async fn the_callers_time_limit_ends_the_pod() {
    let bench = Bench::new();
    let plan = pod(vec![container("main", &["sleep:1000"])]);
    let directory = bench.create(&plan);
    let options =
        RunnerOptions { clock: bench.clock, time_limit: Some(Duration::from_secs(60)), ..RunnerOptions::default() };
    let outcome = bench.runner_with(plan, directory, options).run(CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.ending, Ending::TimedOut);
    let run = &bench.engine.history()[0];
    assert_eq!(run.ended.unwrap().duration_since(run.began).as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_there_is_a_start_error_and_127() {
    let bench = Bench::new();
    let outcome =
        bench.new_runner(pod(vec![container("main", &["missing"])])).run(CancellationToken::new()).await.unwrap();
    let ended = state(&outcome.status, "main").terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (128, Some("StartError")));
    assert_eq!(outcome.not_executed.values().copied().collect::<Vec<_>>(), [127]);
    assert_eq!(outcome.directory.status().unwrap().unwrap().not_executed["main"], 127);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_why_where_the_policy_says_so() {
    let bench = Bench::new();
    let mut main = container("main", &["print:it broke", "exit:1"]);
    main.message_from_logs = true;
    let outcome = bench.new_runner(pod(vec![main])).run(CancellationToken::new()).await.unwrap();
    assert_eq!(state(&outcome.status, "main").terminated.unwrap().message.as_deref(), Some("it broke\n"));
}

#[tokio::test(start_paused = true)]
async fn hooks_and_probes_run_in_the_container() {
    let bench = Bench::new();
    let mut main = container("main", &["sleep:1000"]);
    main.post_start = Some(Handler::Exec(vec!["sleep:2".into()]));
    main.pre_stop = Some(Handler::Sleep(Duration::from_secs(3)));
    main.readiness = Some(ProbePlan {
        handler: Handler::Exec(vec!["exit:0".into()]),
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
        grace: None,
    });
    let runner = bench.new_runner(pod(vec![main]));
    let mut status = runner.handle().status;
    let stop = CancellationToken::new();
    let watch = async {
        let ready =
            status.wait_for(|snapshot| snapshot.status.container_statuses.iter().flatten().any(|one| one.ready));
        ready.await.unwrap();
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(runner.run(stop.clone()), watch);
    outcome.unwrap();
    let run = &bench.engine.history()[0];
    let took = run.ended.unwrap().duration_since(run.began).as_secs();
    assert!((5..16).contains(&took), "postStart takes 2 s, preStop 3 s: {took}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_prepared_is_tried_again() {
    let bench = Bench::new();
    bench.engine.refuse_preparations(2);
    let outcome =
        bench.new_runner(pod(vec![container("main", &["exit:0"])])).run(CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.status.phase.as_deref(), Some("Succeeded"));
    let notes = outcome.directory.status().unwrap().unwrap().notes;
    let refused = notes.iter().find(|note| note.reason == "FailedCreatePodSandBox").unwrap();
    assert_eq!(refused.count, 2);
}

#[tokio::test(start_paused = true)]
async fn a_volume_over_its_limit_evicts_the_pod() {
    let bench = Bench::new();
    let volume = json!({"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}});
    let plan = PodPlan {
        volumes: vec![serde_json::from_value(volume).unwrap()],
        ..pod(vec![container("main", &["sleep:100"])])
    };
    let runner = bench.new_runner(plan);
    let mut status = runner.handle().status;
    let fill = async {
        status.wait_for(|snapshot| !snapshot.running.is_empty()).await.unwrap();
        std::fs::write(bench.place.path().join("pods/default/web/1/volumes/scratch/big"), vec![1; 2 << 20]).unwrap();
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), fill);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.status.reason.as_deref(), Some("Evicted"));
    let message = outcome.status.message.unwrap();
    assert!(message.starts_with("Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\"."), "{message}");
    let run = &bench.engine.history()[0];
    assert_eq!(run.ended.unwrap().duration_since(run.began).as_secs(), 10, "it is measured every 10 s");
    assert!(!outcome.directory.volumes().exists());
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_told_when_it_begins_and_when_it_is_done() {
    let bench = Bench::new();
    let far =
        ContainerPlan { image: "far".into(), pull_policy: PullPolicy::IfNotPresent, ..container("main", &["exit:0"]) };
    let outcome = bench.new_runner(pod(vec![far])).run(CancellationToken::new()).await.unwrap();
    let notes = outcome.directory.status().unwrap().unwrap().notes;
    let at = |reason: &str| notes.iter().find(|note| note.reason == reason).unwrap().first.0;
    assert_eq!(at("Pulled").duration_since(at("Pulling")).as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_may_not_be_pulled_is_waited_for() {
    let bench = Bench::new();
    let never = ContainerPlan { image: "far".into(), pull_policy: PullPolicy::Never, ..container("main", &["exit:0"]) };
    let runner = bench.new_runner(pod(vec![never]));
    let (handle, stop) = (runner.handle(), CancellationToken::new());
    let mut status = handle.status.clone();
    let seen = async {
        let waits = |snapshot: &Arc<Snapshot>| {
            let state = state(&snapshot.status, "main");
            state.waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("ErrImageNeverPull"))
        };
        status.wait_for(waits).await.unwrap();
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(runner.run(stop.clone()), seen);
    let notes = outcome.unwrap().directory.status().unwrap().unwrap().notes;
    assert!(notes.iter().all(|note| note.reason != "Pulling"), "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_the_status_does_not_end_the_pod() {
    let bench = Bench::new();
    let runner = bench.new_runner(pod(vec![container("main", &["sleep:20", "exit:3"])]));
    let handle = runner.handle();
    let mut status = handle.status.clone();
    let block = async {
        status.wait_for(|snapshot| !snapshot.running.is_empty()).await.unwrap();
        // A directory in the place of the temporary file: no write can succeed, whoever we are.
        let obstacle = handle.directory.path().join(".status.json.new");
        std::fs::create_dir(&obstacle).unwrap();
        let mut notes = handle.notes.subscribe();
        let mut told = async |reason: &str| loop {
            let note = notes.recv().await.unwrap().note;
            if note.reason == reason {
                break note.message;
            }
        };
        let message = told("StatusNotWritten").await;
        assert!(message.contains("status.json: Is a directory; the pod goes on, and it is tried again"), "{message}");
        std::fs::remove_dir(obstacle).unwrap();
        told("StatusWritten").await;
    };
    let (outcome, ()) = tokio::join!(runner.run(CancellationToken::new()), block);
    let outcome = outcome.unwrap();
    assert_eq!(state(&outcome.status, "main").terminated.unwrap().exit_code, 3);
    assert_eq!(outcome.directory.status().unwrap().unwrap().end.unwrap().why, Ending::Finished);
}

#[tokio::test(start_paused = true)]
async fn that_the_end_cannot_be_written_down_is_told_before_the_end() {
    let bench = Bench::new();
    let runner = bench.new_runner(pod(vec![container("main", &["exit:0"])]));
    let handle = runner.handle();
    std::fs::create_dir(handle.directory.path().join(".status.json.new")).unwrap();
    let mut notes = handle.notes.subscribe();
    runner.run(CancellationToken::new()).await.unwrap();
    let mut told = Vec::new();
    while let Ok(note) = notes.try_recv() {
        told.extend((note.note.reason == "StatusNotWritten").then_some(note.note.message));
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].starts_with("given up after 4 s"), "{told:?}");
}
