//! Names that become parts of a path: checked once, so that none can lead out of its directory.

use std::fmt;
use std::str::FromStr;

/// What a directory is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A Job.
    Job,
}

impl Kind {
    /// The folder of all of them below the state directory.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Job => "jobs",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Job => "job",
        })
    }
}

/// Namespace and name of a pod or Job. Both are safe as one part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    namespace: String,
    name: String,
}

impl ObjectName {
    /// Checks both parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Result<Self, NameError> {
        let (namespace, name) = (namespace.into(), name.into());
        part("namespace", &namespace)?;
        part("name", &name)?;
        Ok(Self { namespace, name })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ObjectName {
    /// `NAMESPACE/NAME`; the namespace `default` is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == "default" {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    /// `NAME` (in `default`) or `NAMESPACE/NAME`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Self::new(namespace, name)
    }
}

/// A name that cannot be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {why}")]
pub struct NameError {
    /// What the name is of: `namespace`, `container`, `volume`, ….
    pub what: &'static str,
    /// The name.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Checks that `text` is safe as one part of a path and no file of ours (which begin with a dot or are never names).
pub(crate) fn part<'a>(what: &'static str, text: &'a str) -> Result<&'a str, NameError> {
    let why = if text.is_empty() {
        "is empty"
    } else if text.len() > 253 {
        "is longer than 253 bytes"
    } else if text.starts_with('.') {
        "begins with a dot"
    } else if text.bytes().any(|byte| byte == b'/' || byte == 0) {
        "has a slash or a zero byte"
    } else {
        return Ok(text);
    };
    let text = text.chars().take(80).collect();
    Err(NameError { what, text, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", &"x".repeat(254)] {
            assert!(part("name", bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(part("name", "web-1.example"), Ok("web-1.example"));
    }

    #[test]
    fn a_name_is_read_with_or_without_a_namespace() {
        let name: ObjectName = "web".parse().unwrap();
        assert_eq!((name.namespace(), name.to_string().as_str()), ("default", "web"));
        let name: ObjectName = "lab/web".parse().unwrap();
        assert_eq!((name.namespace(), name.to_string().as_str()), ("lab", "lab/web"));
        assert_eq!("lab/..".parse::<ObjectName>().unwrap_err().to_string(), "name \"..\" begins with a dot");
    }
}
