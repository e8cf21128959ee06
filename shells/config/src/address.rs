//! Addresses as they stand in configuration: `host:port` or `unix:///path`. Nothing here resolves names.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::text_value::text_value;

/// The value of `format` in the schema.
pub(crate) const FORMAT: &str = "outrigger-address";

/// Where something listens, or is reached.
///
/// ```
/// use outrigger_config::Address;
///
/// let address: Address = "127.0.0.1:9410".parse().unwrap();
/// assert_eq!(address, Address::Tcp { host: "127.0.0.1".to_owned(), port: 9410 });
/// assert_eq!("unix:///run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
/// assert_eq!("[::1]:80".parse::<Address>().unwrap().to_string(), "[::1]:80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a port.
    Tcp {
        /// A name or an IP address; one of IPv6 without its brackets.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A unix socket at an absolute path.
    Unix(PathBuf),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// It has neither form.
    #[error("{0:?} is no address such as 127.0.0.1:9410, [::1]:9410 or unix:///run/outrigger/x.sock")]
    Malformed(String),
    /// The path after `unix://` is relative.
    #[error("{0:?} names no absolute path; write unix:///run/… with three slashes")]
    Relative(String),
    /// The port is missing or no number up to 65535.
    #[error("{0:?} has no port from 0 to 65535 after its last colon")]
    NoPort(String),
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix("//").filter(|path| path.starts_with('/') && path.len() > 1) {
                Some(path) => Ok(Self::Unix(path.into())),
                None => Err(NoAddress::Relative(text.to_owned())),
            };
        }
        let malformed = || NoAddress::Malformed(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host = match inside {
            Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
            None if !host.is_empty() && host.chars().all(allowed) => host,
            _ => return Err(malformed()),
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.then(|| port.parse().ok()).flatten().ok_or_else(|| NoAddress::NoPort(text.to_owned()))?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
        }
    }
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": FORMAT,
            "pattern": "^(unix:///.+|.+:[0-9]{1,5})$",
        })
    }
}

text_value!(Address);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in ["127.0.0.1:9410", "localhost:0", "[::]:80", "node-1.example:65535", "unix:///run/a b.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, error) in [
            ("9410", NoAddress::Malformed("9410".to_owned())),
            (":9410", NoAddress::Malformed(":9410".to_owned())),
            ("::1:80", NoAddress::Malformed("::1:80".to_owned())),
            ("http://x:80", NoAddress::Malformed("http://x:80".to_owned())),
            ("host:65536", NoAddress::NoPort("host:65536".to_owned())),
            ("host:+80", NoAddress::NoPort("host:+80".to_owned())),
            ("host:", NoAddress::NoPort("host:".to_owned())),
            ("unix://run/x", NoAddress::Relative("unix://run/x".to_owned())),
            ("unix:/run/x", NoAddress::Relative("unix:/run/x".to_owned())),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".*") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
