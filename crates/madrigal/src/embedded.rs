//! The model that comes with this program.
//!
//! It is a file like any other: it is laid down in the user's cache folder once, and opened from there. What is in the
//! folder is compared with what came along every time, byte by byte: a damaged or exchanged file is laid down anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure, Result};
use crate::surroundings;

/// The weights with tokenizer and chat template; `models/embedded/README.md` says what they can do.
const WEIGHTS: &[u8] = include_bytes!("../../../models/embedded/embedded.gguf");

/// Who talks where nobody is named.
pub(crate) const PERSONAS: [&str; 3] = ["baker", "sailor", "gardener"];

/// What they talk about where nothing is said.
pub(crate) const SEED_PROMPT: &str = "The village has some money left. What do we build?";

/// Where the model lies on this machine.
pub(crate) fn path() -> Result<PathBuf> {
    let usual = surroundings::user_cache().map(|cache| cache.join("madrigal/embedded"));
    let Some(folder) = usual else {
        return Err(Failure::of("find a place for the embedded model: set HOME or XDG_CACHE_HOME to a folder"));
    };
    lay_down(&folder, WEIGHTS)
}

/// Puts `content` into `folder`, under its own hash, unless it is there.
fn lay_down(folder: &Path, content: &[u8]) -> Result<PathBuf> {
    let hash: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("embedded-{hash}.gguf"));
    if fs::read(&path).is_ok_and(|found| found == content) {
        return Ok(path);
    }
    let write = || {
        fs::create_dir_all(folder)?;
        // Another process may do the same at the same time, or have the file open: it changes at once or not at all.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.persist(&path).map_err(|error| error.error)
    };
    write().doing(format_args!("write the embedded model to {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_came_along_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/there");
        let path = lay_down(&folder, b"weights").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"weights");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(lay_down(&folder, b"weights").unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
        fs::write(&path, b"weighty").unwrap();
        assert_eq!(lay_down(&folder, b"weights").unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"weights");
        assert_ne!(lay_down(&folder, b"others").unwrap(), path);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }
}
