//! What a container may use, and what it uses.

use std::fs;
use std::time::Duration;

use outrigger_host::{Cgroup, CgroupLimits};
use outrigger_launcher::Usage;
use outrigger_pod_core::claim::ClaimValue;
use outrigger_pod_core::plan::ContainerPlan;
use outrigger_pod_core::quantity::Quantity;

use crate::agent::descendants;

/// The kernel's clock ticks in `/proc`, which are hundredths of a second on every machine of today (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The name of a pod's cgroups.
pub fn pod_group(uid: &str) -> String {
    format!("outrigger-{uid}")
}

/// The limits of a container's cgroup.
pub fn limits(container: &ContainerPlan, claim: &ClaimValue) -> CgroupLimits {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    CgroupLimits {
        cpu: container.limits.get("cpu").copied().map(Quantity::millis).and_then(positive),
        cpu_request: Some(container.requests.get("cpu").copied().map(Quantity::millis).and_then(positive).unwrap_or(0)),
        memory: container.limits.get("memory").copied().map(Quantity::value).and_then(positive),
        cpus: claim.cpus.clone(),
        memory_nodes: claim.memory_nodes.clone(),
    }
}

/// What a container uses: by its cgroup, else the sum over its processes that run.
pub fn usage(group: Option<&Cgroup>, init: i32) -> Usage {
    if let Some(group) = group {
        let used = group.usage();
        return Usage { cpu: used.cpu, memory: used.memory };
    }
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    // Processes that cannot be listed use nothing that is known.
    descendants(init).unwrap_or_default().into_iter().filter_map(process).fold(
        Usage::default(),
        |sum, (ticks, pages)| Usage { cpu: sum.cpu + TICK * ticks, memory: sum.memory + pages * page },
    )
}

/// CPU time (with that of children that have ended) in ticks, and resident pages: `proc_pid_stat(5)`, fields 14 to 17, 24.
fn process(pid: i32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u32>().ok()).fold(0, u32::saturating_add);
    Some((ticks, fields.get(21)?.parse().ok()?))
}

/// The CPUs of the kernel's list format: `0-3,8`.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // The kernel has no machine with more.
        if first > last || last > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_those_of_the_kernel() {
        assert_eq!(cpu_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        for bad in ["", "a", "3-1", "0-99999999", "1,x"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_uses_memory() {
        let (_, pages) = process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(pages > 0);
    }
}
