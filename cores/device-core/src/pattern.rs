//! Globs as Go's `path.Match` reads them (`src/path/match.go` of Go 1.24), which is what generic-device-plugin's users
//! write: `*` and `?` do not cross `/`; `[a-z]` and `[^a]` are classes; `\` takes the next character as it is; no `**`, no
//! braces.
//!
//! It matches bytes and takes the first place at which a chunk between two stars fits, as Go does, so that even odd
//! patterns mean the same.

use std::fmt;

/// A glob that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    chunks: Vec<Chunk>,
}

/// Why a text is no glob: an open class, an empty range or class, or a `\` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a pattern: a `[` needs its `]`, a `-` in it two ends, and a `\\` something after it")
    }
}

impl std::error::Error for BadPattern {}

/// What stands between two stars.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    /// Whether a star stands before it.
    star: bool,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Reads a glob.
    ///
    /// ```
    /// # use outrigger_device_core::pattern::Pattern;
    /// let pattern = Pattern::parse("/dev/ttyUSB*").unwrap();
    /// assert!(pattern.matches("/dev/ttyUSB0") && !pattern.matches("/dev/ttyUSB0/x"));
    /// assert!(Pattern::parse("[").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut chunks = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let begin = rest.trim_start_matches('*');
            let star = begin.len() < rest.len();
            let (chunk, after) = begin.split_at(chunk_length(begin));
            chunks.push(Chunk { star, tokens: tokens(chunk)? });
            rest = after;
        }
        Ok(Self { chunks })
    }

    /// Whether it is a path that this one matches, from beginning to end.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_bytes(path.as_bytes())
    }

    /// The same for a path that may not be UTF-8.
    pub fn matches_bytes(&self, path: &[u8]) -> bool {
        self.fits(path, Some(b'/'))
    }

    /// Whether it is a text that this one matches: `*` and `?` match a `/` too.
    pub fn matches_text(&self, text: &str) -> bool {
        self.fits(text.as_bytes(), None)
    }

    fn fits(&self, mut name: &[u8], wall: Option<u8>) -> bool {
        for (number, chunk) in self.chunks.iter().enumerate() {
            let is_last = number + 1 == self.chunks.len();
            if chunk.star && chunk.tokens.is_empty() {
                return !name.iter().any(|byte| Some(*byte) == wall);
            }
            let farthest =
                if chunk.star { name.iter().position(|byte| Some(*byte) == wall).unwrap_or(name.len()) } else { 0 };
            let rests = (0..=farthest).filter_map(|skipped| chunk.rest_of(&name[skipped..], wall));
            let Some(rest) = rests.into_iter().find(|rest| rest.is_empty() || !is_last) else { return false };
            name = rest;
        }
        name.is_empty()
    }
}

/// Whether a text is a glob.
pub fn check(text: &str) -> Result<(), BadPattern> {
    Pattern::parse(text).map(|_| ())
}

impl Chunk {
    /// What is left of a text after this chunk.
    fn rest_of<'n>(&self, mut name: &'n [u8], wall: Option<u8>) -> Option<&'n [u8]> {
        for token in &self.tokens {
            let (first, length) = decode(name)?;
            let taken = match token {
                Token::Byte(byte) => (name[0] == *byte).then_some(1),
                Token::Any => (Some(name[0]) != wall).then_some(length),
                Token::Class { negated, ranges } => {
                    let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&first));
                    (is_in != *negated).then_some(length)
                }
            };
            name = &name[taken?..];
        }
        Some(name)
    }
}

/// The first character and its length in bytes; a byte that begins none is U+FFFD, as in Go.
fn decode(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    let character =
        bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|s| s.chars().next());
    Some(character.map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, length)))
}

/// How long the text is up to the next star that is one.
fn chunk_length(text: &str) -> usize {
    let (mut in_class, mut escaped) = (false, false);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => return place,
            _ => (),
        }
    }
    text.len()
}

