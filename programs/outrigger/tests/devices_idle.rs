//! The node agent while nothing happens, by the real executable: what will wake it, and what watches for it.
//!
//! The kernel tells in which call each thread sleeps and with which time limit (`proc_pid_syscall(5)`): whatever polls has a
//! limit, so that one look at a sleeping process tells of all of it. Counting wake-ups would count the machine's events too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failure of the test")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use outrigger_stub_kubelet::StubKubelet;
use support::place::{ANY_PORT, Agent, Place};
use support::site::LIMIT;
use tokio::time::sleep;

/// The numbers of `epoll_wait`, `epoll_pwait` and `futex` (`asm/unistd_64.h`, `asm-generic/unistd.h`).
#[cfg(target_arch = "x86_64")]
const CALLS: ([u64; 2], u64) = ([232, 281], 202);
#[cfg(not(target_arch = "x86_64"))]
const CALLS: ([u64; 2], u64) = ([22, 22], 98);

/// No thread wakes up by itself before so long; the audit of these tests is later, and anything that polls is sooner.
const LONG: Duration = Duration::from_secs(600);

/// Whether every thread of a process sleeps, and for long. They are looked at one after the other, which tells of all of them
/// only where none has slept and woken meanwhile.
fn sleeps_for_long(pid: u32) -> bool {
    let before = sleeps(pid);
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let all = threads.all(|thread| {
        // One that has just ended tells nothing.
        let call = fs::read_to_string(thread.unwrap().path().join("syscall")).unwrap_or_default();
        let mut words = call.split_whitespace();
        let number = words.next().and_then(|word| word.parse::<u64>().ok());
        let limit = words.nth(3).and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        match (number, limit) {
            // Milliseconds; none is -1, which is large without its sign.
            (Some(number), Some(limit)) if CALLS.0.contains(&number) => {
                u128::from(limit & 0xffff_ffff) > LONG.as_millis()
            }
            (Some(number), Some(limit)) if number == CALLS.1 => limit == 0, // A pointer to the limit.
            _ => false,                                                     // It runs.
        }
    });
    all && sleeps(pid) == before
}

/// How often all threads of a process went to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |line| line.trim().parse::<u64>().unwrap())
    };
    threads.map(|thread| of_thread(thread.unwrap())).sum()
}

/// Ten resources, of which one is found by a glob.
fn ten_resources() -> String {
    let resource =
        |number| format!("- {{resource: v.io/r{number}, groups: [{{paths: [{{path: /dev/null}}]}}], share: true}}\n");
    let glob = "- {resource: v.io/r9, groups: [{count: 2, paths: [{path: '/dev/zer*'}]}]}\n";
    (0..9).map(resource).collect::<String>() + glob
}

/// The agent, and the kubelet that reads its lists.
async fn agent(place: &Place, audit: &str) -> (Agent, StubKubelet) {
    // A directory of its own: what comes and goes beside the one that holds the file wakes whoever watches for that.
    fs::create_dir(place.path("etc")).unwrap();
    let text = format!("ids: short\naudit: {audit}\nadmin: {}\ndevices:\n{}", ANY_PORT, ten_resources());
    fs::write(place.path("etc/devices.yaml"), text).unwrap();
    let kubelet = place.kubelet().await;
    let command = place.command("outrigger", &["devices", "agent", "--config", "etc/devices.yaml"]);
    let agent = Agent::start(command, place.path("log"));
    kubelet.until(|view| (0..10).all(|number| view.allocatable(&format!("v.io/r{number}")) > 0)).await;
    (agent, kubelet)
}

#[tokio::test]
async fn an_idle_agent_sleeps_until_its_audit_and_watches_by_one_inotify_instance() {
    let place = Place::new();
    let (agent, _kubelet) = agent(&place, "1h").await;
    let links = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let links: Vec<_> = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok()).collect();
    let instances = links.iter().filter(|link| link.to_string_lossy().contains("inotify")).count();
    assert_eq!(instances, 1, "{links:?}");

    // The start leaves something to be done for ten seconds: so long a connection may be open before its first call.
    let begun = Instant::now();
    while !sleeps_for_long(agent.pid()) {
        assert!(begun.elapsed() < LIMIT, "something is due all the time; it said:\n{}", agent.said());
        sleep(Duration::from_millis(10)).await; // Nothing tells that a process sleeps.
    }
    if std::env::var_os("OUTRIGGER_SOAK").is_some() {
        let (minute, before) = (Duration::from_secs(60), sleeps(agent.pid()));
        sleep(minute).await;
        println!("{} wake-ups in a minute, by the machine's events", sleeps(agent.pid()) - before);
    }
}

/// That the test above can fail: the audit is what is due here, all the time.
#[tokio::test]
async fn an_agent_that_looks_every_two_seconds_is_seen_to() {
    let place = Place::new();
    let (agent, _kubelet) = agent(&place, "2s").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(14) {
        assert!(!sleeps_for_long(agent.pid()), "it polls");
        sleep(Duration::from_millis(10)).await; // Nothing tells that a process sleeps.
    }
}
