//! What targets share that test readers of files, not of bytes.

use std::path::PathBuf;

/// Writes `bytes` into a file of this process called `name`, alone in its folder.
///
/// # Panics
/// When the file cannot be written: then there is nothing to test.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("madrigal-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder of the input can be created");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("the input can be written");
    path
}
