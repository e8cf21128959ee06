//! The kernel that runs, and what to say where it is too old for a call.
//!
//! Whether a call is there is found by trying it: vendors carry calls back, and sandboxes refuse calls that the kernel has. The
//! version is for people only.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Below this the host launcher cannot hold a process (`pidfd_open`); `docs/decisions/0003-kernel-floor.md`.
pub const PROCESSES: Version = Version { major: 5, minor: 3 };

/// Below this nothing can be mounted for a container (`mount_setattr`); the same page.
pub const MOUNTS: Version = Version { major: 5, minor: 12 };

/// A version of Linux: `5.12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Version {
    /// That of a release: 4.18 of `4.18.0-553.el8_10.x86_64`.
    pub fn of(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The release of the kernel that runs, as `uname -r` prints it.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The same error; one that says that the kernel has no such call (`ENOSYS`) tells the kernel that runs and what is needed.
pub fn explained(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    let is_missing = error.raw_os_error() == Some(Errno::NOSYS.raw_os_error());
    if is_missing { io::Error::new(io::ErrorKind::Unsupported, missing(&release())) } else { error }
}

fn missing(release: &str) -> String {
    if Version::of(release).is_some_and(|running| running >= MOUNTS) {
        return format!("a sandbox around this process refuses a call that Linux {release} has");
    }
    format!(
        "the kernel lacks a call: this is Linux {release}, pods need Linux {PROCESSES} and their volumes Linux {MOUNTS}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_vendors_call_them() {
        for (release, version) in [
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("6.18.44-fc", Some((6, 18))),
            ("5.3-rc1", Some((5, 3))),
            ("6", None),
            ("next", None),
        ] {
            assert_eq!(Version::of(release), version.map(|(major, minor)| Version { major, minor }), "{release}");
        }
        assert!(Version::of("5.10.0").unwrap() < MOUNTS && Version::of("6.1.0").unwrap() > MOUNTS);
        assert!(Version::of(&release()).is_some());
    }

    #[test]
    fn a_call_that_is_not_there_is_told_with_the_kernel_that_runs_and_the_floor() {
        assert_eq!(
            missing("4.18.0-553.el8"),
            "the kernel lacks a call: this is Linux 4.18.0-553.el8, pods need Linux 5.3 and their volumes Linux 5.12"
        );
        assert!(missing("6.1.0").starts_with("a sandbox around this process refuses a call that Linux 6.1.0 has"));
        assert_eq!(explained(Errno::SRCH).raw_os_error(), Some(3));
        assert!(explained(Errno::NOSYS).to_string().contains(&release()));
    }
}
