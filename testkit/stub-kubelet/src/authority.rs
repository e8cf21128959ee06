//! Rewrites the `:authority` in what an HTTP/2 client sends, and nothing else: between a client and a server of the `h2` crate.
//!
//! A grpc-go client names a unix socket in its `:authority`, percent-encoded (`%2Fvar%2Flib%2F…`). A kubelet is served by
//! grpc-go, which takes any (`operateHeaders` of `internal/transport/http2_server.go`, 1.79.3); `h2` resets the stream with
//! `PROTOCOL_ERROR`, since that is no authority of a URI.
//!
//! ```text
//! preface ──► frame ──► frame …       HEADERS, CONTINUATION… ──► the same block with another :authority
//!    └── wrong ──┴──► plain: all bytes go on as they are, and the server says what it thinks of them
//! ```
//!
//! No header is decoded (RFC 7541): only the places of names and values are found. That keeps the server's table of headers
//! in step with the client's, which numbers its entries from the newest: each entry that the client adds is added, and one
//! that was rewritten is not larger than before, so that the server has dropped no entry that the client still has.
//!
//! What it does not do: it does not follow a name that is itself taken from the dynamic table (no encoder does so with
//! `:authority`, which has an entry in the static one), nor a client whose entry is larger than its whole table.

/// What every client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What stands before a frame's payload: length, type, flags, stream (RFC 9113, section 4.1).
const HEAD: usize = 9;

/// The largest payload that a server takes which has not said more, as hyper's has not.
const MAX_PAYLOAD: usize = 16_384;

/// The most bytes of frames that one block of headers is gathered from; our servers refuse 16 KiB of headers.
const MAX_BLOCK: usize = 64 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The bytes of `PRIORITY` before a block: a stream and a weight.
const PRIORITY_LENGTH: usize = 5;

/// The number of `:authority` in the static table (RFC 7541, appendix A).
const STATIC_AUTHORITY: usize = 1;

/// `:authority` where a client spells the name out, as it is and Huffman-coded (RFC 7541, appendix B).
const NAMES: [&[u8]; 2] = [b":authority", &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f]];

/// What stands there instead: an authority of one byte, so that none that was there is shorter.
const SHORTEST: &[u8] = b"k";

/// The bytes of one client, on their way.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    /// What has come and does not make a whole unit yet.
    waiting: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Preface,
    Frames,
    Plain,
}

impl Rewriter {
    /// Takes bytes as they come, and answers what goes on: whole frames.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.waiting.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.waiting.len());
        let mut done = 0;
        loop {
            let rest = &self.waiting[done..];
            let taken = match self.state {
                State::Preface => preface(rest, &mut out),
                State::Frames => unit(rest, &mut out),
                State::Plain => {
                    out.extend_from_slice(rest);
                    self.waiting.clear();
                    return out;
                }
            };
            match taken {
                Taken::All(count) => {
                    done += count;
                    self.state = State::Frames;
                }
                Taken::TooFew => break,
                Taken::Wrong => self.state = State::Plain,
            }
        }
        self.waiting.drain(..done);
        out
    }
}

/// How much of what waits went on.
enum Taken {
    All(usize),
    TooFew,
    Wrong,
}

fn preface(bytes: &[u8], out: &mut Vec<u8>) -> Taken {
    let common = bytes.len().min(PREFACE.len());
    if bytes[..common] != PREFACE[..common] {
        return Taken::Wrong;
    }
    if common < PREFACE.len() {
        return Taken::TooFew;
    }
    out.extend_from_slice(PREFACE);
    Taken::All(PREFACE.len())
}

/// One frame; `HEADERS` with all its `CONTINUATION`.
fn unit(bytes: &[u8], out: &mut Vec<u8>) -> Taken {
    let first = match Frame::read(bytes) {
        Ok(frame) => frame,
        Err(taken) => return taken,
    };
    if first.kind != HEADERS {
        out.extend_from_slice(&bytes[..first.length()]);
        return Taken::All(first.length());
    }
    let Some((priority, block)) = first.block() else { return Taken::Wrong };
    let mut block = block.to_vec();
    let (mut length, mut flags) = (first.length(), first.flags);
    while flags & END_HEADERS == 0 {
        match Frame::read(&bytes[length..]) {
            Ok(more) if more.kind == CONTINUATION && more.stream == first.stream && length <= MAX_BLOCK => {
                block.extend_from_slice(more.payload);
                length += more.length();
                flags = more.flags;
            }
            Ok(_) => return Taken::Wrong,
            Err(taken) => return taken,
        }
    }
    let Some(block) = with_shortest_authority(&block) else { return Taken::Wrong };
    write(&first, priority, &block, out);
    Taken::All(length)
}

