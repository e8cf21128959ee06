//! What the process costs while nothing happens: memory, CPU time, wake-ups.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::node::Node;
use super::plugins::{Plugin, Plugins, not_measured};

/// As many devices with ids of 40 characters as fit into a message of 4 MiB, each with 55 bytes in case all are unhealthy.
const MOST: usize = 76_000;

/// How often the kubelet is restarted, to see whether anything grows.
const RESTARTS: usize = 1000;

/// How long is waited.
const QUIET: Duration = Duration::from_secs(60);

/// For how long memory is looked at then, every second: as long as from one audit to the next.
const INTERVAL: usize = 30;

/// Resident memory after a minute, one restart of the kubelet and one look at the metrics; the peak with the most devices.
pub async fn memory(plugins: &Plugins) -> Result<String> {
    let mut text = String::new();
    for (count, aim, recorded) in [(10, 6.0, "14.4 MB"), (10_000, 10.0, "26.0 MB")] {
        let name = format!("memory: {count} devices:");
        let (plugin, served) = plugins.ours_with(1, count);
        let (ours, most) = resident(&plugin, &served).await?;
        let _ = writeln!(text, "{name} outrigger {ours:.1} MB, for a moment {most:.1} (aim: at most {aim})");
        let sample = plugins.sample().filter(|_| count == 10);
        if count != 10 {
            let _ = writeln!(text, "{name} sample plugin: not possible: it has two devices");
        }
        for (peer, served) in sample.into_iter().chain(plugins.generic(1, count)) {
            match resident(&peer, &served).await {
                Ok((theirs, _)) => {
                    let (ratio, offered) = (theirs / ours, served[0].1);
                    let peer = peer.name();
                    let _ = writeln!(text, "{name} {peer} with {offered} {theirs:.1} MB, {ratio:.1} times as much");
                }
                Err(error) => text.push_str(&not_measured(&name, &peer, &error)),
            }
        }
        text.push_str(&plugins.no_generic(&name, recorded));
    }
    text.push_str(&plugins.no_sample("memory:"));
    let _ = writeln!(text, "{}", growth(plugins).await?);
    match peak(plugins).await {
        Ok(peak) => {
            let _ =
                writeln!(text, "memory: {MOST} devices with ids of 40 characters: peak {peak:.1} MB (aim: at most 40)");
        }
        Err(error) => text.push_str(&not_measured("memory:", &plugins.ours(""), &error)),
    }
    Ok(text)
}

/// What a thousand restarts of the kubelet leave behind: memory, descriptors, threads.
async fn growth(plugins: &Plugins) -> Result<String> {
    let (plugin, served) = plugins.ours_with(3, 10);
    let mut node = Node::new().await?;
    node.start(&plugin)?;
    node.until_offered(&served).await?;
    let pid = node.pid()?;
    let mut told = Vec::new();
    for restarts in [100, RESTARTS - 100] {
        for _ in 0..restarts {
            node.kubelet.restart().await?;
            node.until_offered(&served).await?;
        }
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        told.push((field(pid, "status", "RssAnon:")? / 1024.0, descriptors, field(pid, "status", "Threads:")?));
    }
    let [(begun, some, few), (ended, others, more)] = told[..] else { anyhow::bail!("two figures are due") };
    Ok(format!(
        "memory: restarts of the kubelet, after 100 and {RESTARTS}: {begun:.2} and {ended:.2} MB of its own, {some} and {others} descriptors, {few} and {more} threads"
    ))
}

/// The most memory that a list of [`MOST`] devices took.
async fn peak(plugins: &Plugins) -> Result<f64> {
    let configuration = format!(
        "domain: example.com\nids: gdp\ndevices:\n- name: r0\n  groups: [{{count: {MOST}, paths: [{{path: /dev/null}}]}}]\n"
    );
    let mut node = Node::new().await?;
    node.start(&plugins.ours(&configuration))?;
    node.until_offered(&[("example.com/r0".to_owned(), MOST)]).await?;
    Ok(field(node.pid()?, "status", "VmHWM:")? / 1024.0)
}

