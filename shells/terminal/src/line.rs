//! One line of a container's output, made fit to be shown: with its prefix, and harmless on a terminal.

use crate::table::{char_width, width};

/// The colors of prefixes, in the order in which they are given out (SGR numbers).
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// What stands before the lines of each source: names of one width, and colors where they are wanted.
#[derive(Clone, Debug)]
pub struct Prefixes {
    colors: bool,
    width: usize,
    names: Vec<String>,
}

impl Prefixes {
    /// For these sources, known by their place in the list.
    pub fn new(names: Vec<String>, colors: bool) -> Self {
        let width = names.iter().map(|name| width(name)).max().unwrap_or(0);
        Self { colors, width, names }
    }

    /// `name | `, padded; in the source's color.
    pub fn of(&self, source: usize) -> String {
        let name = self.names.get(source).map_or("", String::as_str);
        let pad = self.width - width(name).min(self.width);
        if self.colors {
            format!("\x1b[{}m{name}{:pad$} |\x1b[0m ", COLORS[source % COLORS.len()], "")
        } else {
            format!("{name}{:pad$} | ", "")
        }
    }
}

/// A line as a terminal may show it: colors stay where they are wanted, tabs become spaces, what a carriage return
/// overwrote is gone, and every other control character and sequence is left out.
pub fn for_terminal(bytes: &[u8], colors: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let (mut colored, mut column) = (false, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                if let Some(color) = sequence(&mut chars)
                    && colors
                {
                    out.push_str(&color);
                    colored = true;
                }
            }
            '\t' => {
                let to = 8 - column % 8;
                out.extend(std::iter::repeat_n(' ', to));
                column += to;
            }
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {}
            c => {
                out.push(c);
                column += char_width(c);
            }
        }
    }
    if colored {
        out.push_str("\x1b[0m");
    }
    out
}

/// Reads what follows an escape; gives it back where it is a color.
fn sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    match chars.next()? {
        '[' => {
            let mut inside = String::new();
            loop {
                match chars.next()? {
                    'm' if inside.chars().all(|c| c.is_ascii_digit() || c == ';') => {
                        return Some(format!("\x1b[{inside}m"));
                    }
                    '@'..='~' => return None,
                    c => inside.push(c),
                }
            }
        }
        // A title or another command to the terminal: up to the bell or the string terminator.
        ']' | 'P' | '_' | '^' | 'X' => {
            while let Some(c) = chars.next() {
                if c == '\x07' || c == '\x1b' && chars.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
            None
        }
        ' '..='/' => {
            chars.next();
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_line_up_and_repeat_their_colors() {
        let prefixes = Prefixes::new(vec!["app".into(), "sidecar".into()], false);
        assert_eq!((prefixes.of(0), prefixes.of(1)), ("app     | ".into(), "sidecar | ".into()));
        assert_eq!(Prefixes::new(vec!["app".into()], true).of(0), "\x1b[36mapp |\x1b[0m ");
    }

    #[test]
    fn lines_keep_their_colors_and_lose_what_moves_the_cursor() {
        for (line, shown) in [
            ("plain\r\n", "plain"),
            ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[2J\x1b[Hcleared\x07", "cleared"),
            ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
            ("10%\r50%\r100%", "100%"),
            ("a\tb", "a       b"),
            ("\x1b", ""),
            ("\x1b[31", ""),
            ("tricky\u{202e}txt", "trickytxt"),
        ] {
            assert_eq!(for_terminal(line.as_bytes(), true), shown, "{line:?}");
        }
        assert_eq!(for_terminal(b"\x1b[31mred\xff", false), "red\u{fffd}");
    }
}
