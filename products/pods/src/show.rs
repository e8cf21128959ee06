//! How things look: tables, objects as JSON and YAML, and where they are written.

pub mod objects;
pub mod out;
pub mod plan;
pub mod spec;
pub mod summary;
pub mod table;
pub mod terminal;
