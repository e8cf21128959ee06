//! What a launcher is built of that starts its containers by way of [`HostLauncher`](crate::HostLauncher): Apptainer's
//! does, for a container of it is a program of this machine that makes one.
//!
//! Such a launcher gives [`HostLauncher::start_as`](crate::HostLauncher::start_as) a function that makes a [`Start`]: out
//! of the [`Pod`] that was prepared and the request it says what the agent outside keeps ([`Kept`]: the program, and the
//! mounts of its [`View`]) and, with [`Start::with_inside`], what a second agent does in the container ([`InsideTask`]).
//! The functions answer what of a manifest is the same under both launchers.

pub use crate::agent::DEFAULT_PATH;
pub use crate::agent::wire::{Abilities, Identity, InsideTask, MountTask, ProcessTask, View};
pub use crate::host::Start;
pub use crate::host::mounts::view;
pub use crate::host::pod::{Pod, memory_directory};
pub use crate::host::security::{CAPABILITIES, capability, identity};
pub use crate::host::spec::{Kept, cpus, marks, refused};
