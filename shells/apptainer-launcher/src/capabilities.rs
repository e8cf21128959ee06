//! The capabilities that a container of root keeps.

use outrigger_host_launcher::parts::{CAPABILITIES, capability};
use outrigger_pod_core::plan::SecurityPlan;
use rustix::thread::{CapabilitySet, capabilities};

/// What containerd gives a container (`oci.WithDefaultSpec`, `defaultUnixCaps`).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The default and what is added, as far as this process has it; all of its own for a privileged container. What the
/// container drops is dropped by its init, which needs more than its process.
pub fn kept(security: &SecurityPlan) -> Vec<String> {
    // Where the kernel does not say, root has none to give.
    let ours = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let added = &security.capabilities_add;
    let is_all = security.privileged || added.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let is_kept = |name: &str| is_all || DEFAULT.contains(&name) || added.iter().any(|added| same(added, name));
    let all = CAPABILITIES.iter().copied().enumerate();
    let kept = all.filter(|(number, name)| {
        is_kept(name)
            && ours.bits().checked_shr(u32::try_from(*number).unwrap_or(u32::MAX)).is_some_and(|bits| bits & 1 == 1)
    });
    kept.map(|(_, name)| format!("CAP_{name}")).collect()
}

fn same(written: &str, name: &str) -> bool {
    capability(written)
        .ok()
        .and_then(|number| usize::try_from(number).ok())
        .and_then(|at| CAPABILITIES.get(at))
        .copied()
        == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_keeps_no_more_than_this_process_has() {
        let ours = capabilities(None).unwrap().permitted;
        let privileged = SecurityPlan { privileged: true, ..SecurityPlan::default() };
        assert_eq!(kept(&privileged).len(), usize::try_from(ours.bits().count_ones()).unwrap());
        let plain = kept(&SecurityPlan::default());
        assert!(plain.iter().all(|name| DEFAULT.contains(&name.trim_start_matches("CAP_"))), "{plain:?}");
    }
}
