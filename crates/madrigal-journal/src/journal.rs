//! Reading a whole journal: what it holds and whether its chain is intact.
//!
//! Owns the verdict. Repairs nothing, and does not own following a file that grows (see [`crate::Cursor`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::chain::{Flaw, Position, Record, Refusal, UnknownFormat};
use crate::event::{Event, Header};
use crate::line::LineHash;

/// A journal that was read whole, as far as it is intact.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// The first line; `None` only where the chain is broken at line 1, or unfinished within it.
    pub header: Option<Header>,
    /// The events before the end, the torn tail or the break. The event at index `i` has sequence number `i + 1`.
    pub events: Vec<Event>,
    /// How the file ends.
    pub chain: Chain,
    /// The hash of the last intact line. Kept elsewhere, it shows whether lines were deleted from the end later.
    pub head: LineHash,
    /// Bytes of the intact lines, newlines included.
    pub intact_bytes: u64,
}

/// How a journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// Every byte is accounted for, and the last event ends the run.
    Finished,
    /// Every line is intact, but the run has not ended: it goes on, or was killed.
    Unfinished {
        /// Bytes of the line that was being written, 0 if the file ends with a newline.
        torn_bytes: u64,
    },
    /// A line is not as it was written. Nothing is read from there on.
    Broken {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: Flaw,
    },
}

/// Why a journal could not be read at all. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("read the journal {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another version wrote it.
    #[error("read the journal {}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is and what to do.
        source: UnknownFormat,
    },
}

impl Journal {
    /// Reads the file at `path` and verifies every byte of it. A broken or unfinished journal is no error.
    ///
    /// # Errors
    /// When the file cannot be read, or is intact and of a format that this program does not know.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let bytes = fs::read(path).map_err(|source| OpenError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes).map_err(|source| OpenError::Format { path: path.to_owned(), source })
    }

    /// Reads a journal from memory, see [`Journal::open`].
    ///
    /// # Errors
    /// When its header is intact and names a format that this program does not know.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnknownFormat> {
        Self::read(bytes).map(|(journal, _)| journal)
    }

    /// The journal, and the place after its last intact line.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Position), UnknownFormat> {
        let mut position = Position::START;
        let mut header = None;
        let mut events = Vec::new();
        let mut intact = 0;
        let chain = loop {
            let rest = &bytes[intact..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break match position.judge_tail(rest) {
                    Err(refusal) => broken(&position, refusal)?,
                    Ok(()) if rest.is_empty() && position.ended => Chain::Finished,
                    Ok(()) => Chain::Unfinished { torn_bytes: rest.len() as u64 },
                };
            };
            match position.take(&rest[..end]) {
                Ok(Record::Header(first)) => header = Some(*first),
                Ok(Record::Event(event)) => events.push(event),
                Err(refusal) => break broken(&position, refusal)?,
            }
            intact += end + 1;
        };
        let journal = Self { header, events, chain, head: position.head, intact_bytes: intact as u64 };
        Ok((journal, position))
    }
}

/// The verdict on a journal whose next line after `position` was refused.
fn broken(position: &Position, refusal: Refusal) -> Result<Chain, UnknownFormat> {
    match refusal {
        Refusal::Format(format) => Err(format),
        Refusal::Flaw(reason) => Ok(Chain::Broken { line: position.next.line(), reason }),
    }
}
