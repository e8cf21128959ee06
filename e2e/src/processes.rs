//! What the processes of one executable use, read from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// A process that runs the executable.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its proportional share of memory in KiB (`Pss` of `smaps_rollup`).
    pub pss: u64,
    /// Its own CPU time so far.
    pub cpu: Duration,
}

/// All processes whose executable is `executable`.
pub fn of(executable: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == executable))
        .map(|pid| Process { pid, pss: pss(pid), cpu: cpu(pid) })
        .collect()
}

fn pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// utime and stime of `/proc/PID/stat` (proc(5), fields 14 and 15), in ticks of 10 ms.
fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_and_uses_memory() {
        let own = std::env::current_exe().unwrap();
        let found = of(&own);
        let me = found.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(me.pss > 0);
    }
}
