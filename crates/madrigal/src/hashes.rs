//! SHA-256 of model files, each computed once.
//!
//! A small file per hashed file, in the user's cache folder, says what its hash was and by what the file was known then:
//! path, size, inode, and when content and inode last changed. Owns computing, keeping and believing hashes. Whoever
//! must not believe (`run verify`) asks for [`Hashes::compute`].

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::surroundings;

/// A file that changed so lately may change again without its times showing it: some file systems count in seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// The hashes that are known.
#[derive(Debug, Clone)]
pub(crate) struct Hashes {
    /// `None` where there is no folder for it: then everything is computed.
    folder: Option<PathBuf>,
}

/// A file's size and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What a file was when it was hashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    device: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    file: Identity,
    sha256: String,
}

impl Hashes {
    /// Those in the user's cache folder.
    pub(crate) fn of_user() -> Self {
        Self { folder: surroundings::user_cache().map(|cache| cache.join("madrigal/sha256")) }
    }

    /// The hash of a file, computed only if the file is not known.
    pub(crate) fn get(&self, path: &Path) -> io::Result<Hashed> {
        let known = self.known(&Identity::of(path)?);
        known.map_or_else(|| self.compute(path), Ok)
    }

    /// The hash of a file's content as it is now.
    pub(crate) fn compute(&self, path: &Path) -> io::Result<Hashed> {
        let before = Identity::of(path)?;
        let hashed = hash(path)?;
        let settled = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| {
            before.changed_ns.max(before.modified_ns) + SETTLED.as_nanos() as i128 <= now.as_nanos() as i128
        });
        if settled && before == Identity::of(path)? {
            // A hash that cannot be kept is computed again.
            let _ = self.keep(&Entry { file: before, sha256: hashed.sha256.clone() });
        }
        Ok(hashed)
    }

    fn entry_path(&self, file: &Identity) -> Option<PathBuf> {
        let name = hex(&Sha256::digest(file.path.as_os_str().as_encoded_bytes()));
        Some(self.folder.as_ref()?.join(name).with_extension("json"))
    }

    /// What is kept of a file, if it is still that file. A damaged entry is none.
    fn known(&self, file: &Identity) -> Option<Hashed> {
        let entry: Entry = serde_json::from_slice(&fs::read(self.entry_path(file)?).ok()?).ok()?;
        let is_hash = entry.sha256.len() == 64 && entry.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && entry.file == *file).then_some(Hashed { bytes: file.bytes, sha256: entry.sha256 })
    }

    /// Writes beside and renames: whoever reads at the same time sees the one or the other whole.
    fn keep(&self, entry: &Entry) -> io::Result<()> {
        let Some(path) = self.entry_path(&entry.file) else { return Ok(()) };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let made = path.with_extension(format!("{}.{number}", std::process::id()));
        fs::write(&made, serde_json::to_vec(entry)?)?;
        fs::rename(&made, &path)
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let metadata = fs::metadata(&path)?;
        let (device, inode, changed_ns) = inode(&metadata);
        let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH);
        let modified_ns =
            modified.map_or_else(|before| -(before.duration().as_nanos() as i128), |at| at.as_nanos() as i128);
        Ok(Self { path, bytes: metadata.len(), device, inode, modified_ns, changed_ns })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (u64, u64, i128) {
    use std::os::unix::fs::MetadataExt;
    let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), changed_ns)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> (u64, u64, i128) {
    (0, 0, 0)
}

fn hash(path: &Path) -> io::Result<Hashed> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Hashed { bytes, sha256: hex(&hasher.finalize()) });
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const WORLD: &str = "e258d248fda94c63753607f7c4494ee0fcbe92f1a76bfdac795c9d84101eb317";

    struct Place {
        folder: tempfile::TempDir,
        hashes: Hashes,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let hashes = Hashes { folder: Some(folder.path().join("kept")) };
            Self { folder, hashes }
        }

        fn write(&self, text: &str) -> PathBuf {
            let path = self.folder.path().join("weights");
            fs::write(&path, text).unwrap();
            path
        }

        /// Keeps a hash for the file as it is now, as if the file had settled.
        fn pretend(&self, path: &Path, sha256: &str) {
            let file = Identity::of(path).unwrap();
            self.hashes.keep(&Entry { file, sha256: sha256.to_owned() }).unwrap();
        }

        fn entry(&self) -> PathBuf {
            fs::read_dir(self.folder.path().join("kept")).unwrap().next().unwrap().unwrap().path()
        }
    }

    #[test]
    fn a_known_file_is_not_read_again_until_it_changes() {
        let place = Place::new();
        let path = place.write("hello\n");
        let invented = "1".repeat(64);
        place.pretend(&path, &invented);
        assert_eq!(place.hashes.get(&path).unwrap().sha256, invented, "it is believed");
        assert_eq!(place.hashes.compute(&path).unwrap(), Hashed { bytes: 6, sha256: HELLO.to_owned() });
        place.write("world\n");
        assert_eq!(place.hashes.get(&path).unwrap().sha256, WORLD, "same size, another time");
        place.pretend(&path, &invented);
        let other = place.folder.path().join("other");
        fs::write(&other, "hello\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(place.hashes.get(&path).unwrap().sha256, HELLO, "another file in its place");
    }

    #[cfg(unix)]
    #[test]
    fn a_change_that_hides_its_time_is_seen() {
        let place = Place::new();
        let path = place.write("hello\n");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        place.pretend(&path, HELLO);
        std::thread::sleep(Duration::from_millis(20));
        place.write("world\n");
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(place.hashes.get(&path).unwrap().sha256, WORLD);
    }

    #[test]
    fn damaged_entries_are_none() {
        let place = Place::new();
        let path = place.write("hello\n");
        place.pretend(&path, &"1".repeat(64));
        let entry = place.entry();
        let whole = fs::read(&entry).unwrap();
        let texts: [&[u8]; 5] = [b"", b"{}", &whole[..whole.len() / 2], b"\xff\xfe", b"[1]"];
        for text in texts {
            fs::write(&entry, text).unwrap();
            assert_eq!(place.hashes.get(&path).unwrap().sha256, HELLO);
        }
        place.pretend(&path, "no hash");
        assert_eq!(place.hashes.get(&path).unwrap().sha256, HELLO);
        fs::remove_file(&entry).unwrap();
        fs::create_dir(&entry).unwrap();
        assert_eq!(place.hashes.get(&path).unwrap().sha256, HELLO);
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_kept() {
        let place = Place::new();
        let path = place.write("hello\n");
        place.hashes.get(&path).unwrap();
        assert!(!place.folder.path().join("kept").exists());
    }

    #[test]
    fn many_may_hash_at_once() {
        let place = Place::new();
        let path = place.write("hello\n");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        place.pretend(&path, HELLO);
                        assert_eq!(place.hashes.get(&path).unwrap().sha256, HELLO);
                    }
                });
            }
        });
        let kept = fs::read_dir(place.folder.path().join("kept")).unwrap().count();
        assert_eq!(kept, 1, "nothing half-written is left");
    }
}
