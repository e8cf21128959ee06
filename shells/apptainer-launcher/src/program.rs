//! The installed program: which one it is, and whether it can be used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An Apptainer or Singularity that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it calls itself: `apptainer version 1.4.5`.
    pub version: String,
}

/// Why an installed program cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be used: {why}", path = path.display())]
pub struct Unusable {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// The least versions that know every option we use (`--no-eval`, `--no-mount bind-paths`).
const LEAST: [(&str, Version); 2] = [("apptainer", Version(1, 1)), ("singularity", Version(3, 10))];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Program {
    /// Asks the program at this path for its version, which takes some milliseconds.
    pub fn at(path: &Path) -> Result<Self, Unusable> {
        let unusable = |why: String| Unusable { path: path.to_owned(), why };
        let output = Command::new(path).arg("--version").output();
        let output = output.map_err(|error| unusable(format!("it does not start: {error}")))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            return Err(unusable(format!("it does not tell its version ({})", output.status)));
        }
        judge(&version).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), version })
    }
}

/// Whether the program is new enough, from a line such as `singularity-ce version 3.11.0-1`.
fn judge(text: &str) -> Result<(), String> {
    let unknown = || format!("it says \"{text}\", which is no version of Apptainer or Singularity");
    let (name, number) = text.split_once(" version ").ok_or_else(unknown)?;
    let mut parts = number.split(['.', '-', '+', '~', '_']).map(|part| part.parse().unwrap_or(0));
    let version = Version(parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (_, least) = LEAST.iter().find(|(known, _)| name.starts_with(known)).ok_or_else(unknown)?;
    if version < *least {
        return Err(format!("it is {text}; {least} is the oldest that can be used"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_program() {
        for good in ["apptainer version 1.4.5-2", "singularity-ce version 3.11.0", "apptainer version 1.10.0"] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        assert!(judge("apptainer version 1.0.3").unwrap_err().contains("1.1 is the oldest"));
        assert!(judge("singularity version 3.8.7").unwrap_err().contains("3.10 is the oldest"));
        assert!(judge("hello").unwrap_err().contains("no version"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Program::at(Path::new("/no/such")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such cannot be used: it does not start"), "{error}");
    }
}
