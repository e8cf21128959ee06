//! The picture on a terminal: live lines above, the newest log lines below them, older ones in the scrollback.
//!
//! ```text
//!   … older log lines, written once and left to the terminal
//!   ● app      Running   ready   12m   3.4Mi     ← live lines, repainted
//!   ● sidecar  Running           1m    1.1Mi
//!   app     | GET /index.html                    ← the newest log lines, repainted
//!   sidecar | ping
//! ```
//!
//! A frame is one text that takes the terminal from the last frame to the next; between frames the cursor stands below
//! the picture, nothing is hidden and no mode is set, so the terminal is whole whenever we end, however we end.
//!
//! What it does not do: it writes nothing and knows neither pods nor logs.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::device::Size;
use crate::table::char_width;

/// What stands on the terminal.
#[derive(Debug)]
pub struct Screen {
    size: Size,
    live: Vec<String>,
    tail: VecDeque<String>,
    painted: usize,
}

impl Screen {
    /// Nothing is painted yet.
    pub fn new(size: Size) -> Self {
        Self { size, live: Vec::new(), tail: VecDeque::new(), painted: 0 }
    }

    /// The next frame: these log lines are new, and the live lines are now these. Empty where nothing has changed.
    ///
    /// Lines hold no line ends and no sequences but colors ([`super::line::for_terminal`]).
    pub fn frame(&mut self, new: Vec<String>, live: Vec<String>) -> String {
        if new.is_empty() && live == self.live {
            return String::new();
        }
        let mut out = self.clear();
        self.live = live;
        self.tail.extend(new);
        self.paint(&mut out);
        out
    }

    /// The frame after the terminal has another size. What it wrapped anew cannot be known, so it begins at its top.
    pub fn resize(&mut self, size: Size) -> String {
        self.size = size;
        self.painted = 0;
        let mut out = "\x1b[H\x1b[J".to_owned();
        self.paint(&mut out);
        out
    }

    /// The last frame: the live lines go, the log lines stay.
    pub fn finish(&mut self) -> String {
        let mut out = self.clear();
        for line in self.tail.drain(..) {
            let _ = write!(out, "{line}\r\n");
        }
        self.live.clear();
        out
    }

    /// To the top of the picture, and away with it.
    fn clear(&mut self) -> String {
        match std::mem::take(&mut self.painted) {
            0 => "\r".to_owned(),
            rows => format!("\r\x1b[{rows}A\x1b[J"),
        }
    }

    fn paint(&mut self, out: &mut String) {
        // One row for the cursor, and one for a log line at least.
        let live_rows = self.live.len().min(self.size.rows.saturating_sub(2));
        let room = self.size.rows.saturating_sub(1 + live_rows);
        let mut rows: usize = self.tail.iter().map(|line| self.rows(line)).sum();
        while rows > room
            && let Some(line) = self.tail.pop_front()
        {
            rows -= self.rows(&line);
            let _ = write!(out, "{line}\r\n");
        }
        let hidden = self.live.len() - live_rows;
        for (row, line) in self.live.iter().take(live_rows).enumerate() {
            if hidden > 0 && row + 1 == live_rows {
                let _ = write!(out, "{}\r\n", crop(&format!("… and {} more", hidden + 1), self.size.columns));
            } else {
                let _ = write!(out, "{}\r\n", crop(line, self.size.columns));
            }
        }
        for line in &self.tail {
            let _ = write!(out, "{line}\r\n");
        }
        self.painted = live_rows + rows;
    }

    /// How many rows a line takes: the terminal wraps it.
    fn rows(&self, line: &str) -> usize {
        visible_width(line).div_ceil(self.size.columns.max(1)).max(1)
    }
}

/// The columns that a line takes, colors aside.
pub fn visible_width(line: &str) -> usize {
    let mut inside = false;
    line.chars().fold(0, |width, c| match (inside, c) {
        (false, '\x1b') => {
            inside = true;
            width
        }
        (true, _) => {
            inside = !c.is_ascii_alphabetic();
            width
        }
        (false, _) => width + char_width(c),
    })
}

