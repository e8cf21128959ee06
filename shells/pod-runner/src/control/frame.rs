//! Frames of an upgraded stream (`Upgrade: outrigger-stream/1`): a byte for the kind, four for the length (big endian),
//! then the payload.
//!
//! ```text
//! kind  payload                        direction
//!   0   stdin                          client → runner
//!   1   stdout                         runner → client
//!   2   stderr                         runner → client
//!   3   columns, rows: two u16         client → runner
//!   4   exit code: i32                 runner → client, last
//!   5   error: text                    runner → client, last
//!   6   empty: stdin has ended         client → runner
//!   7   notice for people: text        runner → client
//!   8   empty: still there             runner → client
//! ```
//!
//! This is the codec alone, without I/O. A frame of an unknown kind is an error: a new kind is a new protocol version.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most bytes of payload in a frame. A greater length is an error before any of the payload is read.
pub const MAX_PAYLOAD: usize = 64 * 1024;

const HEAD: usize = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes for the process.
    Stdin(Bytes),
    /// Bytes from the process.
    Stdout(Bytes),
    /// Bytes from the process.
    Stderr(Bytes),
    /// The terminal has a new size in characters.
    Resize {
        /// Characters in a row.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// The process has ended with this code. Nothing follows.
    Exit(i32),
    /// The stream ends by a fault. Nothing follows.
    Error(String),
    /// No more stdin follows.
    CloseStdin,
    /// For people, beside the output.
    Notice(String),
    /// The runner is still there.
    Alive,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind is none of ours.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The length is over [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes; the most is {MAX_PAYLOAD}")]
    TooLong(u32),
    /// The payload does not fit the kind.
    #[error("a frame of kind {kind} with {length} bytes of payload, which does not fit")]
    Payload {
        /// The kind.
        kind: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Torn,
}

impl Frame {
    /// Appends this frame to `out`. A payload above [`MAX_PAYLOAD`] becomes several frames of its kind; a text is cut.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Stdin(bytes) => put_bytes(out, 0, bytes),
            Self::Stdout(bytes) => put_bytes(out, 1, bytes),
            Self::Stderr(bytes) => put_bytes(out, 2, bytes),
            Self::Resize { columns, rows } => {
                let mut payload = columns.to_be_bytes().to_vec();
                payload.extend_from_slice(&rows.to_be_bytes());
                put_one(out, 3, &payload);
            }
            Self::Exit(code) => put_one(out, 4, &code.to_be_bytes()),
            Self::Error(text) => put_text(out, 5, text),
            Self::CloseStdin => put_one(out, 6, &[]),
            Self::Notice(text) => put_text(out, 7, text),
            Self::Alive => put_one(out, 8, &[]),
        }
    }

    fn decode(kind: u8, payload: Bytes) -> Result<Self, FrameError> {
        let length = payload.len();
        let mut rest = payload.clone();
        match (kind, length) {
            (0, _) => Ok(Self::Stdin(payload)),
            (1, _) => Ok(Self::Stdout(payload)),
            (2, _) => Ok(Self::Stderr(payload)),
            (3, 4) => Ok(Self::Resize { columns: rest.get_u16(), rows: rest.get_u16() }),
            (4, 4) => Ok(Self::Exit(rest.get_i32())),
            (5, _) => Ok(Self::Error(String::from_utf8_lossy(&payload).into_owned())),
            (6, 0) => Ok(Self::CloseStdin),
            (7, _) => Ok(Self::Notice(String::from_utf8_lossy(&payload).into_owned())),
            (8, 0) => Ok(Self::Alive),
            (9.., _) => Err(FrameError::Kind(kind)),
            _ => Err(FrameError::Payload { kind, length }),
        }
    }
}

fn put_bytes(out: &mut BytesMut, kind: u8, bytes: &[u8]) {
    if bytes.is_empty() {
        put_one(out, kind, bytes);
    }
    for piece in bytes.chunks(MAX_PAYLOAD) {
        put_one(out, kind, piece);
    }
}

fn put_text(out: &mut BytesMut, kind: u8, text: &str) {
    put_one(out, kind, &text.as_bytes()[..text.floor_char_boundary(MAX_PAYLOAD)]);
}

fn put_one(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload is at most MAX_PAYLOAD bytes");
    out.put_u8(kind);
    out.put_u32(length);
    out.put_slice(payload);
}

/// Turns bytes as they arrive into frames. It holds at most one frame beside what it was just given.
#[derive(Debug, Default)]
pub struct Decoder {
    held: BytesMut,
}

impl Decoder {
    /// Takes bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes arrive. After an error the stream is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.held.len() < HEAD {
            return Ok(None);
        }
        let kind = self.held[0];
        let length = u32::from_be_bytes([self.held[1], self.held[2], self.held[3], self.held[4]]);
        if kind > 8 {
            return Err(FrameError::Kind(kind));
        }
        let payload = usize::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD);
        let Some(payload) = payload else { return Err(FrameError::TooLong(length)) };
        if self.held.len() < HEAD + payload {
            return Ok(None);
        }
        self.held.advance(HEAD);
        Frame::decode(kind, self.held.split_to(payload).freeze()).map(Some)
    }

    /// What the end of the stream means: good only between frames.
    pub fn end(&self) -> Result<(), FrameError> {
        if self.held.is_empty() { Ok(()) } else { Err(FrameError::Torn) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Frame::Stdin),
            bytes().prop_map(Frame::Stdout),
            bytes().prop_map(Frame::Stderr),
            (any::<u16>(), any::<u16>()).prop_map(|(columns, rows)| Frame::Resize { columns, rows }),
            any::<i32>().prop_map(Frame::Exit),
            ".{0,40}".prop_map(Frame::Error),
            Just(Frame::CloseStdin),
            ".{0,40}".prop_map(Frame::Notice),
            Just(Frame::Alive),
        ]
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_the_bytes_are_cut(
            sent in vec(frames(), 0..20),
            cuts in vec(1usize..40, 1..20),
        ) {
            let mut wire = BytesMut::new();
            for frame in &sent {
                frame.encode(&mut wire);
            }
            let (mut decoder, mut arrived) = (Decoder::default(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let cut = cuts.next().copied().unwrap_or(1).min(wire.len());
                decoder.feed(&wire.split_to(cut));
                while let Some(frame) = decoder.next_frame().unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, sent);
            prop_assert_eq!(decoder.end(), Ok(()));
        }

        #[test]
        fn any_bytes_give_frames_or_an_error_and_never_hold_more_than_a_frame(wire in vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::default();
            for byte in wire {
                decoder.feed(&[byte]);
                if decoder.next_frame().is_err() {
                    return Ok(());
                }
                prop_assert!(decoder.held.len() <= HEAD + MAX_PAYLOAD);
            }
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_head_alone() {
        let mut decoder = Decoder::default();
        decoder.feed(&[0, 0, 1, 0, 1]);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(65537)));
    }

    #[test]
    fn a_payload_that_does_not_fit_its_kind_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&[4, 0, 0, 0, 1, 7]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Payload { kind: 4, length: 1 }));
    }

    #[test]
    fn a_long_output_becomes_several_frames() {
        let mut wire = BytesMut::new();
        Frame::Stdout(Bytes::from(vec![b'x'; MAX_PAYLOAD + 1])).encode(&mut wire);
        let mut decoder = Decoder::default();
        decoder.feed(&wire);
        assert!(matches!(decoder.next_frame(), Ok(Some(Frame::Stdout(bytes))) if bytes.len() == MAX_PAYLOAD));
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Stdout(Bytes::from_static(b"x")))));
    }
}
