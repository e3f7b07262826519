//! Writing a journal: beginning it, appending to it, and taking it up again after a crash.
//!
//! Owns the file while it is written (an exclusive lock), and the only place that ever cuts anything. Does not own
//! when to sync: a conversation does so once a turn.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chain::{Flaw, Position, UnknownFormat};
use crate::event::{Event, FormatVersion, Header};
use crate::journal::{Chain, Journal};
use crate::line::{self, LineHash, MAX_LINE_BYTES, Seq};

/// The one writer of a journal. The lock is given back when it is dropped.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    position: Position,
    /// Set while a write is under way, and so for good once one failed.
    unsound: bool,
}

/// What was there when a journal was taken up again.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// The first line.
    pub header: Header,
    /// All events.
    pub events: Vec<Event>,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
}

/// Why a journal could not be written. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a journal already.
    #[error("begin the journal {}: the file exists already; begin the run in another folder", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another writer holds it.
    #[error(
        "write the journal {}: another process is writing it; wait until that run has ended, or stop it",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{action} the journal {}: {source}", path.display())]
    Io {
        /// What was done: `begin`, `lock`, `read`, `cut`, `append to`, `sync`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An earlier write failed, so what the file holds is not known.
    #[error(
        "write the journal {}: an earlier write to it failed; make room for it and resume the run",
        path.display()
    )]
    Unsound {
        /// The file.
        path: PathBuf,
    },
    /// A reader would refuse the line.
    #[error("append to the journal {}: the line would have {bytes} bytes, at most {MAX_LINE_BYTES} can be read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes of the line.
        bytes: usize,
    },
    /// A reader would not get back what was given: a number that is not finite, or nesting that is too deep.
    #[error("append to the journal {}: line {line} could not be read back as it was given: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line that was not written, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// The run has ended, and the event does not take it up again.
    #[error("append to the journal {}: the run has ended, only a `resumed` event may follow", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
    },
    /// It is of a format that this program does not know.
    #[error("write the journal {}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is and what to do.
        source: UnknownFormat,
    },
    /// It is not as it was written.
    #[error(
        "take up the journal {}: line {line} is broken: {reason}; it was left as it is, fork the run or restore the file",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: Flaw,
    },
    /// It ends before its first line does.
    #[error(
        "take up the journal {}: it ends within its header, so nothing was recorded; remove it and begin the run again",
        path.display()
    )]
    NoHeader {
        /// The file.
        path: PathBuf,
    },
}

