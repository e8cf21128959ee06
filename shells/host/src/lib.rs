//! Reads and writes what a Linux machine tells about itself, below a root that is given to it.
//!
//! What it does not do: it decides nothing, and it starts nothing but `getent`.

mod addresses;
mod cgroups;
pub mod devices;
pub mod events;
pub mod kernel;
mod locks;
pub mod memory;
pub mod names;
mod sys;
pub mod users;
mod watches;

pub use addresses::default_addresses;
pub use cgroups::{Cgroup, CgroupError, CgroupLimits, CgroupUsage, Cgroups, Controller, Doors};
pub use locks::{Attempt, Credentials, LockError, LockHolder, Locks, MachineLock, Wish};
pub use sys::unread;
pub use watches::{Changes, Watches};
