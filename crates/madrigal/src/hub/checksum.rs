//! What a hub says a file's content hashes to.
//!
//! Owns the two kinds that hubs publish as entity tags: SHA-256 of large files, and git's own hash of small ones.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::name::is_lower_hex;

/// The hash of a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Checksum {
    /// Of the content.
    Sha256(String),
    /// Of git's header and the content; SHA-1, which is against accidents only.
    GitBlob(String),
}

impl Checksum {
    /// Reads an entity tag.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        let tag = etag.trim().trim_start_matches("W/").trim_matches('"');
        match tag.len() {
            _ if !is_lower_hex(tag) => None,
            64 => Some(Self::Sha256(tag.to_owned())),
            40 => Some(Self::GitBlob(tag.to_owned())),
            _ => None,
        }
    }

    /// The name of the file's blob in the cache.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    /// Begins hashing a content of `size` bytes.
    pub(super) fn begin(&self, size: u64) -> Hashing {
        match self {
            Self::Sha256(_) => Hashing::Sha256(Sha256::new()),
            Self::GitBlob(_) => Hashing::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

/// A content that is being hashed.
pub(super) enum Hashing {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hashing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hasher) => Checksum::Sha256(hex(&hasher.finalize())),
            Self::GitBlob(hasher) => Checksum::GitBlob(hex(&hasher.finalize())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_hash_as_git_and_sha256sum_say() {
        // `printf 'hello\n' | git hash-object --stdin` and `sha256sum`.
        let cases = [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ];
        for tag in cases {
            let expected = Checksum::of_etag(&format!("W/\"{tag}\"")).unwrap();
            let mut hashing = expected.begin(6);
            hashing.update(b"hel");
            hashing.update(b"lo\n");
            assert_eq!(hashing.finish(), expected);
            assert_eq!(expected.hex(), tag);
        }
    }

    #[test]
    fn other_tags_are_no_checksums() {
        for tag in
            ["", "\"\"", "\"abc\"", "\"../../../../../../../../../../../etc/passwd\"", &"g".repeat(64), &"A".repeat(40)]
        {
            assert_eq!(Checksum::of_etag(tag), None, "{tag}");
        }
    }
}
