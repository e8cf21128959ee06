//! A resource as a product brings it: its name, its socket, its list, and who answers for it.
//!
//! What it does not do: it knows no directory. Whether a socket's path is short enough is [`Place`](crate::Place)'s to say.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use crate::answers::Answers;
use crate::list::DeviceList;

/// The longest name part of a resource, in bytes: Kubernetes' qualified names.
const MAX_NAME: usize = 63;

/// The longest prefix: a DNS subdomain of 253 bytes less `requests.`, which quotas put before it.
const MAX_PREFIX: usize = 253 - "requests.".len();

/// A resource that is to be served.
#[derive(Clone)]
pub struct Resource {
    /// As pods ask for it.
    pub name: ResourceName,
    /// The socket that it is served at.
    pub socket: SocketName,
    /// Whether the kubelet shall call [`Answers::pre_start`].
    pub pre_start: bool,
    /// Whether the kubelet shall call [`Answers::prefer`].
    pub preferred: bool,
    /// What is listed. The present value is sent to every stream at once, and each later one; many in a row become few
    /// messages, and the last is always sent. Where the sender is dropped, the last list stays.
    pub list: watch::Receiver<Arc<DeviceList>>,
    /// Who answers.
    pub answers: Arc<dyn Answers>,
}

impl fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, socket, pre_start, preferred, list: _, answers: _ } = self;
        let mut fields = formatter.debug_struct("Resource");
        fields.field("name", name).field("socket", socket).field("pre_start", pre_start).field("preferred", preferred);
        fields.finish_non_exhaustive()
    }
}

/// The file name of a resource's socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SocketName {
    /// `or-<hash of the resource>-<instance>.sock`, 26 bytes: another for each instance, so that two may overlap.
    #[default]
    Derived,
    /// This name, as an older program had it. Two instances cannot overlap: the second waits until the first has ended.
    Fixed(String),
}

/// The name of an extended resource: `vendor.example/disk`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

/// Why a text is no name of a resource that a kubelet accepts.
///
/// Source: Kubernetes, `pkg/apis/core/v1/helper`, `IsExtendedResourceName`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// There is no vendor.
    #[error("\"{name}\" has no prefix; write it as vendor.example/{name}")]
    NoPrefix {
        /// The text.
        name: String,
    },
    /// The name is one of Kubernetes' own, or of quotas.
    #[error("\"{name}\" is reserved for Kubernetes; use a prefix of your own")]
    Reserved {
        /// The text.
        name: String,
    },
    /// The prefix is no DNS subdomain, or too long.
    #[error(
        "the prefix of \"{name}\" is no DNS subdomain of at most {MAX_PREFIX} bytes (lower-case letters, digits, '-' and '.')"
    )]
    Prefix {
        /// The text.
        name: String,
    },
    /// The part after the slash is wrong, or too long.
    #[error(
        "the part of \"{name}\" after the slash is not 1 to {MAX_NAME} letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    )]
    Name {
        /// The text.
        name: String,
    },
}

impl ResourceName {
    /// Takes a text as the name of a resource, where a kubelet would.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let own = || name.to_owned();
        let Some((prefix, part)) = name.split_once('/') else {
            return Err(InvalidName::NoPrefix { name: own() });
        };
        if name.contains("kubernetes.io/") || name.starts_with("requests.") {
            return Err(InvalidName::Reserved { name: own() });
        }
        if prefix.len() > MAX_PREFIX || !prefix.split('.').all(is_label) {
            return Err(InvalidName::Prefix { name: own() });
        }
        let ends = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_whole = ends(part.bytes().next()) && ends(part.bytes().last()) && part.bytes().all(is_inner);
        if part.len() > MAX_NAME || !is_whole {
            return Err(InvalidName::Name { name: own() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text is one label of a DNS subdomain.
fn is_label(label: &str) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
        && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
}

impl fmt::Display for ResourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::str::FromStr for ResourceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_kubelet_takes() {
        let longest = format!("{}/{}", "a.".repeat(121) + "aa", "b".repeat(63));
        for name in ["kubedev.org/sata", "v.io/A", "v/a", "squat.ai/video_0.x-y", &longest] {
            assert_eq!(ResourceName::new(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn names_that_a_kubelet_refuses() {
        let own = |name: &str| name.to_owned();
        let long_prefix = format!("{}/b", "a.".repeat(122) + "a");
        let long_name = format!("v.io/{}", "b".repeat(64));
        for (name, expected) in [
            ("sata", InvalidName::NoPrefix { name: own("sata") }),
            ("kubernetes.io/sata", InvalidName::Reserved { name: own("kubernetes.io/sata") }),
            ("x.kubernetes.io/sata", InvalidName::Reserved { name: own("x.kubernetes.io/sata") }),
            ("requests.v.io/sata", InvalidName::Reserved { name: own("requests.v.io/sata") }),
            ("V.io/sata", InvalidName::Prefix { name: own("V.io/sata") }),
            ("v..io/sata", InvalidName::Prefix { name: own("v..io/sata") }),
            ("/sata", InvalidName::Prefix { name: own("/sata") }),
            (&long_prefix, InvalidName::Prefix { name: own(&long_prefix) }),
            ("v.io/", InvalidName::Name { name: own("v.io/") }),
            ("v.io/-a", InvalidName::Name { name: own("v.io/-a") }),
            ("v.io/a/b", InvalidName::Name { name: own("v.io/a/b") }),
            ("v.io/ä", InvalidName::Name { name: own("v.io/ä") }),
            (&long_name, InvalidName::Name { name: own(&long_name) }),
        ] {
            assert_eq!(ResourceName::new(name), Err(expected), "{name}");
        }
    }
}
