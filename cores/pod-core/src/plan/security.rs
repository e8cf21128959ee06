//! A container's `securityContext` over that of its pod.
//!
//! The container wins field by field (`pkg/securitycontext/util.go`, `DetermineEffectiveSecurityContext`).

use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};

use super::SecurityPlan;

/// Merges the two.
pub(super) fn plan(container: Option<&SecurityContext>, pod: Option<&PodSecurityContext>) -> SecurityPlan {
    let container = container.cloned().unwrap_or_default();
    let pod = pod.cloned().unwrap_or_default();
    let others = others(&container, &pod);
    let capabilities = container.capabilities.unwrap_or_default();
    SecurityPlan {
        run_as_user: container.run_as_user.or(pod.run_as_user),
        run_as_group: container.run_as_group.or(pod.run_as_group),
        run_as_non_root: container.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false),
        read_only_root: container.read_only_root_filesystem.unwrap_or(false),
        privileged: container.privileged.unwrap_or(false),
        no_new_privileges: container.allow_privilege_escalation == Some(false),
        capabilities_add: names(capabilities.add),
        capabilities_drop: names(capabilities.drop),
        others,
    }
}

/// Capability names without `CAP_`, upper case, as containerd accepts both forms.
fn names(written: Option<Vec<String>>) -> Vec<String> {
    let plain = |name: String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
    };
    written.into_iter().flatten().map(plain).collect()
}

/// What is set and no launcher of plain processes can promise.
fn others(container: &SecurityContext, pod: &PodSecurityContext) -> Vec<String> {
    let confined = |kind: &str| kind != "Unconfined";
    let seccomp = container.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
    let app_armor = container.app_armor_profile.as_ref().or(pod.app_armor_profile.as_ref());
    let set = [
        ("seccompProfile", seccomp.is_some_and(|profile| confined(&profile.type_))),
        ("appArmorProfile", app_armor.is_some_and(|profile| confined(&profile.type_))),
        ("seLinuxOptions", container.se_linux_options.is_some() || pod.se_linux_options.is_some()),
        ("procMount", container.proc_mount.as_deref().is_some_and(|mount| mount != "Default")),
        ("sysctls", pod.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty())),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!("securityContext.{name}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_wins_over_the_pod_field_by_field() {
        let container =
            serde_json::from_value(json!({"runAsUser": 1, "capabilities": {"drop": ["all"], "add": ["CAP_NET_RAW"]}}));
        let pod = serde_json::from_value(json!({"runAsUser": 2, "runAsGroup": 3, "runAsNonRoot": true}));
        let plan = plan(Some(&container.unwrap()), Some(&pod.unwrap()));
        assert_eq!((plan.run_as_user, plan.run_as_group, plan.run_as_non_root), (Some(1), Some(3), true));
        assert_eq!(
            (plan.capabilities_drop, plan.capabilities_add),
            (vec!["ALL".to_owned()], vec!["NET_RAW".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_promised_is_listed_by_name() {
        let pod = serde_json::from_value(
            json!({"seccompProfile": {"type": "RuntimeDefault"}, "sysctls": [{"name": "a", "value": "b"}]}),
        );
        assert_eq!(
            plan(None, Some(&pod.unwrap())).others,
            ["securityContext.seccompProfile", "securityContext.sysctls"]
        );
    }
}