/// A frame whose payload is there.
struct Frame<'b> {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: &'b [u8],
}

impl<'b> Frame<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, Taken> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Err(Taken::TooFew) };
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > MAX_PAYLOAD {
            return Err(Taken::Wrong);
        }
        let payload = rest.get(..length).ok_or(Taken::TooFew)?;
        Ok(Self { kind, flags, stream, payload })
    }

    fn length(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// What `HEADERS` has of priority and of the block, without padding (RFC 9113, section 6.2).
    fn block(&self) -> Option<(&'b [u8], &'b [u8])> {
        let mut payload = self.payload;
        if self.flags & PADDED != 0 {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
        }
        payload.split_at_checked(if self.flags & PRIORITY == 0 { 0 } else { PRIORITY_LENGTH })
    }
}

/// The block in as few frames as it takes, unpadded.
fn write(first: &Frame<'_>, priority: &[u8], block: &[u8], out: &mut Vec<u8>) {
    let payload = [priority, block].concat();
    let mut parts = payload.chunks(MAX_PAYLOAD).peekable();
    let (mut kind, mut flags) = (HEADERS, first.flags & (END_STREAM | PRIORITY));
    loop {
        let part = parts.next().unwrap_or_default();
        let ends = if parts.peek().is_none() { END_HEADERS } else { 0 };
        let length = u32::try_from(part.len()).expect("a part is at most MAX_PAYLOAD");
        out.extend_from_slice(&length.to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags | ends]);
        out.extend_from_slice(&first.stream);
        out.extend_from_slice(part);
        if ends != 0 {
            return;
        }
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// A block of headers (RFC 7541, section 6) in which every `:authority` with a value is [`SHORTEST`]; `None` where it is
/// none.
fn with_shortest_authority(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let (prefix, has_value) = match first {
            0x80.. => (7, false),      // Indexed: name and value from a table.
            0x40..=0x7f => (6, true),  // Literal, added to the table.
            0x20..=0x3f => (5, false), // The table's new size.
            0x00..=0x1f => (4, true),  // Literal, not added.
        };
        let (number, mut end) = integer(rest, prefix)?;
        if !has_value {
            out.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let mut is_authority = number == STATIC_AUTHORITY;
        if number == 0 {
            let (name, length) = string(&rest[end..])?;
            is_authority = NAMES.contains(&name);
            end += length;
        }
        let (value, length) = string(&rest[end..])?;
        out.extend_from_slice(&rest[..end]);
        if is_authority && !value.is_empty() {
            out.push(u8::try_from(SHORTEST.len()).expect("it is one byte"));
            out.extend_from_slice(SHORTEST);
        } else {
            out.extend_from_slice(&rest[end..end + length]);
        }
        rest = &rest[end + length..];
    }
    Some(out)
}

/// An integer with a prefix of so many bits, and how many bytes it took (RFC 7541, section 5.1).
fn integer(bytes: &[u8], prefix: u32) -> Option<(usize, usize)> {
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*bytes.first()?) & mask;
    if value < mask {
        return Some((value, 1));
    }
    for (at, &byte) in bytes.iter().enumerate().skip(1).take(4) {
        value += usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// The bytes of a string as they are coded, and how many it took with its length (RFC 7541, section 5.2).
fn string(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, start) = integer(bytes, 7)?;
    Some((bytes.get(start..start.checked_add(length)?)?, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a client of grpc-go; the file says which.
    const GRPC_GO: &str = include_str!("../tests/recorded/grpc-go-register.hex");

    fn grpc_go() -> Vec<Vec<u8>> {
        let lines = GRPC_GO.lines().filter(|line| !line.starts_with('#'));
        let byte = |pair| u8::from_str_radix(pair, 16).unwrap();
        lines.map(|line| (0..line.len()).step_by(2).map(|at| byte(&line[at..at + 2])).collect()).collect()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What goes on of these frames, after a preface.
    fn rewritten(frames: &[u8]) -> Vec<u8> {
        let mut rewriter = Rewriter::default();
        assert_eq!(rewriter.push(PREFACE), PREFACE);
        rewriter.push(frames)
    }

    #[test]
    fn what_grpc_go_sends_keeps_all_but_its_authority() {
        let mut frames = grpc_go();
        let sent = frames.concat();
        // The third holds the headers: 39 bytes, Huffman-coded, are added to the table under the static name 1.
        let headers = &frames[2];
        let at = headers.windows(2).position(|pair| pair == [0x41, 0xa7]).unwrap();
        let block = [&headers[HEAD..=at], b"\x01k", &headers[at + 2 + 39..]].concat();
        frames[2] = frame(HEADERS, END_HEADERS, &block);
        assert_eq!(rewritten(&sent), frames.concat());
    }

    #[test]
    fn bytes_that_come_one_by_one_go_on_as_those_that_come_at_once() {
        let sent = [PREFACE, &grpc_go().concat()].concat();
        let at_once = Rewriter::default().push(&sent);
        let mut rewriter = Rewriter::default();
        let one_by_one: Vec<u8> = sent.iter().flat_map(|byte| rewriter.push(&[*byte])).collect();
        assert_eq!(one_by_one, at_once);
        assert!(at_once.len() < sent.len());
    }

    #[test]
    fn every_way_to_write_an_authority_is_found_and_other_fields_stay() {
        let plain = [&[0x40, 10], NAMES[0], b"\x04/a/b"].concat();
        let coded = [&[0x10, 0x88], NAMES[1], b"\x04/a/b"].concat();
        for (name, block, becomes) in [
            ("added", &b"\x41\x04/a/b"[..], &b"\x41\x01k"[..]),
            ("not added", b"\x01\x04/a/b", b"\x01\x01k"),
            ("never added", b"\x11\x04/a/b", b"\x11\x01k"),
            ("spelled out", &plain, &[&plain[..12], b"\x01k"].concat()),
            ("spelled out, coded", &coded, &[&coded[..10], b"\x01k"].concat()),
            ("after a new size of the table", b"\x3f\xe1\x1f\x41\x04/a/b\x86", b"\x3f\xe1\x1f\x41\x01k\x86"),
            ("empty", b"\x41\x00", b"\x41\x00"),
            ("from the table", b"\xbe", b"\xbe"),
            ("a path", b"\x44\x04/a/b", b"\x44\x04/a/b"),
            ("another name", b"\x40\x02te\x04/a/b", b"\x40\x02te\x04/a/b"),
        ] {
            assert_eq!(with_shortest_authority(block).as_deref(), Some(becomes), "{name}");
        }
        for wrong in [&b"\x41"[..], b"\x41\x05/a/b", b"\x40\x02t", b"\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(with_shortest_authority(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn padding_goes_priority_stays_and_continuations_are_joined() {
        let priority = [0, 0, 0, 0, 16];
        let padded = [&[3][..], &priority, b"\x83\x41\x04/a", &[0; 3]].concat();
        let parts = [
            frame(HEADERS, END_STREAM | PADDED | PRIORITY, &padded),
            frame(CONTINUATION, 0, b"/"),
            frame(CONTINUATION, END_HEADERS, b"b\x86"),
        ];
        let becomes =
            frame(HEADERS, END_STREAM | END_HEADERS | PRIORITY, &[&priority[..], b"\x83\x41\x01k\x86"].concat());
        assert_eq!(rewritten(&parts.concat()), becomes);
    }

    #[test]
    fn a_block_that_needs_two_frames_gets_them() {
        let long = [&b"\x40\x02te\x7f\xa1\x9b\x01"[..], &vec![b'x'; 20_000]].concat();
        let sent = [frame(HEADERS, 0, &long[..16_000]), frame(CONTINUATION, END_HEADERS, &long[16_000..])].concat();
        let becomes = [frame(HEADERS, 0, &long[..MAX_PAYLOAD]), frame(CONTINUATION, END_HEADERS, &long[MAX_PAYLOAD..])];
        assert_eq!(rewritten(&sent), becomes.concat());
    }

    #[test]
    fn what_is_wrong_goes_on_as_it_is() {
        let too_large = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
        for wrong in [
            frame(HEADERS, END_HEADERS, b"\x41\x09/a/b"),
            frame(HEADERS, END_HEADERS | PADDED, &[9, 0]),
            [frame(HEADERS, 0, b"\x41"), frame(0, 0, b"x")].concat(),
            [frame(HEADERS, 0, b""), frame(CONTINUATION, 0, b"").repeat(8000)].concat(),
            [&too_large[..], &[7; 10]].concat(),
        ] {
            let wrong = [&wrong[..], &grpc_go().concat()].concat();
            assert_eq!(rewritten(&wrong), wrong);
        }
        let other = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(Rewriter::default().push(other), other);
    }
}
