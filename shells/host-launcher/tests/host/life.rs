//! Starting, ending, stopping, and commands beside the main process.

use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{ExecRequest, LaunchError, Launcher};
use outrigger_pod_core::life::StartProblem;
use tokio::io::AsyncReadExt;

use crate::bench::{Bench, finish, plan};

#[tokio::test]
async fn a_container_ends_with_the_code_of_its_process() {
    let bench = Bench::new();
    let (text, exit) = bench.shell(&Arc::new(plan()), "echo $GREETING from $HOSTNAME; exit 7").await;
    assert_eq!((text.as_str(), exit.code, exit.signal), ("good day from bench\n", 7, None));
}

#[tokio::test]
async fn a_process_that_a_signal_ended_has_the_code_of_a_shell() {
    let bench = Bench::new();
    let (_, exit) = bench.shell(&Arc::new(plan()), "kill -KILL $$").await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[tokio::test]
async fn a_program_without_a_handler_ends_at_once_when_it_is_stopped() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    bench.launcher.stop(&running.id, "SIGTERM", Duration::from_secs(600)).await.unwrap();
    let (_, exit) = finish(running).await;
    assert_eq!((exit.code, exit.signal), (143, Some(15)));
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_program_that_ignores_its_signal_is_killed_after_the_shorter_grace() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let mut running =
        bench.start(&plan, &["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"]).await.unwrap();
    crate::streams::wait_for(&mut running, "ready").await;
    bench.launcher.stop(&running.id, "SIGTERM", Duration::from_secs(600)).await.unwrap();
    bench.launcher.stop(&running.id, "SIGTERM", Duration::from_millis(20)).await.unwrap();
    assert_eq!(running.ended.await.signal, Some(9));
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn what_the_main_process_leaves_behind_is_gone_when_the_container_has_ended() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    // The stray holds stdout open: the pipe ends only once it is dead.
    let (text, exit) = bench.shell(&plan, "setsid sleep 1000 & echo left").await;
    assert_eq!((text.as_str(), exit.code), ("left\n", 0));
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_a_failed_start() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    for (command, code, text) in [
        ("no-such-program", 127, "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/no/such/program", 127, "exec: \"/no/such/program\": no such file or directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ] {
        let error = bench.start(&plan, &[command]).await.unwrap_err();
        assert_eq!((error.problem, error.exit_code), (StartProblem::Exec, Some(code)));
        assert!(error.message.starts_with(text), "{}", error.message);
    }
    let error = bench.start(&plan, &[]).await.unwrap_err();
    assert_eq!(error.problem, StartProblem::Create);
    assert!(error.message.contains("has no command"), "{}", error.message);
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_command_runs_beside_the_main_process() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    let command = |words: &[&str]| ExecRequest {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    };
    let mut session = bench.launcher.exec(&running.id, command(&["sh", "-c", "echo $GREETING; exit 3"])).await.unwrap();
    let mut text = String::new();
    session.stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), session.ended.await.unwrap()), ("good day\n", 3));
    let missing = bench.launcher.exec(&running.id, command(&["no-such-program"])).await.unwrap();
    let missing = missing.ended.await.unwrap_err();
    assert!(matches!(missing, LaunchError::NotExecuted { code: 127, .. }), "{missing}");
    assert!(missing.to_string().starts_with("failed to exec in container: exec: \"no-such-program\": executable file"));
    let unended = bench.launcher.exec(&running.id, command(&["sleep", "1000"])).await.unwrap();
    bench.launcher.remove(&plan.uid).await.unwrap();
    assert!(matches!(unended.ended.await, Err(LaunchError::Gone(_))), "it was killed with its container");
    assert!(matches!(bench.launcher.exec(&running.id, command(&["true"])).await, Err(LaunchError::Gone(_))));
}

#[tokio::test]
async fn a_dropped_session_kills_its_command() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    let command = vec!["sh".to_owned(), "-c".to_owned(), "echo $$; exec sleep 1000".to_owned()];
    let mut session =
        bench.launcher.exec(&running.id, ExecRequest { command, ..ExecRequest::default() }).await.unwrap();
    let mut first = [0; 1];
    session.stdout.read_exact(&mut first).await.unwrap();
    drop(session.ended);
    // Its stdout closes because it is dead.
    session.stdout.read_to_end(&mut Vec::new()).await.unwrap();
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn removing_a_pod_kills_its_containers_and_may_be_repeated() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &["scratch"]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    assert_eq!(bench.launcher.list(&plan.uid).await.unwrap().len(), 1);
    bench.launcher.remove(&plan.uid).await.unwrap();
    bench.launcher.remove(&plan.uid).await.unwrap();
    assert_eq!(running.ended.await.signal, Some(9));
    assert!(bench.launcher.list(&plan.uid).await.unwrap().is_empty());
    assert!(!bench.directory.path().join(&plan.uid).join("launcher").exists());
}

#[tokio::test]
async fn preparing_a_pod_again_answers_the_same() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    let first = bench.prepare(&plan, &["scratch"]).await;
    std::fs::write(first.memory_volumes["scratch"].join("kept"), "x").unwrap();
    let second = bench.prepare(&plan, &["scratch"]).await;
    assert_eq!(first.memory_volumes, second.memory_volumes);
    assert!(second.memory_volumes["scratch"].join("kept").exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}