impl JournalWriter {
    /// Begins a journal in a file that must not exist yet; when this returns, the header is on the disk.
    ///
    /// # Errors
    /// When the file exists or cannot be written, or the header cannot be recorded as it is.
    pub fn create(path: &Path, header: &Header) -> Result<Self, WriteError> {
        if header.format != FormatVersion::CURRENT {
            return Err(WriteError::Format { path: path.to_owned(), source: UnknownFormat { found: header.format } });
        }
        // Encoded first: a header that cannot be recorded leaves no file behind.
        let (line, hash) = encode(path, Position::START, header)?;
        let file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => WriteError::Exists { path: path.to_owned() },
                _ => failed("begin", path, source),
            })?;
        lock(&file, path)?;
        let mut writer = Self { path: path.to_owned(), file, position: Position::START, unsound: false };
        let begun = writer
            .write(&line)
            .and_then(|()| writer.sync())
            .and_then(|()| sync_folder(path).map_err(|source| failed("sync", path, source)));
        if let Err(error) = begun {
            // Nothing was recorded yet: a half header would only stand in the way of the next attempt.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        writer.position = Position::START.after(hash, None);
        Ok(writer)
    }

    /// Takes up a journal where it ends, and cuts a torn tail. This alone ever cuts, and only what
    /// [`Chain::Unfinished`] calls torn; a broken journal stays as it is.
    ///
    /// # Errors
    /// When the journal is broken, has no header, is being written, or cannot be read or written.
    pub fn reopen(path: &Path) -> Result<(Self, Recovered), WriteError> {
        let mut file =
            OpenOptions::new().read(true).append(true).open(path).map_err(|source| failed("read", path, source))?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| failed("read", path, source))?;
        let (journal, position) =
            Journal::read(&bytes).map_err(|source| WriteError::Format { path: path.to_owned(), source })?;
        let cut_bytes = match journal.chain {
            Chain::Finished => 0,
            Chain::Unfinished { torn_bytes } => torn_bytes,
            Chain::Broken { line, reason } => {
                return Err(WriteError::Broken { path: path.to_owned(), line, reason });
            }
        };
        let header = journal.header.ok_or_else(|| WriteError::NoHeader { path: path.to_owned() })?;
        if cut_bytes > 0 {
            file.set_len(journal.intact_bytes)
                .and_then(|()| file.sync_all())
                .map_err(|source| failed("cut", path, source))?;
        }
        let writer = Self { path: path.to_owned(), file, position, unsound: false };
        let recovered = Recovered { header, events: journal.events, cut_bytes };
        Ok((writer, recovered))
    }

    /// Appends an event and gives its number. Readers see it at once; a crash of the machine may lose it until
    /// [`JournalWriter::sync`].
    ///
    /// # Errors
    /// When the event may not come here or cannot be recorded as it is (nothing is written then), or the file
    /// cannot be written (nothing more can be written then; [`JournalWriter::reopen`] cuts what is torn).
    pub fn append(&mut self, event: &Event) -> Result<Seq, WriteError> {
        if !self.position.admits(event) {
            return Err(WriteError::Ended { path: self.path.clone() });
        }
        let (line, hash) = encode(&self.path, self.position, event)?;
        self.write(&line)?;
        let seq = self.position.next;
        self.position = self.position.after(hash, Some(event));
        Ok(seq)
    }

    /// Waits until everything that was appended is on the disk.
    ///
    /// # Errors
    /// When the disk refuses; nothing more can be written then, because what it holds is not known.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.guarded("sync", |file| file.sync_data())
    }

    /// The hash of the last line. A copy of it, kept elsewhere, shows whether lines are deleted later.
    #[must_use]
    pub fn head(&self) -> LineHash {
        self.position.head
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.position.next
    }

    /// Whether the last event ends the run.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.position.ended
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, line: &[u8]) -> Result<(), WriteError> {
        self.guarded("append to", |file| file.write_all(line))
    }

    /// Does `work` unless earlier work failed: after half a line nothing may follow, and what a failed sync leaves
    /// on the disk is unknown.
    fn guarded(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        if self.unsound {
            return Err(WriteError::Unsound { path: self.path.clone() });
        }
        self.unsound = true;
        work(&mut self.file).map_err(|source| failed(action, &self.path, source))?;
        self.unsound = false;
        Ok(())
    }
}

/// The line for `object` at `position`, once it is certain that readers will get `object` back.
fn encode<T: Serialize + DeserializeOwned + PartialEq>(
    path: &Path,
    position: Position,
    object: &T,
) -> Result<(Vec<u8>, LineHash), WriteError> {
    let unreadable =
        |reason: String| WriteError::Unreadable { path: path.to_owned(), line: position.next.line(), reason };
    let (line, hash) =
        line::encode(position.next, position.head, object).map_err(|error| unreadable(error.to_string()))?;
    let bytes = line.len() - 1;
    if bytes > MAX_LINE_BYTES {
        return Err(WriteError::TooLong { path: path.to_owned(), bytes });
    }
    let content =
        line::content(position.next, &line[..bytes]).ok_or_else(|| unreadable("it has no content".to_owned()))?;
    let read: T = line::decode(content, true).map_err(|error| unreadable(error.to_string()))?;
    if read == *object { Ok((line, hash)) } else { Err(unreadable("a number in it is not finite".to_owned())) }
}

fn lock(file: &File, path: &Path) -> Result<(), WriteError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => WriteError::Locked { path: path.to_owned() },
        TryLockError::Error(source) => failed("lock", path, source),
    })
}

/// Makes the file's name durable. Only on Unix can a folder be synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> WriteError {
    WriteError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_failed_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, "").unwrap();
        let mut writer = JournalWriter {
            // Opened for reading: every write to it fails.
            file: File::open(&path).unwrap(),
            path,
            position: Position::START.after(LineHash::BEFORE_HEADER, None),
            unsound: false,
        };
        let event = Event::Resumed { turns: 0, cut_bytes: 0, turn_limit: None };
        let before = writer.position;
        let first = writer.append(&event).unwrap_err();
        assert!(matches!(first, WriteError::Io { action: "append to", .. }), "{first}");
        assert_eq!(writer.position, before);
        assert!(matches!(writer.append(&event), Err(WriteError::Unsound { .. })));
        assert!(matches!(writer.sync(), Err(WriteError::Unsound { .. })));
    }
}
