//! What of a pod cannot be enforced on this machine, by field path.

use outrigger_host::{Cgroups, Controller};
use outrigger_launcher::Shortfall;
use outrigger_pod_core::plan::{ContainerPlan, PodPlan, Role};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

use super::security::{Rights, capability, rights};
use crate::agent::wire::Abilities;

/// Everything that will not hold.
pub fn shortfalls(abilities: &Abilities, cgroups: &Cgroups, plan: &PodPlan) -> Vec<Shortfall> {
    let mut found = Found { abilities, cgroups, all: Vec::new() };
    found.pod(plan);
    let (mut mains, mut inits) = (0, 0);
    for container in &plan.containers {
        let (list, count) =
            if container.role == Role::Main { ("containers", &mut mains) } else { ("initContainers", &mut inits) };
        found.container(&format!("spec.{list}[{count}]"), container);
        *count += 1;
    }
    found.all
}

struct Found<'a> {
    abilities: &'a Abilities,
    cgroups: &'a Cgroups,
    all: Vec<Shortfall>,
}

impl Found<'_> {
    fn add(&mut self, wrong: bool, path: impl Into<String>, message: impl Into<String>) {
        if wrong {
            self.all.push(Shortfall { path: path.into(), message: message.into() });
        }
    }

    fn pod(&mut self, plan: &PodPlan) {
        let Abilities { process_namespace, mount_namespace, fresh_proc, uts_namespace, .. } = *self.abilities;
        let why = self.abilities.refusals.join("; ");
        let spec = plan.pod.spec.clone().unwrap_or_default();
        let held = "its containers are held together by a keeper process; should that be killed, processes can stay until \
                    the next command ends them";
        self.add(!process_namespace, "spec", format!("no process namespace ({why}): {held}"));
        self.add(spec.host_pid == Some(true), "spec.hostPID", held);
        self.add(
            process_namespace && !fresh_proc,
            "spec",
            format!("/proc shows the machine's processes ({why}), so process numbers in it are not the container's"),
        );
        self.add(
            !process_namespace && plan.share_process_namespace,
            "spec.shareProcessNamespace",
            "the containers share the process namespace with the whole machine",
        );
        self.add(!uts_namespace, "spec.hostname", "the host name is the machine's: no UTS namespace can be made");
        self.add(!mount_namespace, "spec.hostAliases", "/etc/hosts and /etc/resolv.conf are the machine's");
        if rights(self.abilities) != Rights::Any {
            let message = "only root can give processes other groups";
            self.add(plan.fs_group.is_some(), "spec.securityContext.fsGroup", message);
            self.add(!plan.supplemental_groups.is_empty(), "spec.securityContext.supplementalGroups", message);
        }
    }

    fn container(&mut self, path: &str, container: &ContainerPlan) {
        self.resources(path, container);
        self.security(&format!("{path}.securityContext"), container);
        for field in &container.security.others {
            self.add(true, format!("{path}.{field}"), "the host launcher does not enforce it");
        }
        if !self.abilities.mount_namespace {
            self.add(
                !container.mounts.is_empty(),
                format!("{path}.volumeMounts"),
                "no mount namespace can be made: only host paths at their own place can be used",
            );
            self.add(
                true,
                format!("{path}.terminationMessagePath"),
                "no mount namespace can be made: the container has no file for its termination message",
            );
        }
        for (index, mount) in container.mounts.iter().enumerate() {
            self.add(
                mount.mount_propagation.as_deref() == Some("Bidirectional"),
                format!("{path}.volumeMounts[{index}].mountPropagation"),
                "mounts made in the container do not reach the machine",
            );
        }
    }

    fn resources(&mut self, path: &str, container: &ContainerPlan) {
        for name in container.limits.keys() {
            let controller = match name.as_str() {
                "cpu" => Some(Controller::Cpu),
                "memory" => Some(Controller::Memory),
                "ephemeral-storage" => None,
                name if name.starts_with("hugepages-") => None,
                // Claims serve the others.
                _ => continue,
            };
            let can = controller.is_some_and(|controller| self.cgroups.can(controller));
            let why = controller.map_or("the host launcher does not measure it", |_| self.cgroups.refusal());
            self.add(!can, format!("{path}.resources.limits.{name}"), format!("the limit is not enforced: {why}"));
        }
    }

    fn security(&mut self, path: &str, container: &ContainerPlan) {
        let (security, rights) = (&container.security, rights(self.abilities));
        let other_user = security.run_as_user.is_some_and(|uid| uid != i64::from(geteuid().as_raw()));
        let other_group =
            security.run_as_group.is_some_and(|gid| gid != i64::from(rustix::process::getegid().as_raw()));
        let own = "the container runs as you: neither root nor a user namespace can be had";
        self.add(rights == Rights::Own && other_user, format!("{path}.runAsUser"), own);
        self.add(rights == Rights::Own && other_group, format!("{path}.runAsGroup"), own);
        self.add(
            security.read_only_root && !self.abilities.mount_namespace,
            format!("{path}.readOnlyRootFilesystem"),
            "no mount namespace can be made: files are as writable as they are for you",
        );
        self.add(
            security.privileged && rights != Rights::Any,
            format!("{path}.privileged"),
            "only root has more rights than an ordinary user to give",
        );
        for name in &security.capabilities_add {
            let has = rights == Rights::Any && capability(name).is_ok_and(is_ours);
            self.add(!has, format!("{path}.capabilities.add"), format!("{name} is not ours to give"));
        }
    }
}

/// Whether a capability (by number; `u32::MAX` for all) can be in a child of this process.
fn is_ours(number: u32) -> bool {
    match 1_u64.checked_shl(number) {
        Some(bit) => capability_is_in_bounding_set(CapabilitySet::from_bits_retain(bit)).unwrap_or(false),
        None => true,
    }
}
