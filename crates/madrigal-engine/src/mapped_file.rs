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

    /// Tells the system that these bytes are not needed for now: it may take their memory, and reads them from the file
    /// again if they are asked for.
    pub fn release(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &*self.0 {
            // Whole pages; those at the ends may have neighbours that are needed. Other processors have pages of up to 64 KiB.
            const PAGE: usize = if cfg!(target_arch = "x86_64") { 1 << 12 } else { 1 << 16 };
            let (start, end) = (range.start.next_multiple_of(PAGE), range.end.min(map.len()) / PAGE * PAGE);
            if start < end {
                let dont_need = memmap2::UncheckedAdvice::DontNeed;
                #[expect(unsafe_code, reason = "memmap2 calls this advice unsafe because it loses what was written")]
                // SAFETY: nothing can be written through this mapping of a file, so nothing is lost: a later read takes the
                // page from the file again.
                let advised = unsafe { map.unchecked_advise_range(dont_need, start, end - start) };
                // Advice that is not taken costs memory, nothing else.
                drop(advised);
            }
        }
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
