//! One line of a journal: its number, its limit, its hash and the frame around what it records.
//!
//! Owns the bytes of a single line. Does not own which line may follow which (see the chain) or files.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The longest line that is written or read, in bytes without its newline.
///
/// It bounds what a reader holds in memory for one line; a message of ten million tokens is shorter.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// What stands between a line's content and the digits of its hash.
pub(crate) const HASH_KEY: &str = ",\"hash\":\"";
const HASH_END: &str = "\"}";
const HASH_DIGITS: usize = 64;

/// The number of a line within its journal; the header is 0, the first event 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The number of the line in the file, from 1.
    #[must_use]
    pub fn line(self) -> u64 {
        self.0.saturating_add(1)
    }

    /// The number of the line after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash of a line, which covers all lines before it too; shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the header's hash is chained to.
    pub const BEFORE_HEADER: Self = Self([0; 32]);

    /// The hash of a line from the hash of the line before and its own bytes up to `,"hash":"`.
    #[must_use]
    pub fn of(before: Self, content: &[u8]) -> Self {
        let mut sha = Sha256::new();
        sha.update(before.0);
        sha.update(content);
        Self(sha.finalize().into())
    }

    /// What ends a line with this hash, without the newline.
    pub(crate) fn ending(self) -> String {
        format!("{HASH_KEY}{self}{HASH_END}")
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; HASH_DIGITS];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&hex).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineHash({self})")
    }
}

/// How the line `seq` begins, up to what its JSON object says next.
pub(crate) fn opening(seq: Seq) -> String {
    if seq == Seq(0) { "{\"seq\":0,\"kind\":\"header\",".to_owned() } else { format!("{{\"seq\":{seq},") }
}

/// The line `seq` with its newline, and its hash.
pub(crate) fn encode<T: Serialize>(seq: Seq, before: LineHash, object: &T) -> serde_json::Result<(Vec<u8>, LineHash)> {
    let object = serde_json::to_string(object)?;
    let mut line = opening(seq).into_bytes();
    line.extend_from_slice(&object.as_bytes()[1..object.len() - 1]);
    let hash = LineHash::of(before, &line);
    line.extend_from_slice(hash.ending().as_bytes());
    line.push(b'\n');
    Ok((line, hash))
}

/// Splits a complete line into its content and its hash's digits, if it ends as a line does.
pub(crate) fn split_hash(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, digits) = line.strip_suffix(HASH_END.as_bytes())?.split_last_chunk::<HASH_DIGITS>()?;
    Some((rest.strip_suffix(HASH_KEY.as_bytes())?, digits))
}

/// What the line `seq`, given without its newline, says between its opening and its hash.
pub(crate) fn content(seq: Seq, line: &[u8]) -> Option<&[u8]> {
    split_hash(line)?.0.strip_prefix(opening(seq).as_bytes())
}

/// Parses the object whose inside is `inside`; with `closed` unset, the inside breaks off.
pub(crate) fn decode<T: DeserializeOwned>(inside: &[u8], closed: bool) -> serde_json::Result<T> {
    let mut object = Vec::with_capacity(inside.len() + 2);
    object.push(b'{');
    object.extend_from_slice(inside);
    if closed {
        object.push(b'}');
    }
    serde_json::from_slice(&object)
}
