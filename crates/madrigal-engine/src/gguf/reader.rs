//! A cursor over the file's bytes that never reads past the end. What the bytes mean is the callers' business.

use super::{Defect, Parsed};

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn bytes(&mut self, count: u64, what: &str) -> Parsed<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err((self.offset(), Defect::Truncated { what: what.to_owned(), needed: count, left: self.left() })),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Parsed<[u8; N]> {
        let at = self.offset();
        let left = self.left();
        let short = || (at, Defect::Truncated { what: what.to_owned(), needed: N as u64, left });
        self.bytes(N as u64, what)?.try_into().map_err(|_| short())
    }

    pub(super) fn u8(&mut self, what: &str) -> Parsed<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self, what: &str) -> Parsed<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Parsed<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn peek_u64(&self) -> Option<u64> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// A length and that many bytes of UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Parsed<&'a str> {
        let start = self.offset();
        let length = self.u64(what)?;
        let bytes = self.bytes(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| (start, Defect::NotUtf8(what.to_owned())))
    }
}
