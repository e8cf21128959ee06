//! The shapes of the documents that can be run: v1 Pod, `ConfigMap`, Secret, `List`, batch/v1 Job, as of Kubernetes 1.36.
//!
//! A test compares them with the `OpenAPI` document that the typed objects were made from, so that no field is forgotten.
//! When Kubernetes gains a field: add it here, as `Refused` unless something carries it out.

pub(crate) mod container;
pub(crate) mod pod;
pub(crate) mod volume;
pub(crate) mod workload;
