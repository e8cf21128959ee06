//! From the command line's manifests to what is to run.

pub mod kinds;
pub mod source;
