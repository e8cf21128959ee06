//! Host names to addresses, in pure Rust: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! The C library's own calls are never used: in a static executable they load the machine's modules and crash.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;

/// How long all servers together may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {name}")]
pub struct NameError {
    /// The name.
    pub name: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The addresses of a name, best first; an address in text is itself. Must be called within a runtime, and waits at most
/// 10 s.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, NameError> {
    if let Some(known) = known(name, Path::new("/")) {
        return Ok(known);
    }
    let failed = |source| NameError { name: name.to_owned(), source };
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let resolver = resolver.map_err(|error| failed(io::Error::other(error)))?;
    let answer = tokio::time::timeout(LIMIT, resolver.lookup_ip(name)).await;
    let answer = answer.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
    Ok(answer.map_err(|error| failed(io::Error::other(error)))?.iter().collect())
}

/// The addresses of a name with a port, for connecting to the first that answers.
pub async fn resolve_with_port(name: &str, port: u16) -> Result<Vec<SocketAddr>, NameError> {
    Ok(resolve(name).await?.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// What is known without asking: addresses in text (IPv6 in brackets or not), `/etc/hosts`, `localhost` (RFC 6761).
fn known(name: &str, root: &Path) -> Option<Vec<IpAddr>> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let hosts = fs::read_to_string(root.join("etc/hosts")).unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    let found = in_hosts(&hosts, name);
    if !found.is_empty() {
        return Some(found);
    }
    let lower = name.to_ascii_lowercase();
    (lower == "localhost" || lower.ends_with(".localhost"))
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// The addresses of a name in the text of a `hosts(5)`.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_hosts_file_need_no_server() {
        let text = "# 9.9.9.9 gone\n10.0.0.1\tdb db.example # the database\nfe80::1%eth0 odd\n::1 db\n";
        assert_eq!(in_hosts(text, "DB"), ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(in_hosts(text, "gone").is_empty());
        assert!(in_hosts(text, "database").is_empty());
    }

    #[test]
    fn addresses_and_localhost_are_known() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(known("[::1]", root.path()), Some(vec!["::1".parse().unwrap()]));
        assert_eq!(known("10.1.2.3", root.path()), Some(vec!["10.1.2.3".parse().unwrap()]));
        assert_eq!(known("localhost.", root.path()).unwrap().len(), 2);
        assert_eq!(known("example.org", root.path()), None);
    }
}
