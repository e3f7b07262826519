//! Bytes of a connection, line by line.
//!
//! Owns the limit: a line that is too long is told once, and what follows up to its end is dropped. Never holds more than
//! the limit.

use std::collections::VecDeque;

/// A line as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Its bytes, without the line feed and a carriage return before it.
    Whole(Vec<u8>),
    /// It was longer than allowed; nothing of it is kept.
    TooLong,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    begun: Vec<u8>,
    /// Whether the line that has begun is dropped up to its end.
    drops: bool,
    ready: VecDeque<Received>,
}

impl Lines {
    /// Lines of at most `limit` bytes, line end not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, begun: Vec::new(), drops: false, ready: VecDeque::new() }
    }

    /// Takes what came.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if !self.drops {
                // One more than allowed may be a carriage return.
                if self.begun.len() + piece.len() > self.limit + 1 {
                    self.begun = Vec::new();
                    self.drops = true;
                    self.ready.push_back(Received::TooLong);
                } else {
                    self.begun.extend_from_slice(piece);
                }
            }
            bytes = match end {
                Some(_) => {
                    self.end();
                    &rest[1..]
                }
                None => rest,
            };
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.drops) {
            return;
        }
        let mut line = std::mem::take(&mut self.begun);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.ready.push_back(if line.len() > self.limit { Received::TooLong } else { Received::Whole(line) });
    }

    /// The next line that is complete.
    pub fn next_line(&mut self) -> Option<Received> {
        self.ready.pop_front()
    }

    /// What has come of a line that has not ended, and forgets it: for peers that end nothing.
    pub fn take_begun(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.begun)
    }

    /// Whether the line that has begun begins so.
    #[must_use]
    pub fn begins_with(&self, bytes: &[u8]) -> bool {
        self.begun.starts_with(bytes)
    }

    /// All that has come, lines that ended included, and forgets it: for peers whose messages have several lines.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(received) = self.next_line() {
            if let Received::Whole(line) = received {
                all.extend_from_slice(&line);
                all.push(b'\n');
            }
        }
        all.extend(self.take_begun());
        all
    }

    /// Whether anything has come that was not taken: lines, or the beginning of one.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.has_begun() || !self.ready.is_empty()
    }

    /// Whether a line has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.drops || !self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines) -> Vec<Received> {
        std::iter::from_fn(|| lines.next_line()).collect()
    }

    #[test]
    fn line_ends_are_dropped_and_long_lines_told_once() {
        let mut lines = Lines::new(4);
        lines.push(b"ab\r\n\ncd");
        assert_eq!(all(&mut lines), [Received::Whole(b"ab".to_vec()), Received::Whole(Vec::new())]);
        assert!(lines.has_begun());
        lines.push(b"ef\nabcde\nabcd\r\n");
        let whole = Received::Whole(b"abcd".to_vec());
        assert_eq!(all(&mut lines), [Received::Whole(b"cdef".to_vec()), Received::TooLong, whole]);
        lines.push(&[b'x'; 1000]);
        assert_eq!(all(&mut lines), [Received::TooLong]);
        lines.push(&[b'x'; 1000]);
        assert!(lines.begun.is_empty());
        lines.push(b"\nok\n");
        assert_eq!(all(&mut lines), [Received::Whole(b"ok".to_vec())]);
        lines.push(b"half");
        assert_eq!(lines.take_begun(), b"half");
        assert!(!lines.has_begun());
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let mut whole = Lines::new(9);
            whole.push(&bytes);
            let mut pieces = Lines::new(9);
            let mut from = 0;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(all(&mut whole), all(&mut pieces));
            prop_assert_eq!(whole.has_begun(), pieces.has_begun());
        }
    }
}
