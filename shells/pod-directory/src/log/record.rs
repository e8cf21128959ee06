//! The CRI log format: `2016-10-06T00:17:09.669794202Z stdout F line`.
//!
//! As containerd writes it (`internal/cri/io/logger.go`, `redirectLogs`): a line longer than 16 KiB is split into pieces
//! of 16 KiB tagged `P` and a last one tagged `F`; what stands after the last line end when the stream ends is tagged `P`.

use jiff::Timestamp;
use outrigger_launcher::LogStream;

/// The longest content of one record, in bytes: containerd's `max_container_log_line_size`.
pub(crate) const RECORD_LIMIT: usize = 16 * 1024;

/// Length of a time stamp: `2016-10-06T00:17:09.669794202Z`.
pub(crate) const STAMP_LENGTH: usize = 30;

/// A time as it stands in a log: always nine digits of fraction, always UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    text: [u8; STAMP_LENGTH],
    second: i64,
}

impl Stamp {
    /// The stamp of no time, to be [`Stamp::set`].
    pub(crate) fn unset() -> Self {
        Self { text: *b"0000-00-00T00:00:00.000000000Z", second: i64::MIN }
    }

    /// Writes `now` into the stamp; the date is computed only when the second has changed.
    pub(crate) fn set(&mut self, now: Timestamp) {
        let second = now.as_nanosecond().div_euclid(1_000_000_000);
        let mut fraction = now.as_nanosecond().rem_euclid(1_000_000_000);
        let second = i64::try_from(second).unwrap_or(i64::MAX);
        if second != self.second {
            let date = Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string();
            let digits = date.as_bytes().first_chunk::<19>().unwrap_or(b"0000-00-00T00:00:00");
            self.text[..19].copy_from_slice(digits);
            self.second = second;
        }
        for digit in self.text[20..29].iter_mut().rev() {
            *digit = b'0' + u8::try_from(fraction % 10).unwrap_or_default();
            fraction /= 10;
        }
    }
}

/// Cuts one stream into records.
#[derive(Debug)]
pub(crate) struct Cutter {
    stream: LogStream,
    /// The beginning of a line whose end has not come: never more than [`RECORD_LIMIT`].
    begun: Vec<u8>,
}

impl Cutter {
    pub(crate) fn new(stream: LogStream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    pub(crate) fn stream(&self) -> LogStream {
        self.stream
    }

    /// Appends to `out` the records that `bytes` complete. `full` is called whenever a record ends, so that the caller
    /// can write `out` before it grows large.
    pub(crate) fn cut(&mut self, bytes: &[u8], stamp: &Stamp, out: &mut Vec<u8>, mut full: impl FnMut(&mut Vec<u8>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = RECORD_LIMIT - self.begun.len();
            // One byte more than fits tells whether the line ends exactly at the limit.
            let window = &rest[..rest.len().min(room + 1)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.record(b'F', &window[..end], stamp, out);
                rest = &rest[end + 1..];
            } else if window.len() > room {
                self.record(b'P', &window[..room], stamp, out);
                rest = &rest[room..];
            } else {
                self.begun.extend_from_slice(window);
                return;
            }
            full(out);
        }
    }

    /// The stream has ended: what stands after the last line end becomes a record.
    pub(crate) fn end(&mut self, stamp: &Stamp, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.record(b'P', &[], stamp, out);
        }
        self.begun = Vec::new();
    }

    fn record(&mut self, tag: u8, last: &[u8], stamp: &Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&stamp.text);
        out.extend_from_slice(match self.stream {
            LogStream::Stdout => b" stdout ",
            LogStream::Stderr => b" stderr ",
        });
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(&self.begun);
        out.extend_from_slice(last);
        out.push(b'\n');
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp() -> Stamp {
        let mut stamp = Stamp::unset();
        stamp.set("2016-10-06T00:17:09.669794202Z".parse().unwrap());
        stamp
    }

    fn records(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut cutter, mut out) = (Cutter::new(LogStream::Stdout), Vec::new());
        for piece in pieces {
            cutter.cut(piece, &stamp(), &mut out, |_| ());
        }
        cutter.end(&stamp(), &mut out);
        out
    }

    /// Tag and content of each record.
    fn read(log: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let lines = log.strip_suffix(b"\n").map(|log| log.split(|byte| *byte == b'\n'));
        let head = "2016-10-06T00:17:09.669794202Z stdout F ".len();
        lines.into_iter().flatten().map(|line| (line[head - 2], line[head..].to_vec())).collect()
    }

    #[test]
    fn lines_become_full_records_and_the_rest_a_partial_one() {
        let log = records(&[b"one\n\ntw", b"o\nthree"]);
        let expected = "2016-10-06T00:17:09.669794202Z stdout F one\n\
            2016-10-06T00:17:09.669794202Z stdout F \n\
            2016-10-06T00:17:09.669794202Z stdout F two\n\
            2016-10-06T00:17:09.669794202Z stdout P three\n";
        assert_eq!(String::from_utf8(log).unwrap(), expected);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_one_record_and_one_more_byte_splits_it() {
        let exact = [vec![b'x'; RECORD_LIMIT], b"\n".to_vec()].concat();
        assert_eq!(read(&records(&[&exact])), [(b'F', vec![b'x'; RECORD_LIMIT])]);
        let longer = [vec![b'x'; RECORD_LIMIT + 1], b"\n".to_vec()].concat();
        assert_eq!(read(&records(&[&longer])), [(b'P', vec![b'x'; RECORD_LIMIT]), (b'F', b"x".to_vec())]);
    }

    #[test]
    fn a_stamp_always_has_nine_digits() {
        let mut stamp = Stamp::unset();
        for time in ["2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:05.100000000Z", "1969-12-31T23:59:59.5Z"] {
            stamp.set(time.parse().unwrap());
            let text = std::str::from_utf8(&stamp.text).unwrap().to_owned();
            assert_eq!(text.parse::<Timestamp>().unwrap(), time.parse::<Timestamp>().unwrap());
            assert_eq!(text.len(), STAMP_LENGTH);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_byte_is_lost_however_the_stream_is_read(
            lines in prop::collection::vec((prop::sample::select(vec![0, 1, 100, RECORD_LIMIT, 3 * RECORD_LIMIT + 7]), any::<u8>()), 0..8),
            ended in any::<bool>(),
            cuts in prop::collection::vec(1..40_000usize, 1..30),
        ) {
            let mut written = Vec::new();
            for (length, byte) in lines {
                written.extend(std::iter::repeat_n(byte.max(b' '), length));
                written.push(b'\n');
            }
            if !ended {
                written.pop();
            }
            let (mut pieces, mut rest, mut cuts) = (Vec::new(), written.as_slice(), cuts.iter().cycle());
            while let Some(cut) = cuts.next()
                && !rest.is_empty()
            {
                let (piece, after) = rest.split_at((*cut).max(written.len() / 500).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let log = records(&pieces);
            prop_assert_eq!(&log, &records(&[written.as_slice()]), "the records depend on the reads");
            let mut back = Vec::new();
            for (tag, content) in read(&log) {
                prop_assert!(content.len() <= RECORD_LIMIT);
                back.extend(content);
                if tag == b'F' { back.push(b'\n'); }
            }
            prop_assert_eq!(back, written);
        }
    }
}
