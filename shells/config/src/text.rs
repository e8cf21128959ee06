//! What must be true of the bytes before a reader looks at them: UTF-8, of bounded length, without control characters.

use crate::document::MAX_TEXT;
use crate::fault::{Fault, Faults, Position};

/// The bytes as text, without a byte order mark.
pub(crate) fn check<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Faults> {
    let fault = |at: usize, message: String, help: &str| {
        let position = position(&String::from_utf8_lossy(&bytes[..at]));
        Err(Fault::error(file, message).at(position).help(help).into())
    };
    if bytes.len() > MAX_TEXT {
        let message = format!("the text has {} bytes, which is more than {MAX_TEXT}", bytes.len());
        return Err(Fault::error(file, message).help("split it into several files").into());
    }
    if matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) {
        return fault(0, "the text is UTF-16".to_owned(), "save it as UTF-8");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let at = error.valid_up_to();
            return fault(at, format!("byte {:#04x} is not UTF-8", bytes[at]), "save the file as UTF-8");
        }
    };
    let control = |byte: &u8| *byte < b' ' && !matches!(*byte, b'\t' | b'\n' | b'\r');
    if let Some(at) = bytes.iter().position(control) {
        let message = format!("control character {:#04x} in the text", bytes[at]);
        return fault(at, message, "remove it, or write it as an escape in double quotes");
    }
    Ok(text)
}

/// Whether JSON's readers would take the text for theirs: a map or a list comes first.
pub(crate) fn starts_as_json(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(['{', '['])
}

/// The place after `before`. Lines end as in YAML: with a line feed, a carriage return, or both.
pub(crate) fn position(before: &str) -> Position {
    let before = before.strip_prefix('\u{feff}').unwrap_or(before);
    let mut place = Position { line: 1, column: 1 };
    advance(&mut place, before);
    place
}

/// Moves a place over text that stands after it.
pub(crate) fn advance(place: &mut Position, over: &str) {
    let mut characters = over.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\n' || (c == '\r' && characters.peek() != Some(&'\n')) {
            *place = Position { line: place.line + 1, column: 1 };
        } else {
            place.column += 1;
        }
    }
}
