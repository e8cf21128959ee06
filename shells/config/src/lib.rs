//! Text to typed configuration: positions, all errors at once, the nearest known key, and a schema.
//!
//! In reading order: [`Fault`] is how everything here reports; [`Path`] names a value; [`read`] makes [`Document`]s of
//! YAML or JSON text and knows the place of every value; [`nearest`] finds what a misspelled key was meant to be.
//!
//! This crate opens no files and reads no process environment: both are handed to it.

mod fault;
mod path;

mod compose;
mod document;
mod json;
mod scalar;
mod text;
mod yaml;

mod nearest;

pub use document::{Document, MAX_DEPTH, MAX_EXPANSION, MAX_TEXT, Written, read};
pub use fault::{Fault, Faults, Position, Severity};
pub use nearest::nearest;
pub use path::{Path, Step};
