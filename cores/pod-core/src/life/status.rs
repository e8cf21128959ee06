//! The `v1.PodStatus` that a kubelet of Kubernetes 1.36 would write (`pkg/kubelet/kubelet_pods.go`,
//! `generateAPIPodStatus`, `convertToAPIContainerStatuses`; `status/status_manager.go`, `normalizeStatus`).

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, PodIP, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::Ended;
use super::ending::Cause;
use super::machine::Prepare;
use super::phase::{Shown, View};
use super::start::DEADLINE;
use super::{LinuxUser, Machine};
use crate::plan::{ContainerName, QosClass, Role};

/// How a container last ended, for whoever must give an exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// Which container.
    pub container: ContainerName,
    /// What it is in its pod.
    pub role: Role,
    /// Its exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// The reason of `state.terminated`.
    pub reason: String,
    /// The message of `state.terminated`: for `StartError` the cause.
    pub message: String,
}

/// All termination messages of a pod share this many bytes (`container/runtime.go`, `MaxPodTerminationMessageLogLength`).
const MESSAGE_BYTES: usize = 12 * 1024;

impl Machine {
    /// The status now.
    pub fn status(&self) -> PodStatus {
        match self.ending.as_ref().map(|ending| &ending.cause) {
            Some(Cause::Rejected { reason, message }) => self.rejected_status(reason, message),
            _ => self.full_status(),
        }
    }

    /// `kubelet.go`, `rejectPod`: nothing is said of containers and conditions.
    fn rejected_status(&self, reason: &str, message: &str) -> PodStatus {
        PodStatus {
            phase: Some(self.phase(&self.open_views()).name().to_owned()),
            reason: some(reason),
            message: Some(format!("Pod was rejected: {message}")),
            observed_generation: self.plan.generation,
            qos_class: Some(qos_name(self.plan.qos_class).to_owned()),
            start_time: Some(Time(whole_seconds(self.began))),
            ..PodStatus::default()
        }
    }

    fn full_status(&self) -> PodStatus {
        let views = self.views();
        let (reason, message) = self.pod_reason();
        let phase = self.phase(&views);
        let (allocated_resources, resources) = self.pod_resources(phase);
        let (pod, host) = match &self.prepare {
            Prepare::Done(addresses) => (addresses.pod.as_slice(), addresses.host.as_slice()),
            Prepare::Due(_) | Prepare::Asked => (&[][..], &[][..]),
        };
        let (pod, host): (Vec<_>, Vec<_>) =
            (pod.iter().map(ToString::to_string).collect(), host.iter().map(ToString::to_string).collect());
        let mut main = self.container_statuses(&views, |role| role == Role::Main);
        if let Some(statuses) = &mut main {
            statuses.sort_by(|a, b| a.name.cmp(&b.name));
        }
        PodStatus {
            phase: Some(phase.name().to_owned()),
            reason,
            message,
            allocated_resources,
            resources: Some(resources),
            conditions: Some(self.pod_conditions()),
            container_statuses: main,
            init_container_statuses: self.container_statuses(&views, |role| role != Role::Main),
            observed_generation: self.plan.generation,
            host_ip: host.first().cloned(),
            host_ips: list(host.into_iter().map(|ip| HostIP { ip }).collect()),
            pod_ip: pod.first().cloned(),
            pod_ips: list(pod.into_iter().map(|ip| PodIP { ip }).collect()),
            qos_class: Some(qos_name(self.plan.qos_class).to_owned()),
            start_time: Some(Time(whole_seconds(self.began))),
            ..PodStatus::default()
        }
    }

    /// How the containers of this pod last ended; only those that did.
    pub fn last_exits(&self) -> Vec<LastExit> {
        let all = self.plan.containers.iter().zip(&self.containers).zip(self.views());
        let exits = all.filter(|((_, container), _)| container.created).filter_map(|((plan, _), view)| {
            let ended = view.end().or(view.last)?;
            Some(LastExit {
                container: plan.name.clone(),
                role: plan.role,
                code: ended.code,
                reason: ended.reason.clone(),
                message: ended.message.clone(),
            })
        });
        exits.collect()
    }

