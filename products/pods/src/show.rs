//! How things look: objects as JSON and YAML, a pod in one line.

pub mod objects;
pub mod summary;
