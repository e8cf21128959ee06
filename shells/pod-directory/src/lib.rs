//! What a run of a pod leaves on disk, for the runner that writes it and for everyone who reads it.
//!
//! Read in this order: [`StateDirectory`] finds and makes runs ([`RunDirectory`], and [`OwnedRun`] for the one that
//! writes; what lies where is drawn in `directory.rs`); [`volumes`] lays out the volumes of a run; [`log`] writes the
//! containers' output and reads it back; [`changes`] tells when something in a directory may have changed.
//!
//! What it does not do: it decides nothing about a pod, and it starts and stops nothing.

pub mod changes;
mod directory;
pub mod log;
pub mod volumes;

pub use directory::{
    DirectoryError, End, Ending, FORMAT, JobSpec, JobStatusFile, KeepRules, Kind, Lock, NameError, ObjectName,
    OwnedRun, PodSpec, Pruned, RecordedGiven, RecordedNote, RunDirectory, RunnerIdentity, RunnerLife, StateDirectory,
    StatusFile, StopFile,
};
