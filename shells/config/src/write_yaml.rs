//! A JSON value as YAML that every reader of YAML 1.1 and 1.2 reads back as the same value.
//!
//! Text stands plain only where no reader could take it for something else; otherwise in double quotes, as JSON writes
//! it; text of several lines stands as a block where that keeps it whole.

use std::fmt::Write;

use serde_json::Value;

/// The document, with a line end.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_value(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => write_value(&mut out, value, 0),
        _ => write_inline(&mut out, value, 0),
    }
    out
}

/// A map or a list, each entry on a line of its own that begins at `indent`.
fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (key, inside) in map {
                let _ = write!(out, "{:indent$}{}:", "", scalar(key));
                write_below(out, inside, indent);
            }
        }
        Value::Array(list) => {
            for inside in list {
                let _ = write!(out, "{:indent$}-", "");
                write_item(out, inside, indent);
            }
        }
        _ => write_inline(out, value, indent),
    }
}

/// What follows `key:`. Lists stand at the key's own column, as kubectl writes them.
fn write_below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_value(out, value, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_value(out, value, indent);
        }
        _ => {
            out.push(' ');
            write_inline(out, value, indent + 2);
        }
    }
}

/// What follows `-`: the first entry of a map stands on the same line.
fn write_item(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut inside = String::new();
            write_value(&mut inside, value, indent + 2);
            out.push(' ');
            out.push_str(inside.trim_start_matches(' '));
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_value(out, value, indent + 2);
        }
        _ => {
            out.push(' ');
            write_inline(out, value, indent + 2);
        }
    }
}

fn write_inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_block(text) => write_block(out, text, indent.max(2)),
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        other => {
            let _ = writeln!(out, "{other}");
        }
    }
}

/// Whether a text may stand as a block (`|`): several lines, printable, and no white space that a block would lose.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && !text
            .chars()
            .any(|c| c.is_control() && c != '\n' || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

fn write_block(out: &mut String, text: &str, indent: usize) {
    let (body, mark) = text.strip_suffix('\n').map_or((text, "|-"), |body| (body, "|"));
    let _ = writeln!(out, "{mark}");
    for line in body.split('\n') {
        if line.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    }
}

/// A text on one line, plain or quoted.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::from(text).to_string() }
}

/// Whether nobody could take the plain text for a number, a boolean, nothing, a date or a mark of YAML's.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "nan", "inf"];
    let Some(first) = text.chars().next() else { return false };
    let starts_well = first.is_ascii_alphabetic() || matches!(first, '/' | '_') || first.is_alphabetic();
    let goes_on_well = text.chars().all(|c| c.is_alphanumeric() || " ._-/@%+=,$()".contains(c) || c == ':')
        && !text.contains(": ")
        && !text.ends_with([':', ' ']);
    starts_well && goes_on_well && !WORDS.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_look_as_kubectl_writes_them() {
        let value =
            json!({"kind": "Pod", "spec": {"containers": [{"name": "a", "args": ["x", "1"]}, {"name": "b"}], "x": []}});
        assert_eq!(
            yaml(&value),
            "kind: Pod\nspec:\n  containers:\n  - args:\n    - x\n    - \"1\"\n    name: a\n  - name: b\n  x: []\n"
        );
    }

    #[test]
    fn whatever_is_written_reads_back() {
        let value = json!({
            "words": ["yes", "Off", "null", "~", "0x1f", "1e3", "012", "", " a", "a ", "a: b", "a:", "- a", "#a", "a #b", "2001-01-01",
                "12:30:45", "=", "<<", "!a", "&a", "*a", "{a}", "\u{7f}", "\u{85}", "tab\there", "ünïcödé", "http://x/?y=1", "'", "\""],
            "blocks": ["a\nb\n", "a\nb", "a\n\n  b\n", " a\nb", "a\nb\n\n", "a\r\nb", "\n", "a\n b: c\n"],
            "deep": [[1, [2, {"a": {"b": ["c\nd\n"]}}]], {}, [], null, true, -1.5],
            "yes": {"1": "2", "a: b": "c"},
        });
        let read = crate::read("test", yaml(&value).as_bytes()).unwrap();
        assert_eq!(read[0].value(), &value, "{}", yaml(&value));
    }

    #[test]
    fn what_is_no_map_and_no_list_stands_alone() {
        assert_eq!((yaml(&json!({})), yaml(&json!("no"))), ("{}\n".to_owned(), "\"no\"\n".to_owned()));
    }
}
