//! The foreign dialect: files, `--device` values, flags and variables as the generic-device-plugin reads them, and the
//! fixed profile of the simple-device-plugin.
//!
//! `dialect` tells whether a document is one of theirs, `read` reads it, `command` is the command line under their name,
//! `glog` that of the simple-device-plugin.

pub mod command;
pub mod dialect;
pub mod glog;
pub mod read;
