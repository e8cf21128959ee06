//! Why a device is not offered, in words an operator reads.

use std::fmt;

/// One reason. Its text is one line, without the device's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The system runs from it.
    System {
        /// Where it is mounted.
        target: String,
        /// The disk, partition or volume that is.
        on: String,
    },
    /// It, or a partition of it, is mounted.
    Mounted {
        /// Where.
        target: String,
        /// As what.
        file_system: String,
        /// The partition, where it is not the whole.
        on: Option<String>,
    },
    /// A file system of it is mounted in some mount namespace.
    MountedSomewhere {
        /// As what.
        file_system: String,
        /// The partition, where it is not the whole.
        on: Option<String>,
    },
    /// It, or a partition of it, is swap.
    Swap {
        /// The partition, where it is not the whole.
        on: Option<String>,
    },
    /// Something is stacked on it.
    Held {
        /// Names of what is.
        by: Vec<String>,
    },
    /// It has partitions, and whole disks are asked for.
    Partitioned {
        /// Their names.
        partitions: Vec<String>,
    },
    /// It carries a signature, and empty ones are asked for.
    Signature(String),
    /// It cannot be written to.
    ReadOnly,
    /// No medium is in it, or no file behind it.
    NoMedium,
    /// Somebody has opened it exclusively.
    Busy,
    /// A pod that another door of this machine serves has it.
    Elsewhere(String),
    /// Evidence is missing; this one.
    CannotVerify(String),
    /// Something of it could not be read.
    Unreadable(String),
    /// It is a path of a device that the kernel shows whole elsewhere.
    Hidden,
    /// It is named by the rule, but differs in something else.
    NotSelected {
        /// The rule's key.
        key: &'static str,
        /// What the device is.
        seen: String,
        /// What the rule wants.
        wanted: String,
    },
    /// Another device has its id.
    DuplicateId {
        /// Which device.
        of: String,
    },
    /// An earlier resource, or a claimed one, has the same device.
    AlsoMatched {
        /// Which resource.
        resource: String,
    },
    /// The kubelet would not take a longer list.
    ListFull,
    /// The resource that a match would make has a name that Kubernetes does not take.
    BadName(String),
    /// It is gone.
    Vanished,
    /// Another device is at its place.
    Replaced(String),
    /// Its driver says that it does not run.
    State(String),
    /// The system does not authorize it.
    Unauthorized,
    /// It is well only since a short time.
    Recovering,
    /// It came and went too often.
    Flapping,
}

/// Reasons as one line.
pub fn why(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Reason {
    /// The word for it in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::System { .. } => "system",
            Self::Mounted { .. } | Self::MountedSomewhere { .. } => "mounted",
            Self::Swap { .. } => "swap",
            Self::Held { .. } => "held",
            Self::Partitioned { .. } => "partitioned",
            Self::Signature(_) => "signature",
            Self::ReadOnly => "read_only",
            Self::NoMedium => "no_medium",
            Self::Busy => "busy",
            Self::Elsewhere(_) => "elsewhere",
            Self::CannotVerify(_) => "cannot_verify",
            Self::Unreadable(_) => "unreadable",
            Self::Hidden => "hidden",
            Self::NotSelected { .. } => "not_selected",
            Self::DuplicateId { .. } => "duplicate_id",
            Self::AlsoMatched { .. } => "also_matched",
            Self::ListFull => "list_full",
            Self::BadName(_) => "bad_name",
            Self::Vanished => "vanished",
            Self::Replaced(_) => "replaced",
            Self::State(_) => "state",
            Self::Unauthorized => "unauthorized",
            Self::Recovering => "recovering",
            Self::Flapping => "flapping",
        }
    }
}

/// ` on sda1`, where it is a part.
struct On<'r>(&'r Option<String>);

impl fmt::Display for On<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |part| write!(f, " on {part}"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { target, on } => write!(f, "system disk: {target} on {on}"),
            Self::Mounted { target, file_system, on } => write!(f, "mounted at {target} ({file_system}){}", On(on)),
            Self::MountedSomewhere { file_system, on } => {
                write!(f, "mounted somewhere, perhaps in a container ({file_system}){}", On(on))
            }
            Self::Swap { on } => write!(f, "swap{}", On(on)),
            Self::Held { by } => write!(f, "held by {}", by.join(", ")),
            Self::Partitioned { partitions } => write!(f, "partitioned: {}", partitions.join(", ")),
            Self::Signature(what) => write!(f, "not empty: it carries {what}"),
            Self::ReadOnly => f.write_str("read only"),
            Self::NoMedium => f.write_str("no medium"),
            Self::Busy => f.write_str("in use: a process of the host has opened it for itself"),
            Self::Elsewhere(who) => write!(f, "in use elsewhere: {who}"),
            Self::CannotVerify(what) => write!(f, "cannot verify: {what}"),
            Self::Unreadable(what) => write!(f, "cannot be read: {what}"),
            Self::Hidden => f.write_str("hidden by the kernel: a path of a multipath device"),
            Self::NotSelected { key, seen, wanted } => write!(f, "{key} is {seen}, wanted is {wanted}"),
            Self::DuplicateId { of } => write!(f, "duplicate id: {of} has the same"),
            Self::AlsoMatched { resource } => write!(f, "also matched by {resource}"),
            Self::ListFull => f.write_str("list full: the kubelet takes no list above 4 MiB"),
            Self::BadName(name) => write!(f, "its resource would be {name}, which is no name for one"),
            Self::Vanished => f.write_str("vanished"),
            Self::Replaced(what) => write!(f, "another device is at its place: {what}"),
            Self::State(state) => write!(f, "its driver says {state}"),
            Self::Unauthorized => f.write_str("not authorized by the system"),
            Self::Recovering => f.write_str("well again, but not long enough"),
            Self::Flapping => f.write_str("flapping"),
        }
    }
}