fn tokens(chunk: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut rest = chunk.chars();
    while let Some(character) = rest.next() {
        match character {
            '[' => tokens.push(class(&mut rest)?),
            '?' => tokens.push(Token::Any),
            '\\' => literal(rest.next().ok_or(BadPattern)?, &mut tokens),
            _ => literal(character, &mut tokens),
        }
    }
    Ok(tokens)
}

fn literal(character: char, tokens: &mut Vec<Token>) {
    tokens.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, BadPattern> {
    let mut ahead = rest.clone();
    let negated = ahead.next() == Some('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.as_str().starts_with(']') {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let low = end_of_range(rest)?;
        let high = if rest.as_str().starts_with('-') {
            rest.next();
            end_of_range(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// One end of a range, after which something must follow.
fn end_of_range(rest: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    let end = match rest.next().ok_or(BadPattern)? {
        '-' | ']' => return Err(BadPattern),
        '\\' => rest.next().ok_or(BadPattern)?,
        character => character,
    };
    if rest.as_str().is_empty() { Err(BadPattern) } else { Ok(end) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table of Go's own test (`src/path/match_test.go`); `None` is a bad pattern.
    const OF_GO: &[(&str, &str, Option<bool>)] = &[
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("ab[^b-d]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("a[^a][^a][^a]b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a*b", "a/b", Some(false)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-]", "-", Some(true)),
        ("[x\\-]", "x", Some(true)),
        ("[x\\-]", "-", Some(true)),
        ("[x\\-]", "z", Some(false)),
        ("[\\-x]", "x", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[\\-x]", "a", Some(false)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[x-]", "-", None),
        ("[x-]", "z", None),
        ("[-x]", "x", None),
        ("[-x]", "-", None),
        ("[-x]", "a", None),
        ("\\", "a", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "a", None),
        ("a[", "ab", None),
        ("a[", "x", None),
        ("a/b[", "x", None),
        ("*x", "xxx", Some(true)),
    ];

    #[test]
    fn go_and_we_agree_on_gos_table() {
        for (pattern, name, expected) in OF_GO {
            assert_eq!(Pattern::parse(pattern).ok().map(|it| it.matches(name)), *expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn oddities_are_those_of_go() {
        // A star takes bytes, and the first place that fits; each computed from Go's source.
        for (pattern, name, expected) in
            [("*[^é]", "é", true), ("*[^b]*c", "a/c", false), ("", "", true), ("", "a", false), ("**", "ab", true)]
        {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_text_has_no_walls() {
        assert!(Pattern::parse("Radio*").unwrap().matches_text("Radio 2.4/5 GHz"));
        assert!(!Pattern::parse("Radio*").unwrap().matches("Radio 2.4/5 GHz"));
    }

    /// The meaning of stars and question marks, said another way: by trying everything.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some(('*', rest)), None) => naive(rest, name),
            (Some(('*', rest)), Some((first, after))) => naive(rest, name) || (*first != '/' && naive(pattern, after)),
            (Some(('?', rest)), Some((first, after))) => *first != '/' && naive(rest, after),
            (Some((wanted, rest)), Some((first, after))) => wanted == first && naive(rest, after),
            (Some(_), None) => false,
        }
    }

    proptest! {
        // Tried against a star that crosses `/`: found at once.
        #[test]
        fn stars_match_what_trying_everything_matches(pattern in "[ab/*?]{0,8}", name in "[ab/]{0,10}") {
            let (characters, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().matches(&name), naive(&characters, &text));
        }

        #[test]
        fn whatever_is_escaped_matches_itself_alone(name in "\\PC{0,12}", other in "\\PC{0,12}") {
            let escaped: String = name.chars().flat_map(|character| ['\\', character]).collect();
            let pattern = Pattern::parse(&escaped).unwrap();
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }

        #[test]
        fn nothing_panics(pattern in "[\\[\\]a^*?\\\\é-]{0,12}", name in "[aé/\\-]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.matches(&name);
            }
        }
    }
}
