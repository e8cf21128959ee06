//! The shape of a pod's specification, without its containers and volumes.

use super::super::shape::Kind::{Amount, Flag, List, Map, Number32, Number64, Object, OneOf, Refused, Text, Unread};
use super::super::shape::{Field, Shape, shapes};
use super::container::{CONTAINER, RESOURCE_REQUIREMENTS};
use super::volume::VOLUME;

pub(crate) const NO_WINDOWS: &str = "leave it out: pods run on Linux here";
pub(crate) const NO_CLAIMS: &str =
    "leave it out and ask for the device by a resource name in resources.limits, or mount it with a hostPath volume";
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

shapes! {
    POD_SPEC "PodSpec" {
        containers required: List(&Object(&CONTAINER)), initContainers: List(&Object(&CONTAINER)),
        volumes: List(&Object(&VOLUME)), restartPolicy: OneOf(&["Always", "OnFailure", "Never"]),
        terminationGracePeriodSeconds: Number64, activeDeadlineSeconds: Number64,
        shareProcessNamespace: Flag, hostNetwork: Flag, hostPID: Flag, hostIPC: Flag, hostUsers: Flag,
        hostname: Text, hostnameOverride: Text, subdomain: Text, setHostnameAsFQDN: Flag,
        hostAliases: List(&Object(&HOST_ALIAS)), dnsConfig: Object(&POD_DNS_CONFIG),
        dnsPolicy: OneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
        securityContext: Object(&POD_SECURITY_CONTEXT), resources: Object(&RESOURCE_REQUIREMENTS), overhead: Map(&Amount),
        os: Object(&POD_OS), nodeName: Text, serviceAccount: Text, serviceAccountName: Text,
        automountServiceAccountToken: Flag, enableServiceLinks: Flag,
        imagePullSecrets: List(&Object(&LOCAL_OBJECT_REFERENCE)), affinity: Object(&AFFINITY), nodeSelector: Map(&Text),
        tolerations: List(&Object(&TOLERATION)), topologySpreadConstraints: List(&Object(&TOPOLOGY_SPREAD_CONSTRAINT)),
        schedulerName: Text, schedulingGates: List(&Object(&POD_SCHEDULING_GATE)), schedulingGroup: Unread,
        priority: Number32, priorityClassName: Text, preemptionPolicy: OneOf(&["PreemptLowerPriority", "Never"]),
        readinessGates: List(&Object(&POD_READINESS_GATE)), runtimeClassName: Text,
        ephemeralContainers: Refused("leave them out and run commands in the running container with exec"),
        resourceClaims: Refused(NO_CLAIMS),
    }
    POD_SECURITY_CONTEXT "PodSecurityContext" {
        runAsUser: Number64, runAsGroup: Number64, runAsNonRoot: Flag, fsGroup: Number64,
        fsGroupChangePolicy: OneOf(&["OnRootMismatch", "Always"]), supplementalGroups: List(&Number64),
        supplementalGroupsPolicy: OneOf(&["Merge", "Strict"]), sysctls: List(&Object(&SYSCTL)),
        seccompProfile: Object(&SECCOMP_PROFILE), appArmorProfile: Object(&APP_ARMOR_PROFILE),
        seLinuxOptions: Object(&SE_LINUX_OPTIONS), seLinuxChangePolicy: OneOf(&["Recursive", "MountOption"]),
        windowsOptions: Refused(NO_WINDOWS),
    }
    SYSCTL "Sysctl" { name required: Text, value: Text }
    SECCOMP_PROFILE "SeccompProfile" { type required: OneOf(PROFILES), localhostProfile: Text }
    APP_ARMOR_PROFILE "AppArmorProfile" { type required: OneOf(PROFILES), localhostProfile: Text }
    SE_LINUX_OPTIONS "SELinuxOptions" { user: Text, role: Text, type: Text, level: Text }
    POD_OS "PodOS" { name required: OneOf(&["linux"]) }
    HOST_ALIAS "HostAlias" { ip required: Text, hostnames: List(&Text) }
    POD_DNS_CONFIG "PodDNSConfig" {
        nameservers: List(&Text), searches: List(&Text), options: List(&Object(&POD_DNS_CONFIG_OPTION)),
    }
    POD_DNS_CONFIG_OPTION "PodDNSConfigOption" { name required: Text, value: Text }
    LOCAL_OBJECT_REFERENCE "LocalObjectReference" { name: Text }
    POD_SCHEDULING_GATE "PodSchedulingGate" { name required: Text }
    POD_READINESS_GATE "PodReadinessGate" { conditionType required: Text }

    // Where a cluster would put the pod: accepted, of no effect here.
    AFFINITY "Affinity" {
        nodeAffinity: Object(&NODE_AFFINITY), podAffinity: Object(&POD_AFFINITY), podAntiAffinity: Object(&POD_AFFINITY),
    }
    NODE_AFFINITY "NodeAffinity" {
        requiredDuringSchedulingIgnoredDuringExecution: Object(&NODE_SELECTOR),
        preferredDuringSchedulingIgnoredDuringExecution: List(&Object(&PREFERRED_SCHEDULING_TERM)),
    }
    NODE_SELECTOR "NodeSelector" { nodeSelectorTerms required: List(&Object(&NODE_SELECTOR_TERM)) }
    NODE_SELECTOR_TERM "NodeSelectorTerm" {
        matchExpressions: List(&Object(&NODE_SELECTOR_REQUIREMENT)), matchFields: List(&Object(&NODE_SELECTOR_REQUIREMENT)),
    }
    NODE_SELECTOR_REQUIREMENT "NodeSelectorRequirement" {
        key required: Text, operator required: OneOf(&["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
        values: List(&Text),
    }
    PREFERRED_SCHEDULING_TERM "PreferredSchedulingTerm" {
        weight required: Number32, preference required: Object(&NODE_SELECTOR_TERM),
    }
    POD_AFFINITY "PodAffinity" {
        requiredDuringSchedulingIgnoredDuringExecution: List(&Object(&POD_AFFINITY_TERM)),
        preferredDuringSchedulingIgnoredDuringExecution: List(&Object(&WEIGHTED_POD_AFFINITY_TERM)),
    }
    POD_AFFINITY_TERM "PodAffinityTerm" {
        topologyKey required: Text, labelSelector: Object(&LABEL_SELECTOR), namespaceSelector: Object(&LABEL_SELECTOR),
        namespaces: List(&Text), matchLabelKeys: List(&Text), mismatchLabelKeys: List(&Text),
    }
    WEIGHTED_POD_AFFINITY_TERM "WeightedPodAffinityTerm" {
        weight required: Number32, podAffinityTerm required: Object(&POD_AFFINITY_TERM),
    }
    LABEL_SELECTOR "LabelSelector" {
        matchLabels: Map(&Text), matchExpressions: List(&Object(&LABEL_SELECTOR_REQUIREMENT)),
    }
    LABEL_SELECTOR_REQUIREMENT "LabelSelectorRequirement" {
        key required: Text, operator required: OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]), values: List(&Text),
    }
    TOLERATION "Toleration" {
        key: Text, operator: OneOf(&["Exists", "Equal", "Lt", "Gt"]), value: Text,
        effect: OneOf(&["NoSchedule", "PreferNoSchedule", "NoExecute"]), tolerationSeconds: Number64,
    }
    TOPOLOGY_SPREAD_CONSTRAINT "TopologySpreadConstraint" {
        maxSkew required: Number32, topologyKey required: Text,
        whenUnsatisfiable required: OneOf(&["DoNotSchedule", "ScheduleAnyway"]), labelSelector: Object(&LABEL_SELECTOR),
        matchLabelKeys: List(&Text), minDomains: Number32, nodeAffinityPolicy: OneOf(&["Honor", "Ignore"]),
        nodeTaintsPolicy: OneOf(&["Honor", "Ignore"]),
    }
}
