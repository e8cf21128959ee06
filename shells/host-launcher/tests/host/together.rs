//! Containers of one pod that share a process namespace.

use std::sync::Arc;
use std::time::Duration;

use outrigger_launcher::{Launcher, Running};
use outrigger_pod_core::plan::PodPlan;
use outrigger_sample_pods::container;

use crate::bench::{Bench, finish, plan};
use crate::streams::wait_for;

fn pair() -> PodPlan {
    let mut plan = plan();
    plan.share_process_namespace = true;
    plan.containers.push(container("other"));
    plan
}

async fn start_other(bench: &Bench, plan: &Arc<PodPlan>, script: &str) -> Running {
    let mut request = bench.request(plan, &["sh", "-c", script], Vec::new());
    request.instance.container = plan.containers[1].name.clone();
    bench.launcher.start(request).await.unwrap()
}

#[tokio::test]
async fn containers_see_each_other_and_end_by_themselves() {
    let (bench, plan) = (Bench::new(), Arc::new(pair()));
    bench.prepare(&plan, &[]).await;
    // A grandchild in a session of its own belongs to its container all the same.
    let script = "setsid sleep 4711 & echo ready; sleep 4711; :";
    let mut first = bench.start(&plan, &["sh", "-c", script]).await.unwrap();
    wait_for(&mut first, "ready").await;
    // The two come a moment after that word.
    let count =
        "for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $one 2>/dev/null; echo; done | grep -c '^sleep 4711 $'";
    let both = format!("sleep 0 & until [ \"$({count})\" = 2 ]; do sleep 0.05; done; cat /proc/1/comm");
    let (text, exit) = finish(start_other(&bench, &plan, &both).await).await;
    assert_eq!((text.as_str(), exit.code), ("outrigger-init\n", 0));
    bench.launcher.stop(&first.id, "SIGKILL", Duration::ZERO).await.unwrap();
    assert_eq!(first.ended.await.signal, Some(9));
    let (text, _) = finish(start_other(&bench, &plan, &format!("{count} || :")).await).await;
    assert_eq!(text, "0\n");
    bench.launcher.remove(&plan.uid).await.unwrap();
}
