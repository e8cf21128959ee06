//! The launcher on a machine that allows no namespaces.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{ExecRequest, Launcher, Mount, MountSource};

use crate::bench::{Bench, finish, nowhere, plan};
use crate::streams::wait_for;

#[tokio::test]
async fn a_keeper_kills_what_its_container_leaves_behind() {
    let (bench, plan) = (Bench::with_keepers(), Arc::new(plan()));
    // Orphans in sessions of their own hold stdout open: the pipe ends only once they are dead.
    let (text, exit) =
        bench.shell(&plan, "(setsid sh -c 'sleep 1000; :' &); setsid sleep 1000 & echo left; exit 5").await;
    assert_eq!((text.as_str(), exit.code), ("left\n", 5));
}

#[tokio::test]
async fn a_keeper_stops_runs_commands_and_measures() {
    let (bench, plan) = (Bench::with_keepers(), Arc::new(plan()));
    bench.prepare(&plan, &["memory"]).await;
    let mut running = bench.start(&plan, &["sh", "-c", "echo ready; sleep 1000; :"]).await.unwrap();
    wait_for(&mut running, "ready").await;
    let command = vec!["sh".to_owned(), "-c".to_owned(), "exit 4".to_owned()];
    let session = bench.launcher.exec(&running.id, ExecRequest { command, ..ExecRequest::default() }).await.unwrap();
    assert_eq!(session.ended.await.unwrap(), 4);
    assert!(bench.launcher.usage(&running.id).await.unwrap().memory > 0);
    bench.launcher.stop(&running.id, "SIGTERM", Duration::from_secs(600)).await.unwrap();
    assert_eq!(running.ended.await.code, 143);
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_volume_can_only_be_where_it_is() {
    let (bench, plan) = (Bench::with_keepers(), Arc::new(plan()));
    assert!(bench.prepare(&plan, &["memory"]).await.memory_volumes.is_empty());
    let mount = |target: &str| Mount {
        source: MountSource::Path("/usr".into()),
        sub_path: None,
        target: target.into(),
        read_only: false,
        propagation: None,
    };
    let running = bench.start_with(&plan, &["true"], vec![mount("/usr")]).await.unwrap();
    assert_eq!(finish(running).await.1.code, 0);
    let data = nowhere("/data");
    let error = bench.start_with(&plan, &["true"], vec![mount(&data)]).await.unwrap_err();
    assert!(error.message.contains(&format!("nothing can be mounted at {data}")), "{}", error.message);
    assert!(!Path::new(&data).exists());
    bench.launcher.remove(&plan.uid).await.unwrap();
}