/// The line cut to a width, colors kept and ended.
pub fn crop(line: &str, columns: usize) -> String {
    if visible_width(line) <= columns {
        return line.to_owned();
    }
    let (mut out, mut width, mut inside, mut colored) = (String::new(), 0, false, false);
    for c in line.chars() {
        if inside || c == '\x1b' {
            inside = !(inside && c.is_ascii_alphabetic());
            colored = true;
            out.push(c);
            continue;
        }
        width += char_width(c);
        if width > columns.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    out.push('…');
    if colored {
        out.push_str("\x1b[0m");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal as far as frames use one: what is on it, and what it scrolled away.
    struct Terminal {
        size: Size,
        lines: Vec<String>,
        cursor: (usize, usize),
        top: usize,
    }

    impl Terminal {
        fn new(size: Size) -> Self {
            Self { size, lines: vec![String::new()], cursor: (0, 0), top: 0 }
        }

        fn line(&mut self) -> &mut String {
            while self.lines.len() <= self.cursor.0 {
                self.lines.push(String::new());
            }
            self.top = self.top.max((self.cursor.0 + 1).saturating_sub(self.size.rows));
            &mut self.lines[self.cursor.0]
        }

        fn write(&mut self, text: &str) {
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\r' => self.cursor.1 = 0,
                    '\n' => {
                        self.cursor.0 += 1;
                        self.line();
                    }
                    '\x1b' => {
                        let sequence: String =
                            std::iter::from_fn(|| chars.next_if(|c| !c.is_ascii_alphabetic())).collect();
                        match chars.next() {
                            Some('A') => {
                                let up: usize = sequence[1..].parse().unwrap();
                                assert!(self.cursor.0 - self.top >= up, "the cursor leaves the screen");
                                self.cursor.0 -= up;
                            }
                            Some('J') => {
                                self.lines.truncate(self.cursor.0 + 1);
                                let column = self.cursor.1;
                                self.line().truncate(column);
                            }
                            Some('H') => self.cursor = (self.top, 0),
                            other => panic!("{other:?}"),
                        }
                    }
                    c => {
                        if self.cursor.1 == self.size.columns {
                            self.cursor = (self.cursor.0 + 1, 0);
                        }
                        assert_eq!(self.line().chars().count(), self.cursor.1, "overwrites what stands there");
                        self.line().push(c);
                        self.cursor.1 += 1;
                    }
                }
            }
        }

        fn shows(&self) -> Vec<&str> {
            self.lines.iter().map(String::as_str).collect()
        }
    }

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn live_lines_stand_above_the_newest_log_lines_and_older_ones_scroll_away() {
        let size = Size { columns: 10, rows: 5 };
        let (mut screen, mut terminal) = (Screen::new(size), Terminal::new(size));
        terminal.write(&screen.frame(lines(&["one"]), lines(&["LIVE"])));
        assert_eq!(terminal.shows(), ["LIVE", "one", ""]);
        terminal.write(&screen.frame(lines(&["two", "three", "four"]), lines(&["LIVE", "MORE"])));
        assert_eq!(terminal.shows(), ["one", "two", "LIVE", "MORE", "three", "four", ""]);
        terminal.write(&screen.frame(lines(&["a line that wraps"]), lines(&["LIVE"])));
        assert_eq!(terminal.shows(), ["one", "two", "three", "LIVE", "four", "a line tha", "t wraps", ""]);
        terminal.write(&screen.finish());
        assert_eq!(terminal.shows(), ["one", "two", "three", "four", "a line tha", "t wraps", ""]);
    }

    #[test]
    fn nothing_is_written_where_nothing_changes() {
        let mut screen = Screen::new(Size { columns: 10, rows: 5 });
        screen.frame(vec![], lines(&["LIVE"]));
        assert_eq!(screen.frame(vec![], lines(&["LIVE"])), "");
    }

    #[test]
    fn a_small_terminal_shows_how_much_it_hides() {
        let size = Size { columns: 12, rows: 4 };
        let (mut screen, mut terminal) = (Screen::new(size), Terminal::new(size));
        terminal.write(&screen.frame(lines(&["log"]), lines(&["a", "b", "c", "d"])));
        assert_eq!(terminal.shows(), ["a", "… and 3 more", "log", ""]);
        terminal.write(&screen.resize(Size { columns: 12, rows: 3 }));
    }

    #[test]
    fn cropping_keeps_colors_whole() {
        assert_eq!(crop("\x1b[31mred and long\x1b[0m", 5), "\x1b[31mred …\x1b[0m");
        assert_eq!(crop("日本語", 5), "日本…");
        assert_eq!(crop("short", 5), "short");
    }
}
