//! One step of reading: everything that blocks.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use outrigger_launcher::LogStream;
use tracing::warn;

use super::ReadOptions;
use super::cursor::{Cursor, Read};
use super::join::{Ends, Joiner, Line};
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

    /// The number of the newest file where reading may begin: from there on more than `tail` lines end, and no line is
    /// unfinished before it. With `since` it is the oldest of all.
    fn first_file(&self, tail: u64) -> io::Result<u64> {
        if self.options.since.is_some() {
            return Ok(0);
        }
        let mut files = rotated(&self.path)?;
        let newest = files.last().map_or(1, |(number, _)| number + 1);
        files.push((newest, self.path.clone()));
        let (mut count, mut first, mut unsure) = (0, None, [false; 2]);
        for (number, path) in files.into_iter().rev() {
            let ends = match File::open(path) {
                Ok(file) => scan(&file, self.options.stream)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Removed meanwhile.
                Err(error) => return Err(error),
            };
            count += ends.count;
            let continued =
                unsure.iter().zip(ends.last_goes_on).any(|(unsure, goes_on)| *unsure && goes_on == Some(true));
            if continued || (first.is_none() && count > tail) {
                first = Some(number);
                unsure = [true; 2];
            } else if first.is_some() {
                for (unsure, goes_on) in unsure.iter_mut().zip(ends.last_goes_on) {
                    *unsure &= goes_on.is_none();
                }
            }
            if let Some(first) = first.filter(|_| unsure == [false; 2]) {
                return Ok(first);
            }
        }
        Ok(first.unwrap_or(0))
    }
}

/// Counts what ends in a file.
fn scan(mut file: &File, stream: Option<LogStream>) -> io::Result<Ends> {
    let (mut held, mut ends) = (Vec::new(), Ends::default());
    loop {
        let read = (&mut file).take(1024 * 1024).read_to_end(&mut held)?;
        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        ends.add(&held[..whole], stream);
        held.drain(..whole);
        if read == 0 {
            return Ok(ends);
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
