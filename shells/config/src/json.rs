//! JSON text to the builder's events: RFC 8259, also several values one after the other.
//!
//! A reader of its own, since YAML knows neither JSON's surrogate escapes (`\ud83d\ude00`) nor its long keys.

use crate::compose::{Builder, Leaf, Stopped};
use crate::document::Document;
use crate::fault::{Faults, Position};
use crate::scalar::Scalar;
use crate::text;

/// Why the text was not read.
pub(crate) struct Broken {
    /// Whether it is no JSON, so that it may be YAML.
    pub(crate) syntax: bool,
    /// Whether a key was read before that.
    pub(crate) keys: bool,
    pub(crate) faults: Faults,
}

/// Reads every value of the text as a document.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Document>, Broken> {
    let mut reader = Reader {
        text,
        at: 0,
        counted: 0,
        place: Position { line: 1, column: 1 },
        builder: Builder::new(file, false),
        syntax: false,
        keys: false,
    };
    // The builder holds why it stopped.
    let _stopped = reader.read_values();
    let (syntax, keys) = (reader.syntax, reader.keys);
    reader.builder.finish().map_err(|faults| Broken { syntax, keys, faults })
}

struct Reader<'t, 'f> {
    text: &'t str,
    /// The next byte to read.
    at: usize,
    /// The byte up to which lines and columns are counted, and the place there.
    counted: usize,
    place: Position,
    builder: Builder<'f>,
    syntax: bool,
    keys: bool,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    /// After a comma in a map.
    Key,
    /// After a value.
    CommaOrEnd,
}

impl Next {
    /// What would be right here.
    fn belongs(self, in_map: bool) -> &'static str {
        match self {
            Self::Value => "a value is missing here",
            Self::ValueOrEnd => "a value or `]` belongs here",
            Self::Key => "a key in double quotes belongs here",
            Self::KeyOrEnd => "a key in double quotes or `}` belongs here",
            Self::CommaOrEnd if in_map => "a `,` or `}` belongs after the value",
            Self::CommaOrEnd => "a `,` or `]` belongs after the value",
        }
    }
}

impl Reader<'_, '_> {
    fn read_values(&mut self) -> Result<(), Stopped> {
        while self.peek().is_some() {
            self.read_value()?;
        }
        Ok(())
    }

    /// One value with all that is in it; the open maps and lists are on a stack of their own, not on the call stack.
    fn read_value(&mut self) -> Result<(), Stopped> {
        let mut open: Vec<u8> = Vec::new();
        let mut next = Next::Value;
        loop {
            let byte = self.peek();
            let at = self.position();
            next = match (byte, next) {
                (Some(b'{' | b'['), Next::Value | Next::ValueOrEnd) => {
                    self.at += 1;
                    let map = byte == Some(b'{');
                    if map {
                        self.builder.open_map(at, 0)?;
                    } else {
                        self.builder.open_list(at, 0)?;
                    }
                    open.push(if map { b'}' } else { b']' });
                    if map { Next::KeyOrEnd } else { Next::ValueOrEnd }
                }
                (Some(end @ (b'}' | b']')), Next::KeyOrEnd | Next::ValueOrEnd | Next::CommaOrEnd)
                    if open.last() == Some(&end) =>
                {
                    self.at += 1;
                    self.builder.end()?;
                    open.pop();
                    Next::CommaOrEnd
                }
                (Some(b','), Next::CommaOrEnd) => {
                    self.at += 1;
                    if open.last() == Some(&b'}') { Next::Key } else { Next::Value }
                }
                (Some(b'"'), Next::Key | Next::KeyOrEnd) => {
                    self.read_string(at)?;
                    if self.peek() != Some(b':') {
                        return Err(self.no_json("a `:` belongs after the key"));
                    }
                    self.at += 1;
                    self.keys = true;
                    Next::Value
                }
                (Some(b'"'), Next::Value | Next::ValueOrEnd) => {
                    self.read_string(at)?;
                    Next::CommaOrEnd
                }
                (Some(_), Next::Value | Next::ValueOrEnd) => {
                    self.read_word(at)?;
                    Next::CommaOrEnd
                }
                _ => return Err(self.no_json(next.belongs(open.last() == Some(&b'}')))),
            };
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// The next byte that is no space; moves there.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += spaces;
        rest.get(spaces).copied()
    }

    /// The place of the next byte; each byte is counted once.
    fn position(&mut self) -> Position {
        text::advance(&mut self.place, &self.text[self.counted..self.at]);
        self.counted = self.at;
        self.place
    }

    fn no_json(&mut self, message: &str) -> Stopped {
        self.syntax = true;
        let at = self.position();
        self.builder.stop(at, format!("this is not JSON: {message}"), "")
    }

    /// `true`, `false`, `null` or a number.
    fn read_word(&mut self, at: Position) -> Result<(), Stopped> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(rest.len());
        let word = &rest[..end];
        let meaning = match word {
            "true" => Scalar::Bool(true),
            "false" => Scalar::Bool(false),
            "null" => Scalar::Null,
            _ => match number(word) {
                Some(number) => number,
                None => return Err(self.no_json("a value belongs here")),
            },
        };
        self.at += end;
        self.builder.scalar(Leaf { meaning: Ok(meaning), text: word, quoted: false, merges: false, at }, 0)
    }

    fn read_string(&mut self, at: Position) -> Result<(), Stopped> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(['"', '\\', '\n', '\r', '\t']).unwrap_or(rest.len());
            text.push_str(&rest[..end]);
            self.at += end;
            match rest.as_bytes().get(end) {
                Some(b'"') => break,
                Some(b'\\') => text.push(self.read_escape()?),
                Some(_) => return Err(self.no_json("a line end or tab in a string must be written as `\\n` or `\\t`")),
                None => return Err(self.no_json("the string that begins further up has no end")),
            }
        }
        self.at += 1;
        let meaning = Ok(Scalar::Text(text.clone()));
        self.builder.scalar(Leaf { meaning, text: &text, quoted: true, merges: false, at }, 0)
    }

    fn read_escape(&mut self) -> Result<char, Stopped> {
        let plain = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.read_unicode(),
            _ => return Err(self.no_json("no such escape; a backslash itself is written `\\\\`")),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, where two surrogates make one character; half a pair becomes U+FFFD, as Go reads it.
    fn read_unicode(&mut self) -> Result<char, Stopped> {
        let Some(first) = self.unit(self.at) else { return Err(self.no_json("`\\u` takes four hexadecimal digits")) };
        self.at += 6;
        let second = self.unit(self.at).filter(|second| (0xDC00..0xE000).contains(second));
        match second {
            Some(second) if (0xD800..0xDC00).contains(&first) => {
                self.at += 6;
                let pair = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

/// A number of JSON; whole ones that fit stay exact, and nothing is infinite.
fn number(word: &str) -> Option<Scalar> {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
        return None;
    }
    if whole == unsigned.len() {
        let exact = word.parse().map(Scalar::Int).or_else(|_| word.parse().map(Scalar::Uint));
        return exact.ok().or_else(|| word.parse().ok().map(Scalar::Float));
    }
    let mut rest = &unsigned[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.get(digits(fraction)..).filter(|_| digits(fraction) > 0)?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = exponent.get(digits(exponent)..).filter(|_| digits(exponent) > 0)?;
    }
    rest.is_empty().then(|| word.parse().ok().map(Scalar::Float))?
}
