//! The forms of names in Kubernetes (`apimachinery/pkg/util/validation/validation.go`). Each function gives what is wrong, or
//! nothing.

use super::shown;
use crate::fault::{At, Faults};

/// What a name must be, where it is not.
pub(super) type Wrong = Option<&'static str>;

/// Adds an error where the field holds a text that is not of the form.
pub(super) fn require(at: &At<'_, '_>, form: impl Fn(&str) -> Wrong, faults: &mut Faults) {
    let Some(text) = at.text().filter(|text| !text.is_empty()) else { return };
    if let Some(wrong) = form(text) {
        faults.error(at, format!("is {:?}, but must be {wrong}", shown(text)));
    }
}

/// `IsDNS1123Label`.
pub(super) fn label(text: &str) -> Wrong {
    let fits = text.len() <= 63 && dns_part(text);
    (!fits).then_some("at most 63 lower-case letters, digits and '-', with a letter or digit at both ends")
}

/// `IsDNS1123Subdomain`.
pub(super) fn subdomain(text: &str) -> Wrong {
    let fits = text.len() <= 253 && text.split('.').all(dns_part);
    (!fits).then_some(
        "at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part",
    )
}

fn dns_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().next_back().is_some_and(inner)
}

/// `IsQualifiedName`.
pub(super) fn qualified(text: &str) -> Wrong {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let fits = prefix.is_none_or(|prefix| subdomain(prefix).is_none()) && value_part(name);
    (!fits).then_some("a name of at most 63 letters, digits, '-', '_' and '.', perhaps after a DNS name and '/'")
}

/// `IsValidLabelValue`.
pub(super) fn label_value(text: &str) -> Wrong {
    let fits = text.is_empty() || value_part(text);
    (!fits).then_some("at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends")
}

fn value_part(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
}

/// `IsRelaxedEnvVarName`.
pub(super) fn variable(text: &str) -> Wrong {
    let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    (!fits).then_some("printable ASCII characters without '='")
}

/// `IsConfigMapKey`.
pub(super) fn key(text: &str) -> Wrong {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(known) && text != "." && !text.starts_with("..");
    (!fits).then_some("at most 253 letters, digits, '-', '_' and '.', not '.' and not beginning with '..'")
}

/// `IsValidPortName`.
pub(super) fn port(text: &str) -> Wrong {
    let fits = text.len() <= 15
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--")
        && !text.starts_with('-')
        && !text.ends_with('-');
    (!fits).then_some("at most 15 lower-case letters, digits and single '-', with at least one letter")
}

/// `IsHTTPHeaderName`.
pub(super) fn header(text: &str) -> Wrong {
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (!fits).then_some("letters, digits and '-'")
}

/// An address of IPv4 or IPv6 (`IsValidIPForLegacyField`).
pub(super) fn address(text: &str) -> Wrong {
    text.parse::<std::net::IpAddr>().is_err().then_some("an IP address")
}

/// `validateLocalDescendingPath`.
pub(super) fn descending_path(text: &str) -> Wrong {
    if text.starts_with('/') {
        return Some("a relative path");
    }
    no_backsteps(text)
}

/// `validatePathNoBacksteps`.
pub(super) fn no_backsteps(text: &str) -> Wrong {
    text.split('/').any(|part| part == "..").then_some("a path without '..'")
}

/// `ValidateLocalNonReservedPath`.
pub(super) fn file_path(text: &str) -> Wrong {
    descending_path(text).or_else(|| text.starts_with("..").then_some("a path that does not begin with '..'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let long = "a".repeat(64);
        for (form, good, bad) in [
            (label as fn(&str) -> Wrong, &["a", "a-b", "0"][..], &["-a", "a-", "A", "a.b", long.as_str()][..]),
            (subdomain, &["a.b", "a-1.b2"], &["a..b", ".a", "a_b"]),
            (qualified, &["a", "A_b.c", "x.y/Name"], &["/a", "a/", "a/b/c", "_a", long.as_str()]),
            (label_value, &["", "A.b_c"], &["-a", "a b", long.as_str()]),
            (variable, &["A", "a.b-c", "1", "a b"], &["A=B", "ä", "a\n"]),
            (key, &["a", ".a", "A_b.c-d"], &[".", "..", "..a", "a/b", ""]),
            (port, &["http", "a1-b"], &["80", "a--b", "-a", "Http", "abcdefghijklmnop"]),
            (file_path, &["a/b", ".a", "a/..b"], &["/a", "../a", "a/../b", "..a"]),
        ] {
            for text in good {
                assert_eq!(form(text), None, "{text}");
            }
            for text in bad {
                assert!(form(text).is_some(), "{text}");
            }
        }
    }
}
