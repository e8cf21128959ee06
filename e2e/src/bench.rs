//! The benchmarks of `outrigger run`: what they measure and the line each prints.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::outrigger::Outrigger;
use crate::podman::{self, Podman};
use crate::processes;
use crate::sample::{Sample, time};

/// How often a start is measured.
const STARTS: usize = 21;

/// How long CPU use is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// A pod whose container `main` runs `command` under a shell, beside `more` further idle containers.
fn manifest(name: &str, image: &str, command: &str, more: usize) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: {image}\n    command: {command}\n"
    );
    for number in 1..=more {
        let _ = write!(text, "  - name: idle-{number}\n    image: {image}\n    command: [/bin/sleep, \"3600\"]\n");
    }
    text
}

/// Start to exit of a pod with one container that runs `true`, beside a shell and Podman.
pub fn start(outrigger: &Outrigger) -> Result<String> {
    let pod = outrigger.manifest("start.yaml", &manifest("bench-start", podman::IMAGE, "[/bin/true]", 0))?;
    let path = pod.to_string_lossy().into_owned();
    let ours = || time(|| outrigger.run(&["run", "--launcher", "host", &path]).map(drop));
    let shell = || {
        time(|| {
            let status = Command::new("sh").args(["-c", "/bin/true; exit 0"]).status()?;
            if status.success() { Ok(()) } else { bail!("the shell ended with {status}") }
        })
    };
    ours()?;
    shell()?;
    let (mut with_us, mut with_shell, mut with_podman) = (Vec::new(), Vec::new(), Vec::new());
    let peer = Podman::find();
    let peer_pod = match &peer {
        Some(podman) => Some(podman.manifest("start.yaml", &fs::read_to_string(&pod)?)?),
        None => None,
    };
    for round in 0..STARTS {
        with_us.push(ours()?);
        with_shell.push(shell()?);
        // The peer takes longer by far: a third of the rounds gives its median.
        if let (Some(podman), Some(manifest), true) = (&peer, &peer_pod, round % 3 == 0) {
            with_podman.push(time(|| podman.play(manifest, "bench-start"))?);
            podman.remove("bench-start")?;
        }
    }
    let ours = Sample::new(with_us).context("nothing was measured")?;
    let shell = Sample::new(with_shell).context("nothing was measured")?;
    let more = ours.median().saturating_sub(shell.median()).as_secs_f64() * 1e3;
    let mut text = format!(
        "start  outrigger {ours}\nstart  shell     {shell}\nstart  outrigger takes {more:.2} ms more than the shell (aim: at most 15)\n"
    );
    if let Some(podman) = Sample::new(with_podman) {
        let ratio = podman.median().as_secs_f64() / ours.median().as_secs_f64();
        let _ = write!(
            text,
            "start  podman    {podman}\nstart  outrigger is {ratio:.1} times as fast as podman (aim: at least 10)\n"
        );
    }
    Ok(text)
}

/// Memory of all our processes with 1 and with 100 containers, the time until 100 run, and their CPU use while idle.
pub fn many(outrigger: &Outrigger) -> Result<String> {
    let mut text = String::new();
    for (count, aim) in [(1, 12.0), (100, 40.0)] {
        let name = format!("bench-many-{count}");
        let pod = outrigger
            .manifest(&format!("{name}.yaml"), &manifest(&name, podman::IMAGE, "[/bin/sleep, \"3600\"]", count - 1))?;
        let begin = Instant::now();
        let mut runner = outrigger
            .command(&["run", "--launcher", "host", "--output", "json"])
            .arg(&pod)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        wait_until_running(outrigger, &name, count)?;
        let took = begin.elapsed().as_secs_f64();
        let found = processes::of(&outrigger.executable);
        let pss: u64 = found.iter().map(|process| process.pss).sum();
        let _ = writeln!(
            text,
            "many   {count} containers: running after {took:.3} s{}",
            if count == 100 { " (aim: less than 1)" } else { "" }
        );
        let _ = writeln!(
            text,
            "many   {count} containers: {:.1} MB Pss in {} processes (aim: at most {aim})",
            mib(pss),
            found.len()
        );
        if count == 100 {
            let _ = write!(text, "{}", idle(outrigger));
        }
        outrigger.run(&["stop", &name])?;
        runner.wait()?;
        outrigger.run(&["rm", &name])?;
    }
    Ok(text)
}

fn mib(kib: u64) -> f64 {
    let kib = u32::try_from(kib).unwrap_or(u32::MAX);
    f64::from(kib) / 1024.0
}

fn idle(outrigger: &Outrigger) -> String {
    let total = || processes::of(&outrigger.executable).iter().map(|process| process.cpu).sum::<Duration>();
    let (before, begin) = (total(), Instant::now());
    std::thread::sleep(WATCHED);
    let share = total().saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    format!("many   100 idle containers: {share:.2} % of a core over {} s (aim: below 0.5)\n", WATCHED.as_secs())
}

