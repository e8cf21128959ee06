//! Devices of this machine for pods: `outrigger devices agent`, `list`, `check`, `explain`.
//!
//! Read in this order: [`args`] is the command line; [`file`] is `devices.yaml`, [`settings`] reads it, [`gdp`] reads what
//! is written for the programs that this one replaces, [`place`] tells where in it something stands.

pub mod args;
pub mod file;
pub mod gdp;
pub mod place;
pub mod settings;
