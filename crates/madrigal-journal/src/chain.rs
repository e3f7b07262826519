//! Which line may follow which: sequence, hash chain, what a torn tail is, and what may come after the end of a run.
//!
//! Owns the one judgement that opening, following and taking up a journal share. Does not own files.

use crate::event::{Event, FormatVersion, Header};
use crate::line::{self, LineHash, MAX_LINE_BYTES, Seq};

/// What is wrong with a line; completes "line 7 is broken: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It exceeds [`MAX_LINE_BYTES`].
    #[error("it is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Its number, or the frame around it, is not the one of the next line.
    #[error("it does not begin with `{expected}`")]
    Opening {
        /// What the next line begins with.
        expected: String,
    },
    /// It does not end as a line ends.
    #[error("it does not end with a hash")]
    NoHash,
    /// It, or the chain before it, was changed.
    #[error("its hash does not fit its bytes and the lines before it")]
    Hash,
    /// Its bytes are as they were written, but they are not an event of this format.
    #[error("its hash fits, but its content cannot be read: {0}")]
    Content(String),
    /// The run had ended, and this is not the event that takes it up again.
    #[error("it follows the end of the run and is not a `resumed` event")]
    AfterEnd,
    /// The file ends in this line, but no valid line begins like this.
    #[error("the file ends in it, and it is not the beginning of a valid line: {0}")]
    Tail(String),
}

/// The journal was written in a format that this program does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has format {}, this program reads format {}; use the version of madrigal that wrote it or a later one",
    found.0,
    FormatVersion::CURRENT.0
)]
pub struct UnknownFormat {
    /// The version that its header names.
    pub found: FormatVersion,
}

/// Why a line was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    Flaw(Flaw),
    Format(UnknownFormat),
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// What a line holds.
#[derive(Debug)]
pub(crate) enum Record {
    Header(Box<Header>),
    Event(Event),
}

/// The place between two lines: what the next one is bound to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    /// The number of the next line.
    pub(crate) next: Seq,
    /// The hash of the line before.
    pub(crate) head: LineHash,
    /// Whether the line before is the end of the run.
    pub(crate) ended: bool,
}

impl Position {
    pub(crate) const START: Self = Self { next: Seq(0), head: LineHash::BEFORE_HEADER, ended: false };

    /// The place after a line with this hash; `event` is `None` for the header.
    pub(crate) fn after(self, hash: LineHash, event: Option<&Event>) -> Self {
        Self { next: self.next.next(), head: hash, ended: matches!(event, Some(Event::RunEnded(_))) }
    }

    /// Whether `event` may come here.
    pub(crate) fn admits(&self, event: &Event) -> bool {
        !self.ended || matches!(event, Event::Resumed { .. })
    }

    /// Takes a complete line, given without its newline. A refused line leaves the position where it is.
    pub(crate) fn take(&mut self, line: &[u8]) -> Result<Record, Refusal> {
        if line.len() > MAX_LINE_BYTES {
            return Err(Flaw::TooLong.into());
        }
        let opening = line::opening(self.next);
        if !line.starts_with(opening.as_bytes()) {
            return Err(Flaw::Opening { expected: opening }.into());
        }
        let (content, digits) = line::split_hash(line).ok_or(Flaw::NoHash)?;
        let hash = LineHash::of(self.head, content);
        if digits != hash.to_string().as_bytes() {
            return Err(Flaw::Hash.into());
        }
        let Some(inside) = content.get(opening.len()..) else {
            return Err(Flaw::Opening { expected: opening }.into());
        };
        let record = self.read(inside).map_err(|refusal| match refusal {
            Unread::Format(format) => Refusal::Format(format),
            Unread::Json(error) => Flaw::Content(plain(&error)).into(),
            Unread::AfterEnd => Flaw::AfterEnd.into(),
        })?;
        *self = self.after(
            hash,
            match &record {
                Record::Header(_) => None,
                Record::Event(event) => Some(event),
            },
        );
        Ok(record)
    }

    /// Judges what follows the last newline: `Ok` if a valid next line begins with `tail`.
    pub(crate) fn judge_tail(&self, tail: &[u8]) -> Result<(), Refusal> {
        if tail.len() > MAX_LINE_BYTES {
            return Err(Flaw::TooLong.into());
        }
        // What a valid line begins with, as far as it is known before its first field.
        let opening = line::opening(self.next);
        let known = match (self.next, self.ended) {
            (Seq(0), _) => format!("{opening}\"format\":"),
            (_, true) => format!("{opening}\"kind\":\"resumed\","),
            (_, false) => format!("{opening}\"kind\":\""),
        };
        let shared = known.len().min(tail.len());
        if tail[..shared] != known.as_bytes()[..shared] {
            return Err(Flaw::Opening { expected: known }.into());
        }
        let Some(inside) = tail.get(opening.len()..) else {
            return Ok(());
        };
        if let Err(error) = str::from_utf8(tail)
            && error.error_len().is_some()
        {
            return Err(Flaw::Tail("it is not UTF-8".to_owned()).into());
        }
        // An inner object of the header's configuration may have a `hash` too; the line's own one follows a whole
        // record.
        if let Some(at) = last_hash_key(inside)
            && self.read(&inside[..at]).is_ok()
        {
            let content = &tail[..opening.len() + at];
            let ending = LineHash::of(self.head, content).ending();
            return if ending.as_bytes().starts_with(&inside[at..]) { Ok(()) } else { Err(Flaw::Hash.into()) };
        }
        if self.next == Seq(0)
            && let Some(format) = unknown_format(inside)
        {
            return Err(Refusal::Format(format));
        }
        let error = if self.next == Seq(0) {
            line::decode::<Header>(inside, false).err()
        } else {
            line::decode::<Event>(inside, false).err()
        };
        match error {
            Some(error) if error.is_eof() => Ok(()),
            Some(error) => Err(Flaw::Tail(plain(&error)).into()),
            None => Err(Flaw::NoHash.into()),
        }
    }

    /// Reads the inside of the object that the next line holds.
    fn read(&self, inside: &[u8]) -> Result<Record, Unread> {
        if self.next == Seq(0) {
            return match unknown_format(inside) {
                Some(format) => Err(Unread::Format(format)),
                None => Ok(Record::Header(line::decode(inside, true)?)),
            };
        }
        let event = line::decode(inside, true)?;
        if self.admits(&event) { Ok(Record::Event(event)) } else { Err(Unread::AfterEnd) }
    }
}

/// Why the inside of a line was not read.
enum Unread {
    Json(serde_json::Error),
    Format(UnknownFormat),
    AfterEnd,
}

impl From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// The format that a header names first, where this program does not know it.
fn unknown_format(inside: &[u8]) -> Option<UnknownFormat> {
    let digits = inside.strip_prefix(b"\"format\":")?;
    let end = digits.iter().position(|&byte| byte == b',')?;
    let found = FormatVersion(str::from_utf8(&digits[..end]).ok()?.parse().ok()?);
    (found != FormatVersion::CURRENT).then_some(UnknownFormat { found })
}

/// Where the last key `hash` and the comma before it begin. Within a JSON string its quotes would be escaped.
fn last_hash_key(inside: &[u8]) -> Option<usize> {
    let key = line::HASH_KEY.trim_end_matches(":\"").as_bytes();
    inside.windows(key.len()).rposition(|bytes| bytes == key)
}

/// The message of a JSON error without its place, which counts within the record and not within the file.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
