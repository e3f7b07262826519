//! One fetcher at a time: the lock files of the cache, as Hugging Face's own tools take them (`flock`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// A lock that is held until it is dropped. Its file stays.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; calls `wait` once if another holds it.
    pub(super) fn take(path: &Path, mut wait: impl FnMut()) -> io::Result<Self> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    wait();
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if is_at(&file, path) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Whether somebody holds the lock.
    pub(super) fn is_held(path: &Path) -> io::Result<bool> {
        match File::open(path)?.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether the file still lies at `path`: whoever held it before may have deleted it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| a.ino() == b.ino() && a.dev() == b.dev();
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(ours), Ok(there)) if same(&ours, &there))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
