//! The shapes of whole documents: Pod, Job, `ConfigMap`, Secret and their metadata.

use super::super::shape::Kind::{
    Bytes, Flag, List, Map, Number32, Number64, Object, OneOf, Refused, SecretText, Text, Unread,
};
use super::super::shape::{Field, Shape, shapes};
use super::pod::{LABEL_SELECTOR, POD_SPEC};

const COUNT_FAILURES: &str = "leave it out: failures are counted by backoffLimit alone";

shapes! {
    POD "Pod" {
        apiVersion required: Text, kind required: Text, metadata required: Object(&OBJECT_META),
        spec required: Object(&POD_SPEC), status: Unread,
    }
    CONFIG_MAP "ConfigMap" {
        apiVersion required: Text, kind required: Text, metadata required: Object(&OBJECT_META),
        data: Map(&Text), binaryData: Map(&Bytes), immutable: Flag,
    }
    SECRET "Secret" {
        apiVersion required: Text, kind required: Text, metadata required: Object(&OBJECT_META),
        data: Map(&Bytes), stringData: Map(&SecretText), immutable: Flag, type: Text,
    }
    JOB "Job" {
        apiVersion required: Text, kind required: Text, metadata required: Object(&OBJECT_META),
        spec required: Object(&JOB_SPEC), status: Unread,
    }
    LIST "List" {
        apiVersion required: Text, kind required: Text, metadata: Unread, items: List(&Unread),
    }
    OBJECT_META "ObjectMeta" {
        name: Text, generateName: Text, namespace: Text, labels: Map(&Text), annotations: Map(&Text), uid: Text,
        generation: Number64, creationTimestamp: Unread, deletionTimestamp: Unread, deletionGracePeriodSeconds: Unread,
        finalizers: Unread, managedFields: Unread, ownerReferences: Unread, resourceVersion: Unread, selfLink: Unread,
    }
    JOB_SPEC "JobSpec" {
        template required: Object(&POD_TEMPLATE_SPEC), parallelism: Number32, completions: Number32,
        activeDeadlineSeconds: Number64, backoffLimit: Number32, suspend: Flag, ttlSecondsAfterFinished: Number32,
        completionMode: OneOf(&["NonIndexed", "Indexed"]), podReplacementPolicy: OneOf(&["TerminatingOrFailed", "Failed"]),
        selector: Object(&LABEL_SELECTOR), manualSelector: Flag,
        podFailurePolicy: Refused(COUNT_FAILURES), backoffLimitPerIndex: Refused(COUNT_FAILURES),
        maxFailedIndexes: Refused(COUNT_FAILURES),
        successPolicy: Refused("leave it out: the job succeeds when all its completions have"),
        managedBy: Refused("leave it out: no other controller looks after a job here"),
    }
    POD_TEMPLATE_SPEC "PodTemplateSpec" { metadata: Object(&OBJECT_META), spec required: Object(&POD_SPEC) }
}
