//! What a pod means: from a `v1.Pod` to a plan, and from events to the pod's status.
//!
//! This core decides and touches nothing. It has no clock, no files, no environment and no runtime: `now` is a
//! parameter, and everything that must be done comes out as a value. Kubernetes types are used as values; the rules are
//! those of the kubelet of Kubernetes 1.36, cited by file and function where each is written.
//!
//! Read in this order: [`check`] finds all faults of a manifest, [`plan`] says what a pod wants, [`mod@env`] and
//! [`files`] say what its containers see, [`life`] is the pod's life as a state machine, [`job`] says which pods a
//! Job starts and stops, [`claim`] is what a provider hands to a pod.

pub mod check;
pub mod claim;
pub mod env;
pub mod fault;
pub mod files;
pub mod job;
pub mod life;
pub mod plan;
pub mod quantity;