/// In MB, the median and the most.
async fn resident(plugin: &Plugin, served: &[(String, usize)]) -> Result<(f64, f64)> {
    let mut node = Node::new().await?;
    node.start(plugin)?;
    node.until_offered(served).await?;
    node.kubelet.restart().await?;
    node.until_offered(served).await?;
    let pid = node.pid()?;
    if matches!(plugin, Plugin::Outrigger(..)) {
        let metrics = metrics(pid)?;
        anyhow::ensure!(metrics.contains("outrigger_devices_known"), "no metrics: {metrics}");
    }
    sleep(QUIET).await;
    let mut seen = Vec::new();
    for _ in 0..INTERVAL {
        seen.push(field(pid, "status", "VmRSS:")? / 1024.0);
        sleep(Duration::from_secs(1)).await;
    }
    seen.sort_by(f64::total_cmp);
    Ok((seen[INTERVAL / 2], seen[INTERVAL - 1]))
}

/// Reads `/metrics`, at whatever port the process listens.
pub(super) fn metrics(pid: u32) -> Result<String> {
    let port = listening(pid)?.context("the process has no admin endpoint")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The loopback port on which a process listens (`/proc/PID/net/tcp`, `proc_pid_net(5)`).
fn listening(pid: u32) -> Result<Option<u16>> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))?
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    Ok(table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let ours = sockets.contains(&format!("socket:[{inode}]")) && *state == "0A";
        ours.then(|| u16::from_str_radix(address.split_once(':')?.1, 16).ok())?
    }))
}

/// CPU time and wake-ups of a minute in which nothing happens, with ten resources; the sample has one.
pub async fn idle(plugins: &Plugins) -> Result<String> {
    let (plugin, served) = plugins.ours_with(10, 10);
    let (ours, wakeups) = minute(&plugin, &served).await?;
    let aim = "aim: at most 20 ms, no wake-up but the audit";
    let mut text =
        format!("idle: outrigger used {ours:.2} ms of CPU in a minute and woke up {wakeups} times ({aim})\n");
    for (peer, served) in plugins.sample().into_iter().chain(plugins.generic(10, 10)) {
        match minute(&peer, &served).await {
            Ok((theirs, wakeups)) => {
                let (ratio, peer) = (theirs / ours, peer.name());
                let _ = writeln!(
                    text,
                    "idle: {peer} used {theirs:.2} ms, {ratio:.2} times as much, and woke up {wakeups} times"
                );
            }
            Err(error) => text.push_str(&not_measured("idle:", &peer, &error)),
        }
    }
    Ok(text
        + &plugins.no_sample("idle:")
        + &plugins.no_generic("idle:", "10 ms of CPU in its first 7 s, with 10 devices"))
}

/// Milliseconds of CPU, and how often a thread woke up.
async fn minute(plugin: &Plugin, served: &[(String, usize)]) -> Result<(f64, u64)> {
    let mut node = Node::new().await?;
    node.start(plugin)?;
    node.until_offered(served).await?;
    // What a start leaves to be done.
    sleep(Duration::from_secs(2)).await;
    let pid = node.pid()?;
    let (cpu, wakeups) = (self::cpu(pid)?, self::wakeups(pid)?);
    sleep(QUIET).await;
    Ok((self::cpu(pid)? - cpu, self::wakeups(pid)?.saturating_sub(wakeups)))
}

/// How often the threads of a process have slept and gone on.
fn wakeups(pid: u32) -> Result<u64> {
    let mut count = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count += line.and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(count)
}

/// CPU time of a process in milliseconds, by the scheduler's count of nanoseconds (`/proc/PID/schedstat` of all threads).
fn cpu(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()).unwrap_or_default();
    }
    Ok(nanoseconds / 1e6)
}

/// The number after a word in a file of a process.
fn field(pid: u32, file: &str, word: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let found = text.lines().find_map(|line| line.strip_prefix(word)?.split_whitespace().next()?.parse().ok());
    found.with_context(|| format!("no {word} in {file} of process {pid}"))
}