fn wait_until_running(outrigger: &Outrigger, name: &str, count: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let output = outrigger.command(&["ps", "--output", "json"]).output()?;
        if running(&output.stdout, name) == Some(count) {
            return Ok(());
        }
    }
    bail!("pod {name} did not have {count} running containers after 30 s")
}

fn wait_until_over(outrigger: &Outrigger, name: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        let output = outrigger.command(&["ps", "--output", "json"]).output()?;
        let list: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let pods = list["items"].as_array().context("ps answers no list")?;
        match pods.iter().find(|pod| pod["metadata"]["name"] == name).and_then(|pod| pod["status"]["phase"].as_str()) {
            Some("Succeeded") => return Ok(()),
            Some("Failed") | None => bail!("pod {name} did not succeed"),
            // Asking costs a process each time: often enough for a figure of seconds, seldom enough not to spoil it.
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    bail!("pod {name} was not over after 120 s")
}

/// How many containers of the pod run, from `ps --output json`: a `v1.List` of pods.
fn running(json: &[u8], name: &str) -> Option<usize> {
    let list: serde_json::Value = serde_json::from_slice(json).ok()?;
    let pod = list["items"].as_array()?.iter().find(|pod| pod["metadata"]["name"] == name)?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    Some(statuses.iter().filter(|status| !status["state"]["running"].is_null()).count())
}

/// Throughput from one container to its log file, without losing a byte.
pub fn logs(outrigger: &Outrigger) -> Result<String> {
    const BYTES: u64 = 2_000_000_000;
    let line = "x".repeat(199);
    let command = format!("[/bin/sh, -c, \"yes {line} | head -c {BYTES}\"]");
    let pod = outrigger.manifest("logs.yaml", &manifest("bench-logs", podman::IMAGE, &command, 0))?;
    let path = pod.to_string_lossy().into_owned();
    let plain = time(|| {
        let script = format!("yes {line} | head -c {BYTES} | cat > {}", outrigger.manifest("plain", "")?.display());
        let status = Command::new("sh").args(["-c", &script]).status()?;
        if status.success() { Ok(()) } else { bail!("the shell ended with {status}") }
    })?;
    let ours = time(|| {
        outrigger.run(&["run", "--detach", "--launcher", "host", "--log-max-size", "10Gi", &path])?;
        wait_until_over(outrigger, "bench-logs")
    })?;
    let kept = content(&outrigger.state())?;
    outrigger.run(&["rm", "bench-logs"])?;
    if kept != BYTES {
        bail!("{BYTES} bytes were written by the container, {kept} stand in the log");
    }
    let speed = |took: Duration| f64::from(u32::try_from(BYTES / 1_000_000).unwrap_or(0)) / took.as_secs_f64();
    Ok(format!(
        "logs   outrigger {:.0} MB/s into the CRI log, no byte lost (aim: at least 200)\nlogs   shell     {:.0} MB/s into a plain file\nlogs   outrigger has {:.2} of the shell's throughput\n",
        speed(ours),
        speed(plain),
        plain.as_secs_f64() / ours.as_secs_f64()
    ))
}

/// How many bytes the container wrote, by its log: each line `TIME STREAM TAG CONTENT`, `F` stands for a line's end.
fn content(state: &Path) -> Result<u64> {
    let mut total = 0;
    for file in log_files(state)? {
        let mut reader = std::io::BufReader::with_capacity(1 << 20, fs::File::open(&file)?);
        let mut line = Vec::new();
        while std::io::BufRead::read_until(&mut reader, b'\n', &mut line)? > 0 {
            let header = line.splitn(4, |byte| *byte == b' ').take(3).map(|field| field.len() + 1).sum::<usize>();
            let full = line.splitn(4, |byte| *byte == b' ').nth(2) == Some(b"F");
            total += (line.len() - 1).saturating_sub(header) as u64 + u64::from(full);
            line.clear();
        }
    }
    Ok(total)
}

fn log_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(log_files(&path)?);
        } else if path.components().any(|part| part.as_os_str() == "logs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_containers_are_counted_by_pod() {
        let json = br#"{"items":[{"metadata":{"name":"a"},"status":{"containerStatuses":[{"state":{"running":{}}},{"state":{"waiting":{}}}]}}]}"#;
        assert_eq!(running(json, "a"), Some(1));
        assert_eq!(running(json, "b"), None);
    }

    #[test]
    fn content_counts_what_the_container_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs/main");
        fs::create_dir_all(&logs).unwrap();
        fs::write(logs.join("0.log"), "2026-01-01T00:00:00Z stdout P ab\n2026-01-01T00:00:00Z stdout F c d\n").unwrap();
        assert_eq!(content(folder.path()).unwrap(), 6);
    }
}
