//! A file's bytes in memory without reading them: the one place of this crate that maps files.
//!
//! It owns the mapping and its lifetime. It knows nothing of what the bytes mean.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The bytes of a file, mapped read-only, or bytes handed over directly (for tests and fuzzing). Cheap to clone.
#[derive(Clone)]
pub struct MappedFile(Arc<Bytes>);

enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl MappedFile {
    /// Maps the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self::from_bytes(Vec::new()));
        }
        #[expect(unsafe_code, reason = "mapping is the only way to load weights without a second copy in memory")]
        // SAFETY: the mapping is private to this struct, read-only, and unmapped only when the last clone is gone. Every
        // bit pattern is a valid `u8`. What remains is that another process may change or truncate the file while it is
        // mapped. Every offset was checked against the mapping's length, which stays, and text is copied out as soon as it
        // was checked, when the file is opened: a change afterwards shows as wrong numbers. A truncation is a fault of this
        // process, as in every program that maps its model; docs/security.md names it.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(Arc::new(Bytes::Mapped(map))))
    }

    /// Bytes that are in memory already.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Bytes::Owned(bytes)))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.len())
    }
}
