//! What containers may use, and what they use: cgroups where they can be made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_host::{Cgroups, Controller};
use outrigger_launcher::Launcher;
use outrigger_pod_core::plan::PodPlan;
use outrigger_pod_core::quantity::Quantity;

use crate::bench::{Bench, finish, plan};
use crate::claims::{is_locked, until_free};
use crate::streams::wait_for;

fn limited() -> PodPlan {
    let mut plan = plan();
    let quantity = |text: &str| Quantity::parse(text).unwrap();
    plan.containers[0].limits = [("cpu".to_owned(), quantity("500m")), ("memory".to_owned(), quantity("24Mi"))].into();
    plan.containers[0].requests = [("cpu".to_owned(), quantity("250m"))].into();
    plan
}

fn can_limit() -> bool {
    let cgroups = Cgroups::find(Path::new("/"));
    cgroups.can(Controller::Cpu) && cgroups.can(Controller::Memory)
}

/// The pod's groups in every hierarchy.
fn groups(uid: &str) -> Vec<PathBuf> {
    fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        entries
            .flat_map(|entry| if entry.file_name() == name { vec![entry.path()] } else { find(&entry.path(), name) })
            .collect()
    }
    find(Path::new("/sys/fs/cgroup"), &format!("outrigger-{uid}"))
}

/// The first of these files of its container that exists in any of them, with its text.
fn read_in_group(uid: &str, files: &[&str]) -> Option<String> {
    let groups = groups(uid);
    let candidates = groups.iter().flat_map(|group| files.iter().map(move |file| group.join("main-0").join(file)));
    candidates.map(fs::read_to_string).find_map(Result::ok)
}

#[tokio::test]
async fn limits_are_in_force_and_gone_with_the_container() {
    let (bench, plan) = (Bench::new(), Arc::new(limited()));
    let said = bench.launcher.shortfalls(&plan);
    if !can_limit() {
        assert!(said.iter().any(|one| one.path == "spec.containers[0].resources.limits.memory"), "{said:?}");
        return;
    }
    assert!(said.is_empty(), "{said:?}");
    bench.prepare(&plan, &[]).await;
    let running = bench.start(&plan, &["sleep", "1000"]).await.unwrap();
    let read = |files: &[&str]| read_in_group(&plan.uid, files).unwrap();
    let cpu = read(&["cpu.max", "cpu.cfs_quota_us"]);
    assert!(["50000\n", "50000 100000\n"].contains(&cpu.as_str()), "{cpu}");
    let weight = read(&["cpu.weight", "cpu.shares"]);
    assert!(["10\n", "256\n"].contains(&weight.as_str()), "{weight}");
    assert_eq!(read(&["memory.max", "memory.limit_in_bytes"]), format!("{}\n", 24 << 20));
    bench.launcher.remove(&plan.uid).await.unwrap();
    assert_eq!(groups(&plan.uid), [""; 0].map(PathBuf::from));
    drop(running);
}

#[tokio::test]
async fn a_container_over_its_memory_is_killed_and_this_is_said() {
    if !can_limit() {
        return;
    }
    let (bench, plan) = (Bench::new(), Arc::new(limited()));
    // The shell itself holds the text in memory.
    let (_, exit) = bench.shell(&plan, "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo ${#x}").await;
    assert_eq!((exit.code, exit.out_of_memory), (137, true));
    assert_eq!(groups(&plan.uid), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn usage_is_measured_with_and_without_cgroups() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    // The kernel counts the first pages of a process late, so a few megabytes show.
    let script = "x=$(head -c 4000000 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; \
                  echo done; sleep 1000; echo ${#x}";
    let mut running = bench.start(&plan, &["sh", "-c", script]).await.unwrap();
    wait_for(&mut running, "done").await;
    let usage = bench.launcher.usage(&running.id).await.unwrap();
    assert!(usage.cpu.as_millis() >= 10 && usage.cpu.as_secs() < 60, "{usage:?}");
    assert!((2_000_000..100_000_000).contains(&usage.memory), "{usage:?}");
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_claim_pins_the_container() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let mut request = bench.request(&plan, &["grep", "Cpus_allowed_list", "/proc/self/status"], Vec::new());
    request.claim.cpus = Some("0".to_owned());
    let (text, exit) = finish(bench.launcher.start(request).await.unwrap()).await;
    assert_eq!((text.as_str(), exit.code), ("Cpus_allowed_list:\t0\n", 0));
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn a_lock_of_a_claim_frees_only_when_the_container_has_ended() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    bench.prepare(&plan, &[]).await;
    let path = bench.directory.path().join("lock");
    let lock = fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let script = "for one in /proc/$$/fd/*; do readlink $one; done; echo listed; exec sleep 1000";
    let mut request = bench.request(&plan, &["sh", "-c", script], Vec::new());
    request.held = vec![Arc::new(lock.into())];
    let mut running = bench.launcher.start(request).await.unwrap();
    // Its agent holds it; the container itself does not, or what it leaves running elsewhere would.
    let seen = wait_for(&mut running, "listed").await;
    assert!(seen.matches("pipe:").count() == 2 && !seen.contains("lock"), "{seen}");
    assert!(is_locked(&path));
    bench.launcher.remove(&plan.uid).await.unwrap();
    until_free(&path).await;
}
