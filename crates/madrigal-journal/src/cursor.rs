//! Following a journal that may still be written.
//!
//! Owns reading on from where it stopped. Never waits and never writes; when to ask again is the caller's business.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::chain::{Flaw, Position, Record, Refusal, UnknownFormat};
use crate::event::{Event, Header};
use crate::line::{LineHash, MAX_LINE_BYTES, Seq};

const CHUNK_BYTES: usize = 64 << 10;

/// A reader that gives one event after the other, each verified, and goes on when the file has grown.
///
/// A tail without its newline is not there yet, whatever it holds: [`crate::Journal::open`] judges it.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    file: File,
    position: Position,
    header: Option<Header>,
    /// Bytes of the file from `offset` on, as far as they were read.
    ahead: Vec<u8>,
    /// Bytes of `ahead` that belong to lines already given.
    given: usize,
    /// Bytes of `ahead` that hold no newline after `given`.
    searched: usize,
    offset: u64,
}

/// Why a journal could not be followed. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// The file system refused.
    #[error("follow the journal {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another version wrote it.
    #[error("follow the journal {}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is and what to do.
        source: UnknownFormat,
    },
    /// A line is not as it was written.
    #[error("follow the journal {}: line {line} is broken: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: Flaw,
    },
    /// Lines that were already read are gone.
    #[error(
        "follow the journal {}: it has become shorter than the {read_bytes} bytes already read; read it again from its beginning",
        path.display()
    )]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// Bytes of the lines that were read before.
        read_bytes: u64,
    },
}

impl Cursor {
    /// Begins at the first line of the file at `path`, which must exist but may hold nothing yet.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, CursorError> {
        let file = File::open(path).map_err(|source| CursorError::Read { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            position: Position::START,
            header: None,
            ahead: Vec::new(),
            given: 0,
            searched: 0,
            offset: 0,
        })
    }

    /// The next event; `None` at the present end of the file. Asked again later, it goes on from there.
    ///
    /// # Errors
    /// When the file cannot be read, is of another format, or its next line is broken. The cursor stays before that
    /// line.
    #[expect(clippy::should_implement_trait, reason = "an iterator that has ended does not go on, this one may")]
    pub fn next(&mut self) -> Result<Option<Event>, CursorError> {
        let mut read_anew = false;
        loop {
            let Some(end) = self.line_end()? else {
                return Ok(None);
            };
            match self.position.take(&self.ahead[self.given..end]) {
                Ok(record) => {
                    self.given = end + 1;
                    self.searched = self.given;
                    read_anew = false;
                    match record {
                        Record::Header(header) => self.header = Some(*header),
                        Record::Event(event) => return Ok(Some(event)),
                    }
                }
                // Between two reads a torn tail may have been cut and another line written in its place.
                Err(Refusal::Flaw(_)) if !read_anew => {
                    read_anew = true;
                    self.forget_ahead();
                }
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
    }

    /// The header; `None` until [`Cursor::next`] has come past it.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The sequence number of the line that comes next.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.position.next
    }

    /// The hash of the last line that was read.
    #[must_use]
    pub fn head(&self) -> LineHash {
        self.position.head
    }

    /// Whether the last event that was read ends the run. More may follow where a run is resumed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.position.ended
    }

    /// Where in `ahead` the next line's newline is; reads on as far as needed.
    fn line_end(&mut self) -> Result<Option<usize>, CursorError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.ahead[self.searched..]) {
                return Ok(Some(self.searched + end));
            }
            self.searched = self.ahead.len();
            if self.searched - self.given > MAX_LINE_BYTES {
                return Err(self.refused(Refusal::Flaw(Flaw::TooLong)));
            }
            let read = self.read_on().map_err(|source| CursorError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                // The partial line is read again next time: it may be cut until then.
                self.forget_ahead();
                return self.check_length().map(|()| None);
            }
        }
    }

    /// Reads the next piece of the file; 0 at its end.
    fn read_on(&mut self) -> io::Result<usize> {
        self.ahead.drain(..self.given);
        self.offset += self.given as u64;
        self.searched -= self.given;
        self.given = 0;
        let held = self.ahead.len();
        self.file.seek(SeekFrom::Start(self.offset + held as u64))?;
        self.file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut self.ahead)
    }

    /// Drops what was read but not given.
    fn forget_ahead(&mut self) {
        self.offset += self.given as u64;
        self.ahead.clear();
        self.given = 0;
        self.searched = 0;
    }

    fn check_length(&self) -> Result<(), CursorError> {
        let length =
            self.file.metadata().map_err(|source| CursorError::Read { path: self.path.clone(), source })?.len();
        if length < self.offset {
            return Err(CursorError::Shrunk { path: self.path.clone(), read_bytes: self.offset });
        }
        Ok(())
    }

    fn refused(&self, refusal: Refusal) -> CursorError {
        let path = self.path.clone();
        match refusal {
            Refusal::Format(source) => CursorError::Format { path, source },
            Refusal::Flaw(reason) => CursorError::Broken { path, line: self.position.next.line(), reason },
        }
    }
}
