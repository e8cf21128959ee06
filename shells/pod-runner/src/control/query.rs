//! The query part of a request's path: `container=main&tail=10`, with `%XX` where a byte needs it.

use std::fmt::Write;

/// Writes pairs as a query, in their order.
pub(super) fn encode(pairs: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push_str(if out.is_empty() { "?" } else { "&" });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}"); // Writing to a String cannot fail.
            }
        }
    }
    out
}

/// Reads pairs from a query; `Err` with the piece that is none.
pub(super) fn decode(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((name.to_owned(), unescaped(value).ok_or_else(|| piece.to_owned())?))
        })
        .collect()
}

fn unescaped(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_comes_back_as_it_was_written() {
        let text = encode(&[("container", "a b&c=%ü".into()), ("tail", "3".into())]);
        assert_eq!(text, "?container=a%20b%26c%3D%25%C3%BC&tail=3");
        let pairs = decode(&text[1..]).unwrap();
        assert_eq!(pairs, [("container".into(), "a b&c=%ü".into()), ("tail".into(), "3".into())]);
    }

    #[test]
    fn a_broken_escape_is_named() {
        assert_eq!(decode("a=1&b=%4"), Err("b=%4".into()));
    }
}
