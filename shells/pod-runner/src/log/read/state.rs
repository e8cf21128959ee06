//! One step of reading: everything that blocks.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::ReadOptions;
use super::cursor::{Cursor, Read};
use super::join::{Joiner, Line, ends};
use crate::log::rotated;

/// The state of a reader between two steps.
pub(super) struct State {
    path: PathBuf,
    options: ReadOptions,
    /// `None` until the first step has found where to begin.
    cursor: Option<Cursor>,
    joiner: Joiner,
    /// What stands after the last whole record, as last seen.
    torn: Vec<u8>,
}

/// What a step gave.
pub(super) struct Step {
    pub(super) lines: Vec<Line>,
    /// Whether there is no more now.
    pub(super) at_end: bool,
}

impl State {
    pub(super) fn new(path: &Path, options: ReadOptions) -> Self {
        Self { path: path.to_owned(), options, cursor: None, joiner: Joiner::new(options), torn: Vec::new() }
    }

    /// Reads at most a chunk.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.begin()?,
        };
        let read = cursor.read();
        let missed = cursor.take_missed();
        self.cursor = Some(cursor);
        if missed > 0 {
            warn!("{missed} rotated files of the log {} were removed before they were read", self.path.display());
        }
        let mut lines = Vec::new();
        match read? {
            Read::Records(records) => {
                self.torn.clear();
                self.joiner.feed(records.into(), &mut lines);
                Ok(Step { lines, at_end: false })
            }
            Read::End(torn) => {
                self.torn = torn;
                Ok(Step { lines, at_end: true })
            }
        }
    }

    /// What is left of lines whose end never came: a torn record, and pieces without their last one.
    pub(super) fn rest(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(torn) = open_ended(&std::mem::take(&mut self.torn)) {
            self.joiner.feed(torn.into(), &mut lines);
        }
        self.joiner.rest(&mut lines);
        lines
    }

    /// Where reading begins: at the oldest file, or so that the last `tail` lines come.
    fn begin(&mut self) -> io::Result<Cursor> {
        let Some(tail) = self.options.tail else { return Ok(Cursor::new(&self.path, 0)) };
        let number = self.first_file(tail)?;
        let (mut counter, mut count, mut lines) = (Joiner::new(self.options), 0, Vec::new());
        let mut cursor = Cursor::new(&self.path, number);
        let torn = loop {
            match cursor.read()? {
                Read::Records(records) => counter.feed(records.into(), &mut lines),
                Read::End(torn) => break torn,
            }
            count += lines.drain(..).filter(|line| line.ends).count() as u64;
        };
        if let Some(torn) = open_ended(&torn) {
            counter.feed(torn.into(), &mut lines);
        }
        counter.rest(&mut lines);
        count += lines.len() as u64;
        self.joiner.skip = count.saturating_sub(tail);
        Ok(Cursor::new(&self.path, number))
    }

    /// The number of the newest file from which on more than `tail` lines end; with `since`, the oldest of all.
    fn first_file(&self, tail: u64) -> io::Result<u64> {
        let mut aside = rotated(&self.path)?;
        if self.options.since.is_some() {
            return Ok(0);
        }
        let newest = aside.last().map_or(1, |(number, _)| number + 1);
        aside.push((newest, self.path.clone()));
        let mut count = 0;
        for (number, path) in aside.into_iter().rev() {
            count += match File::open(path) {
                Ok(file) => count_ends(&file, self.options)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            if count > tail {
                return Ok(number);
            }
        }
        Ok(0)
    }
}

/// How many lines end in a file.
fn count_ends(mut file: &File, options: ReadOptions) -> io::Result<u64> {
    let (mut held, mut count) = (Vec::new(), 0);
    loop {
        let read = io::Read::read_to_end(&mut io::Read::take(&mut file, 1024 * 1024), &mut held)?;
        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        count += ends(&held[..whole], options.stream);
        held.drain(..whole);
        if read == 0 {
            return Ok(count);
        }
    }
}

/// A record without its end, as one whose line has no end; `None` where not even its head is there.
fn open_ended(torn: &[u8]) -> Option<Vec<u8>> {
    let mut fields = torn.splitn(4, |byte| *byte == b' ');
    let head: Vec<&[u8]> = fields.by_ref().take(3).collect();
    let content = fields.next()?;
    Some([head[0], b" ", head[1], b" P ", content, b"\n"].concat())
}
