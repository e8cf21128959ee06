//! Tests and benchmarks on real parts, from the outside: they start the executable as a user does.
//!
//! A benchmark measures the program beside the one that a user would pick instead, in one run on the same machine, and prints a
//! ratio: these are figures to quote, never tests that fail.

pub mod bench;
pub mod claim;
pub mod cluster;
pub mod devices;
pub mod executable;
pub mod fixture;
pub mod golden;
pub mod groups;
pub mod node;
pub mod outrigger;
pub mod podman;
pub mod processes;
pub mod sample;
pub mod suite;
pub mod terminal;
