//! Manifests in files: from their text to pods and Jobs that are ready to be run, and what is wrong with them.
//!
//! ```text
//! files ──source──► checked objects with their places ──► Work: pods, Jobs, and what lies beside them
//! ```
//!
//! Read in this order: [`Work`] is what some files hold, and [`Place`] is where in them an object stands; [`given`] is
//! what a command line adds, [`Beside`] all that a pod's volumes and variables may refer to; [`token`] is about the
//! volume that only a cluster has. What can be refused before anything starts: [`refused`], of [`absent`] and [`resources`],
//! and [`ports`]. For people: [`words`] and [`outline`] say what a spec asks for, container by container ([`containers`]).
//!
//! What it does not do: what a field means and whether it is right is `pod-core`'s to know; here its faults get their
//! lines and columns. It runs nothing, and knows nothing of a pod's status.

mod source;
mod work;

mod beside;
pub mod given;
pub mod token;

pub mod absent;
pub mod ports;
pub mod refused;
pub mod resources;

pub mod containers;
pub mod outline;
pub mod words;

pub use beside::Beside;
pub use source::Place;
pub use work::{Files, Work};