    /// Whether `activeDeadlineSeconds` ended the pod.
    pub fn deadline_exceeded(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.cause == Cause::Deadline)
    }

    /// `status.reason` and `status.message`, which come with the final phase.
    fn pod_reason(&self) -> (Option<String>, Option<String>) {
        match self.ending.as_ref().filter(|_| self.last.is_some()).map(|ending| &ending.cause) {
            Some(Cause::Deadline) => (Some("DeadlineExceeded".to_owned()), Some(DEADLINE.to_owned())),
            Some(Cause::Evicted { reason, message }) => (Some(reason.clone()), Some(message.clone())),
            Some(Cause::Finished | Cause::Deleted | Cause::Rejected { .. }) | None => (None, None),
        }
    }

    fn container_statuses(&self, views: &[View], which: impl Fn(Role) -> bool) -> Option<Vec<ContainerStatus>> {
        let all = views.iter().enumerate().filter(|(i, _)| which(self.container_plan(*i).role));
        list(all.map(|(i, view)| self.container_status(i, view)).collect())
    }

    fn container_status(&self, i: usize, view: &View) -> ContainerStatus {
        let (container, plan) = (&self.containers[i], self.container_plan(i));
        let spec = self.spec(&plan.name.0);
        let (started, ready) = match &view.shown {
            Shown::Running { started, ready, .. } => (*started, *ready),
            Shown::Ended(ended) => (false, plan.role == Role::Init && ended.code == 0),
            Shown::Waiting(_) => (false, false),
        };
        let known = container.ended.is_some() || matches!(view.shown, Shown::Running { .. });
        ContainerStatus {
            name: plan.name.0.clone(),
            image: plan.image.clone(),
            image_id: if known { container.image_id.clone() } else { String::new() },
            container_id: some(&container.id),
            ready,
            started: Some(started),
            restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
            state: Some(self.state(&view.shown)),
            last_state: view.last.map(|ended| self.state(&Shown::Ended(Cow::Borrowed(ended)))),
            resources: spec.filter(|_| known).map(|spec| spec.resources.clone().unwrap_or_default()),
            allocated_resources: spec
                .filter(|_| known)
                .and_then(|spec| spec.resources.as_ref().and_then(|resources| resources.requests.clone())),
            volume_mounts: spec.and_then(mounts),
            user: container.user.as_ref().filter(|_| known).map(shown_user),
            ..ContainerStatus::default()
        }
    }

    fn state(&self, shown: &Shown) -> ContainerState {
        match shown {
            Shown::Waiting(why) => ContainerState {
                waiting: Some(ContainerStateWaiting { reason: some(&why.reason), message: some(&why.message) }),
                ..ContainerState::default()
            },
            Shown::Running { since, .. } => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(whole_seconds(*since))) }),
                ..ContainerState::default()
            },
            Shown::Ended(ended) => {
                ContainerState { terminated: Some(self.terminated(ended)), ..ContainerState::default() }
            }
        }
    }

    /// A kubelet never fills `signal`: the code says it.
    fn terminated(&self, ended: &Ended) -> ContainerStateTerminated {
        let share = MESSAGE_BYTES / self.containers.len().max(1);
        let mut cut = ended.message.len().min(share);
        while !ended.message.is_char_boundary(cut) {
            cut -= 1;
        }
        ContainerStateTerminated {
            exit_code: ended.code,
            reason: some(&ended.reason),
            message: some(&ended.message[..cut]),
            started_at: ended.started_at.map(|at| Time(whole_seconds(at))),
            finished_at: ended.finished_at.map(|at| Time(whole_seconds(at))),
            container_id: some(&ended.id),
            signal: None,
        }
    }

    fn spec(&self, name: &str) -> Option<&Spec> {
        let spec = self.plan.pod.spec.as_ref()?;
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.find(|container| container.name == name)
    }
}

/// Times in a status have no fraction (`metav1.Time`).
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn qos_name(class: QosClass) -> &'static str {
    match class {
        QosClass::Guaranteed => "Guaranteed",
        QosClass::Burstable => "Burstable",
        QosClass::BestEffort => "BestEffort",
    }
}

fn shown_user(user: &LinuxUser) -> ContainerUser {
    let groups: Vec<i64> = user.groups.iter().copied().map(i64::from).collect();
    let (uid, gid) = (user.uid.into(), user.gid.into());
    ContainerUser { linux: Some(LinuxContainerUser { uid, gid, supplemental_groups: list(groups) }) }
}

/// `status.containerStatuses[].volumeMounts`; no launcher of ours makes mounts below a read-only one read-only too.
fn mounts(spec: &Spec) -> Option<Vec<VolumeMountStatus>> {
    let all = spec.volume_mounts.iter().flatten().map(|mount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
            volume_status: None,
        }
    });
    list(all.collect())
}
