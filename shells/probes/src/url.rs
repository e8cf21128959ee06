//! URLs of probes: made as a kubelet makes them (`pkg/probe/http/request.go`, `formatURL`), escaped as Go's `net/url` does,
//! and resolved against redirects (RFC 3986, section 5.2).

use std::fmt;

use super::dial::host_and_port;

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) https: bool,
    /// A name, or an address without brackets.
    pub(super) host: String,
    /// `None`: the scheme's own.
    pub(super) port: Option<u16>,
    /// Escaped, beginning with a slash.
    pub(super) path: String,
    /// Escaped, without its question mark.
    pub(super) query: Option<String>,
}

impl Url {
    /// From the parts in a manifest. `path` may hold a query; of a whole URL only path and query count.
    pub(super) fn of(https: bool, host: String, port: u16, path: &str) -> Self {
        let (path, query) = if path.bytes().any(|byte| byte.is_ascii_control()) || bad_escape(path) {
            (escaped(path.as_bytes()), None) // Nothing that Go's parser takes: all of it is the path.
        } else {
            let reference = Reference::of(path);
            (path_as_go_sends_it(reference.path), reference.query.map(query_for_the_wire))
        };
        Self { https, host, port: Some(port), path: rooted(path), query }
    }

    /// The port that is connected to.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// What the `Host` header says where nothing else is asked for.
    pub(super) fn authority(&self) -> String {
        match self.port {
            Some(port) => host_and_port(&self.host, port),
            None if self.host.contains(':') => format!("[{}]", self.host),
            None => self.host.clone(),
        }
    }

    /// Path and query, for the request line.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Where a `Location` leads from here; the error is a text for people.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let broken = || format!("failed to parse Location header {location:?}");
        if location.bytes().any(|byte| byte.is_ascii_control()) || bad_escape(location) {
            return Err(broken());
        }
        let reference = Reference::of(location);
        let https = match reference.scheme.map(str::to_ascii_lowercase).as_deref() {
            None => self.https,
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("unsupported protocol scheme {other:?}")),
        };
        let (host, port) = match reference.authority {
            Some(authority) => authority_parts(authority).ok_or_else(broken)?,
            None => (self.host.clone(), self.port),
        };
        let path = match (reference.authority, reference.path) {
            (None, "") => self.path.clone(),
            (None, path) if !path.starts_with('/') => {
                let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
                without_dots(&format!("{directory}/{path}"))
            }
            (_, path) => without_dots(path),
        };
        let query = match (reference.query, reference.authority, reference.path) {
            (None, None, "") => self.query.clone(),
            (query, _, _) => query.map(query_for_the_wire),
        };
        Ok(Self { https, host, port, path: rooted(path_as_go_sends_it(&path)), query })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target())
    }
}

/// The parts of a URI reference, as they are written.
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let (text, query) = text.split_once('?').map_or((text, None), |(text, query)| (text, Some(query)));
        let (scheme, text) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, text),
        };
        match text.strip_prefix("//") {
            None => Self { scheme, authority: None, path: text, query },
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                Self { scheme, authority: Some(authority), path, query }
            }
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn authority_parts(authority: &str) -> Option<(String, Option<u16>)> {
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    Some((host.to_owned(), port))
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(usize::from(path.starts_with('/'))).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// Whether a `%` stands without two hexadecimal digits.
fn bad_escape(text: &str) -> bool {
    let is_escape = |piece: &str| {
        piece.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    !text.split('%').skip(1).all(is_escape)
}

/// As written where Go takes it for an encoded path, else decoded and encoded anew (`net/url`, `EscapedPath`).
fn path_as_go_sends_it(path: &str) -> String {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&byte);
    if path.bytes().all(valid) { path.to_owned() } else { escaped(&unescaped(path.as_bytes())) }
}

fn query_for_the_wire(query: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>".contains(&byte);
    query.bytes().map(|byte| written(byte, plain(byte))).collect()
}

/// `net/url`, `escape` in a path.
fn escaped(path: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
    path.iter().map(|byte| written(*byte, plain(*byte))).collect()
}

fn written(byte: u8, plain: bool) -> String {
    if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// Takes percent-encoding off; what is none stays as it is.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%');
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_sent_as_a_kubelet_sends_them() {
        let table = [
            ("", "/"),
            ("healthz", "/healthz"),
            ("/a?b=c&d", "/a?b=c&d"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%zz", "/%25zz"),
            ("/x#part", "/x"),
            ("//other/x", "/x"),
            ("https://other:1/x?y", "/x?y"),
            ("/ü", "/%C3%BC"),
            ("/a?q=x y", "/a?q=x%20y"),
        ];
        for (path, sent) in table {
            assert_eq!(Url::of(false, "h".into(), 80, path).target(), sent, "{path:?}");
        }
    }

    #[test]
    fn redirects_are_resolved() {
        let base = Url::of(false, "10.0.0.1".into(), 8080, "/a/b/c?q");
        let table = [
            ("/x", "http://10.0.0.1:8080/x"),
            ("x?y", "http://10.0.0.1:8080/a/b/x?y"),
            ("../x/.", "http://10.0.0.1:8080/a/x/"),
            ("?y", "http://10.0.0.1:8080/a/b/c?y"),
            ("", "http://10.0.0.1:8080/a/b/c?q"),
            ("//h/x", "http://h/x"),
            ("https://10.0.0.1/", "https://10.0.0.1/"),
            ("https://[::1]:1", "https://[::1]:1/"),
        ];
        for (location, expected) in table {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location:?}");
        }
        assert_eq!(base.join("ftp://h/"), Err("unsupported protocol scheme \"ftp\"".into()));
        assert_eq!(base.join("/%"), Err("failed to parse Location header \"/%\"".into()));
    }
}
