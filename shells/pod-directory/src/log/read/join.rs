//! From records to lines, and from lines to text.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use outrigger_launcher::LogStream;

use super::ReadOptions;

/// How much of a line is joined before its first part goes out.
const LINE_LIMIT: usize = 256 * 1024;

/// A line of a log, or a part of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When its first piece was written, as it stands in the log; empty where a record was not in the CRI format.
    pub time: Bytes,
    /// Which stream it was written to.
    pub stream: LogStream,
    /// Its bytes, without the line end.
    pub text: Bytes,
    /// Whether it begins here. Only a line above 256 KiB has parts that do not.
    pub begins: bool,
    /// Whether it ends here. The last line may have no end.
    pub ends: bool,
}

/// Turns records into the lines that are wanted.
pub(super) struct Joiner {
    options: ReadOptions,
    /// Lines that still are to be left out, so that only the last ones come.
    pub(super) skip: u64,
    begun: [Option<Begun>; 2],
}

/// A line whose end has not come.
struct Begun {
    time: Bytes,
    text: BytesMut,
    wanted: bool,
    /// Whether a part of it has gone out.
    parted: bool,
}

struct Record {
    time: Bytes,
    stream: LogStream,
    partial: bool,
    content: Bytes,
}

impl Joiner {
    pub(super) fn new(options: ReadOptions) -> Self {
        Self { options, skip: 0, begun: [None, None] }
    }

    /// Takes whole records.
    pub(super) fn feed(&mut self, mut records: Bytes, lines: &mut Vec<Line>) {
        while !records.is_empty() {
            let end = records.iter().position(|byte| *byte == b'\n').map_or(records.len(), |end| end + 1);
            let record = records.split_to(end);
            let record = record.strip_suffix(b"\n").map_or_else(|| record.clone(), |text| record.slice_ref(text));
            match parse(&record) {
                Some(record) => self.record(record, lines),
                None if record.is_empty() => {}
                None => {
                    self.record(
                        Record { time: Bytes::new(), stream: LogStream::Stdout, partial: false, content: record },
                        lines,
                    );
                }
            }
        }
    }

    /// Gives out what is left of lines whose end never came.
    pub(super) fn rest(&mut self, lines: &mut Vec<Line>) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if let Some(begun) = self.begun[place(stream)].take() {
                let skipped = begun.wanted && self.skip > 0;
                self.emit(stream, begun, false, lines);
                self.skip -= u64::from(skipped); // No end of it will come to be counted.
            }
        }
    }

    fn record(&mut self, record: Record, lines: &mut Vec<Line>) {
        let Record { time, stream, partial, content } = record;
        if self.options.stream.is_some_and(|wanted| wanted != stream) {
            return;
        }
        let Some(mut begun) = self.begun[place(stream)].take() else {
            let wanted = self.options.since.is_none_or(|since| is_at_or_after(&time, since));
            if partial {
                let text = BytesMut::from(content.as_ref());
                self.begun[place(stream)] = Some(Begun { time, text, wanted, parted: false });
            } else if wanted {
                self.give(Line { time, stream, text: content, begins: true, ends: true }, lines);
            }
            return;
        };
        begun.text.extend_from_slice(&content);
        if !partial {
            self.emit(stream, begun, true, lines);
        } else if begun.text.len() < LINE_LIMIT {
            self.begun[place(stream)] = Some(begun);
        } else {
            let next = Begun { time: begun.time.clone(), text: BytesMut::new(), wanted: begun.wanted, parted: true };
            self.begun[place(stream)] = Some(next);
            self.emit(stream, begun, false, lines);
        }
    }

    fn emit(&mut self, stream: LogStream, begun: Begun, ends: bool, lines: &mut Vec<Line>) {
        let Begun { time, text, wanted, parted } = begun;
        if wanted {
            self.give(Line { time, stream, text: text.freeze(), begins: !parted, ends }, lines);
        }
    }

    fn give(&mut self, line: Line, lines: &mut Vec<Line>) {
        if self.skip == 0 {
            lines.push(line);
        } else if line.ends {
            self.skip -= 1;
        }
    }
}

/// What ends in a file, found fast: of a record only its stream and tag are looked at.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// How many lines end in it.
    pub(super) count: u64,
    /// Of stdout and stderr: whether the line of the last record goes on in a later file; `None` without a record.
    pub(super) last_goes_on: [Option<bool>; 2],
}

impl Ends {
    /// Takes whole records, in their order.
    pub(super) fn add(&mut self, records: &[u8], only: Option<LogStream>) {
        for record in records.split(|byte| *byte == b'\n') {
            let mut fields = record.splitn(4, |byte| *byte == b' ').skip(1);
            let stream = match fields.next() {
                Some(b"stdout") => LogStream::Stdout,
                Some(b"stderr") => LogStream::Stderr,
                _ => continue,
            };
            let goes_on = fields.next().is_some_and(|tag| tag.first() == Some(&b'P'));
            if only.is_none_or(|only| only == stream) {
                self.count += u64::from(!goes_on);
                self.last_goes_on[place(stream)] = Some(goes_on);
            }
        }
    }
}

fn place(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

/// Reads `TIME STREAM TAGS CONTENT` (`pkg/kubelet/kuberuntime/logs`, `parseCRILog`); tags are divided by colons, and the
/// first one tells whether the line goes on.
fn parse(record: &Bytes) -> Option<Record> {
    let mut fields = record.splitn(4, |byte| *byte == b' ');
    let (time, stream, tags) = (fields.next()?, fields.next()?, fields.next()?);
    let content = fields.next().unwrap_or_default();
    let stream = match stream {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    // A record that was cut off within its time stamp and continued is no record.
    time.first().filter(|byte| byte.is_ascii_digit())?;
    Some(Record { time: record.slice_ref(time), stream, partial, content: record.slice_ref(content) })
}

/// Whether this time stamp is at `since` or later. One that cannot be read is: in doubt a line is shown.
fn is_at_or_after(time: &[u8], since: Timestamp) -> bool {
    let time = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
    time.is_none_or(|time| time >= since)
}

/// Writes lines as `kubectl logs` shows them.
#[derive(Debug)]
pub struct LogText {
    timestamps: bool,
    /// The stream whose line is written in part.
    open: Option<LogStream>,
}

impl LogText {
    /// With `timestamps` each line stands after its time and a space.
    pub fn new(timestamps: bool) -> Self {
        Self { timestamps, open: None }
    }

    /// The text of these lines. The last one has no line end where the log has none.
    pub fn of(&mut self, lines: &[Line]) -> Bytes {
        let length = lines.iter().map(|line| line.text.len() + line.time.len() + 2).sum();
        let mut out = BytesMut::with_capacity(length);
        for line in lines {
            let continues = self.open == Some(line.stream) && !line.begins;
            if self.open.is_some() && !continues {
                out.put_u8(b'\n'); // Two very long lines at once: each part stands on a line of its own.
            }
            if self.timestamps && !continues && !line.time.is_empty() {
                out.put_slice(&line.time);
                out.put_u8(b' ');
            }
            out.put_slice(&line.text);
            if line.ends {
                out.put_u8(b'\n');
            }
            self.open = (!line.ends).then_some(line.stream);
        }
        out.freeze()
    }
}
