//! From a typed Job to its plan, and from the plan to its pods.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The annotation and label of the completion index (`JobCompletionIndexAnnotation`).
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The longest beginning of a generated name (`MaxGeneratedNameLength` in `apiserver/pkg/storage/names`).
const LONGEST_PREFIX: usize = 58;

/// A Job as it is to be run, with the defaults of `pkg/apis/batch/v1/defaults.go`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// The manifest, with namespace and uid set. Its status is ignored.
    pub job: Job,
    /// `metadata.namespace`, `default` where the manifest has none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `completions`; `None` where the first success is enough.
    pub completions: Option<u32>,
    /// `parallelism`.
    pub parallelism: u32,
    /// `backoffLimit`.
    pub backoff_limit: u32,
    /// `activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
    /// `completionMode: Indexed`.
    pub indexed: bool,
    /// `suspend`.
    pub suspended: bool,
    /// `podReplacementPolicy: Failed`: a pod that is ending is replaced only when it has ended.
    pub replaces_only_ended: bool,
    /// The pods' `restartPolicy` is `OnFailure`.
    pub restarts_on_failure: bool,
    template: PodTemplateSpec,
}

impl JobPlan {
    /// Plans a Job. `uid` becomes its identity where the manifest has none. It expects a Job that passed the check.
    pub fn new(mut job: Job, uid: &str) -> Self {
        let namespace = job.metadata.namespace.get_or_insert_with(|| "default".to_owned()).clone();
        let uid = job.metadata.uid.get_or_insert_with(|| uid.to_owned()).clone();
        let name = job.metadata.name.clone().unwrap_or_default();
        job.status = None;
        let spec = job.spec.clone().unwrap_or_default();
        let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
        let completions = match (spec.completions, spec.parallelism) {
            (None, None) => Some(1),
            (completions, _) => count(completions),
        };
        let deadline = spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            completions,
            parallelism: count(spec.parallelism).unwrap_or(1),
            backoff_limit: count(spec.backoff_limit).unwrap_or(6),
            active_deadline: deadline.map(Duration::from_secs),
            indexed: spec.completion_mode.as_deref() == Some("Indexed"),
            suspended: spec.suspend == Some(true),
            replaces_only_ended: spec.pod_replacement_policy.as_deref() == Some("Failed"),
            restarts_on_failure: spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref())
                == Some("OnFailure"),
            template: spec.template,
            job,
            namespace,
            name,
            uid,
        }
    }

    /// A pod of this Job: named `job-SUFFIX` or `job-INDEX-SUFFIX`, owned and labeled as the controller does
    /// (`manageJob`; `generateSelector` in `pkg/registry/batch/job/strategy.go`). `suffix` is five random letters.
    pub fn pod(&self, index: Option<u32>, suffix: &str) -> Pod {
        let mut metadata = self.template.metadata.clone().unwrap_or_default();
        let mut spec = self.template.spec.clone();
        let middle = index.map_or_else(|| "-".to_owned(), |index| format!("-{index}-"));
        let kept = LONGEST_PREFIX.saturating_sub(middle.len());
        let prefix = format!("{}{middle}", self.name.get(..kept).unwrap_or(&self.name));
        metadata.name = Some(format!("{prefix}{suffix}"));
        metadata.generate_name = Some(prefix);
        metadata.namespace = Some(self.namespace.clone());
        metadata.owner_references = Some(vec![self.owner()]);
        let labels = metadata.labels.get_or_insert_default();
        for (key, value) in [
            ("controller-uid", &self.uid),
            ("batch.kubernetes.io/controller-uid", &self.uid),
            ("job-name", &self.name),
            ("batch.kubernetes.io/job-name", &self.name),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
        if let Some(index) = index {
            labels.insert(INDEX.to_owned(), index.to_string());
            metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
            if let Some(spec) = &mut spec {
                spec.hostname = Some(format!("{}-{index}", self.name));
                spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(tell_index);
            }
        }
        Pod { metadata, spec, status: None }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// Gives a container its index (`addCompletionIndexEnvVariable`).
fn tell_index(container: &mut Container) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let env = container.env.get_or_insert_default();
    if env.iter().all(|variable| variable.name != NAME) {
        let field_path = format!("metadata.labels['{INDEX}']");
        let field_ref = Some(ObjectFieldSelector { api_version: None, field_path });
        let value_from = Some(EnvVarSource { field_ref, ..EnvVarSource::default() });
        env.push(EnvVar { name: NAME.to_owned(), value: None, value_from });
    }
}
