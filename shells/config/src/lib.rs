//! Text to typed configuration: positions, all errors at once, the nearest known key, and a schema.
//!
//! In reading order: [`Fault`] is how everything here reports; [`Path`] names a value; [`read`] makes [`Document`]s of
//! YAML or JSON text and knows the place of every value; [`nearest`] finds what a misspelled key was meant to be.
//! For a process's own configuration: [`schema`] describes it, [`scalars`] lists its flags and variables, and
//! [`Layers`] makes the typed value of file, environment and flags. [`Duration`], [`ByteSize`], [`Address`] and
//! [`Verbatim`] are what people write in it. [`yaml()`] writes a value for people to read; [`listing`], [`count`] and
//! [`plain`] are for the sentences that tell them something.
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
mod sentence;

mod text_value;

mod address;
mod duration;
mod size;
mod verbatim;

mod schema;
mod setting;

mod check;
mod load;
mod typed;
mod write_yaml;

pub use address::{Address, NoAddress};
pub use document::{Document, MAX_DEPTH, MAX_EXPANSION, MAX_TEXT, Written, read};
pub use duration::{Duration, NoDuration};
pub use fault::{Fault, Faults, Position, Severity};
pub use load::Layers;
pub use nearest::nearest;
pub use path::{Path, Step};
pub use schema::schema;
pub use sentence::{count, listing, plain};
pub use setting::{Kind, Setting, scalars};
pub use size::{ByteSize, NoByteSize};
pub use verbatim::Verbatim;
pub use write_yaml::yaml;
