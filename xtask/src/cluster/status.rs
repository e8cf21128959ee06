//! `cargo xtask cluster status`: the components of a cluster, how much memory each takes, and which of them ended.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::place::{Place, Record};
use crate::step::Found;

/// Prints a line for each component; one that ended is something found.
pub fn run(place: &Place) -> Result<()> {
    let Some(init) = place.init() else {
        if place.directory().exists() {
            bail!(Found(format!(
                "the cluster {} was killed; `up` starts it anew, `down` removes the rest",
                place.name
            )));
        }
        bail!(Found(format!("there is no cluster {}", place.name)));
    };
    let proc = PathBuf::from(format!("/proc/{}/root/proc", init.pid));
    let record = place.record();
    let lines = table(&record, |pid| memory(&proc, &pid.to_string()));
    print!("{lines}");
    let all = processes(&proc);
    println!(
        "{:<26}{:>8} {:>8} MiB",
        "all processes",
        all.len(),
        all.iter().map(|pid| memory(&proc, pid)).sum::<u64>()
    );
    match record.ended() {
        Some((component, how)) => bail!(Found(format!(
            "{} ended ({how}); its last lines:\n{}",
            component.name,
            place.last_lines(&component.name, 15)
        ))),
        None => Ok(()),
    }
}

/// A line for each component: its process inside and its memory, or how it ended.
fn table(record: &Record, memory: impl Fn(u32) -> u64) -> String {
    let mut lines = String::new();
    for started in &record.components {
        let state = match &started.ended {
            Some(how) => format!("ended ({how})"),
            None => format!("{:>8} {:>8} MiB  since {}", started.pid, memory(started.pid), started.since),
        };
        lines += &format!("{:<26}{state}\n", started.name);
    }
    if !record.is_complete {
        lines += &format!("waits for {}\n", record.waits_for);
    }
    lines
}

/// The proportional share of a process in MiB: pages that several share count once.
fn memory(proc: &Path, pid: &str) -> u64 {
    let text = fs::read_to_string(proc.join(pid).join("smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn processes(proc: &Path) -> Vec<String> {
    let entries = fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::place::Started;

    #[test]
    fn a_component_that_ended_is_told_in_place_of_its_memory() {
        let started = |name: &str, ended: Option<&str>| Started {
            name: name.into(),
            pid: 7,
            since: "2026-11-21T18:00:05Z".into(),
            ended: ended.map(str::to_owned),
        };
        let components = vec![started("etcd", None), started("kubelet", Some("exit status: 1"))];
        let record = Record { waits_for: String::new(), is_complete: true, components };
        let text = table(&record, |_| 30);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("etcd ") && lines[0].contains("30 MiB"), "{text}");
        assert!(lines[1].ends_with("ended (exit status: 1)"), "{text}");
    }
}
