//! A pod of a hundred containers, and what each costs.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use outrigger_launcher::Launcher;
use outrigger_pod_core::plan::ContainerName;
use outrigger_sample_pods::container;

use crate::bench::{Bench, plan};

const MANY: usize = 100;

/// The most private memory that an init may have, in KiB: a multiple of what it has.
const DIRTY: u64 = 1024;

/// Private memory of a process that it has written, in KiB.
fn private_dirty(pid: &str) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_hundred_containers_run_beside_each_other_and_cost_little() {
    let bench = Bench::new();
    let mut plan = plan();
    plan.containers = (0..MANY).map(|number| container(&format!("c{number}"))).collect();
    let plan = Arc::new(plan);
    bench.prepare(&plan, &[]).await;
    let begin = Instant::now();
    let mut started = Vec::new();
    for number in 0..MANY {
        let mut request = bench.request(&plan, &["sleep", "1000"], Vec::new());
        request.instance.container = ContainerName(format!("c{number}"));
        started.push(bench.launcher.start(request));
    }
    let mut running = Vec::new();
    for start in started {
        running.push(start.await.unwrap());
    }
    let took = begin.elapsed();
    let own = std::process::id();
    let inits =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
            line.starts_with(b"outrigger-init") && parent == Some(own)
        });
    let dirty: Vec<u64> = inits.filter_map(|pid| private_dirty(&pid)).collect();
    println!("{MANY} containers in {took:?}; private memory of {} inits: {:?} KiB", dirty.len(), dirty.iter().max());
    // What they took is for the benchmark, on a machine that does nothing else.
    // Other tests of this process have theirs at the same time.
    assert!(dirty.len() >= MANY, "each has an init, not only {}", dirty.len());
    assert!(dirty.iter().all(|kib| *kib < DIRTY), "{dirty:?}");
    bench.launcher.remove(&plan.uid).await.unwrap();
    drop(running);
}
