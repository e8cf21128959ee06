//! What a provider gave reaches the container, and a lock that is a claim is free only when the last process has ended.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_launcher::Launcher;
use outrigger_pod_core::claim::{ClaimDevice, ClaimMount, ClaimValue};
use rustix::fs::{FlockOperation, flock};

use crate::bench::{Bench, finish, plan};
use crate::streams::wait_for;

/// Whether somebody holds the lock of this file.
pub fn is_locked(path: &Path) -> bool {
    flock(File::open(path).unwrap(), FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Waits until nobody does: what another test starts has our descriptors too until it executes something.
pub async fn until_free(path: &Path) {
    let until = Instant::now() + Duration::from_secs(120);
    while is_locked(path) {
        assert!(Instant::now() < until, "{} is never free", path.display());
        tokio::time::sleep(Duration::from_millis(2)).await; // Nothing tells that a lock is free.
    }
}

#[tokio::test]
async fn a_held_lock_is_free_only_when_the_last_process_has_ended() {
    for bench in [Bench::new(), Bench::with_keepers()] {
        let plan = Arc::new(plan());
        let lock = bench.directory.path().join("resource.lock");
        let held = File::create(&lock).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        bench.prepare(&plan, &[]).await;
        let mut request = bench.request(&plan, &["sh", "-c", "echo ready; sleep 1000; :"], Vec::new());
        request.held = vec![Arc::new(OwnedFd::from(held))];
        let mut running = bench.launcher.start(request).await.unwrap();
        wait_for(&mut running, "ready").await;
        // Ours is closed with the request: only the container's init or keeper holds it now.
        assert!(is_locked(&lock));
        bench.launcher.stop(&running.id, "SIGKILL", Duration::ZERO).await.unwrap();
        running.ended.await;
        bench.launcher.remove(&plan.uid).await.unwrap();
        until_free(&lock).await;
    }
}

#[tokio::test]
async fn the_container_itself_does_not_see_the_lock() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    let lock = bench.directory.path().join("resource.lock");
    let held = File::create(&lock).unwrap();
    bench.prepare(&plan, &[]).await;
    let mut request = bench.request(&plan, &["sh", "-c", "ls -l /proc/self/fd"], Vec::new());
    request.held = vec![Arc::new(OwnedFd::from(held))];
    let (text, exit) = finish(bench.launcher.start(request).await.unwrap()).await;
    assert_eq!(exit.code, 0);
    assert!(!text.contains("resource.lock"), "{text}");
    bench.launcher.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn mounts_devices_and_cpus_of_a_claim_are_there_from_the_first_instruction() {
    let (bench, plan) = (Bench::new(), Arc::new(plan()));
    let given = bench.directory.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("key"), "from a provider\n").unwrap();
    bench.prepare(&plan, &[]).await;
    let script = "cat /claimed/key; touch /claimed/new 2>/dev/null || echo read-only; \
                  echo x > /dev/claimed && echo written; grep Cpus_allowed_list /proc/self/status";
    let mut request = bench.request(&plan, &["sh", "-c", script], Vec::new());
    request.claim = ClaimValue {
        mounts: vec![ClaimMount { host_path: given, container_path: "/claimed".into(), read_only: true }],
        devices: vec![ClaimDevice {
            host_path: "/dev/null".into(),
            container_path: "/dev/claimed".into(),
            permissions: "rw".to_owned(),
        }],
        cpus: Some("0".to_owned()),
        ..ClaimValue::default()
    };
    let (text, _) = finish(bench.launcher.start(request).await.unwrap()).await;
    bench.launcher.remove(&plan.uid).await.unwrap();
    assert_eq!(text, "from a provider\nread-only\nwritten\nCpus_allowed_list:\t0\n");
}
