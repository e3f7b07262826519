//! The name of a repository, and which names of files may come from a hub.
//!
//! Owns the rule that nothing a hub says becomes a path outside a repository's folder. Does not own reading names that
//! people type: that is `madrigal_agents::model_name`.

use std::fmt;

/// The longest name of a file, and of one part of it, in bytes; file systems allow no more.
const MAX_NAME: usize = 1024;
const MAX_PART: usize = 255;

/// `OWNER/REPO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoName {
    pub(crate) owner: String,
    pub(crate) repo: String,
}

impl RepoName {
    /// The repository's folder in the cache, as Hugging Face's tools call it.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.repo)
    }

    /// The repository whose folder in the cache is called so.
    pub(crate) fn of_folder(folder: &str) -> Option<Self> {
        let (owner, repo) = folder.strip_prefix("models--")?.split_once("--")?;
        let is_word = |word: &str| !word.is_empty() && !word.contains("--");
        (is_word(owner) && is_word(repo)).then(|| Self { owner: owner.to_owned(), repo: repo.to_owned() })
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repo)
    }
}

/// Whether a file of this name lies inside its repository's folder, wherever that is.
pub(super) fn is_inside(name: &str) -> bool {
    let part_is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= MAX_PART;
    name.len() <= MAX_NAME
        && !name.contains(|c: char| c.is_control() || c == '\\')
        // On some systems this is another disk, or another stream of the same file.
        && !name.contains(':')
        && name.split('/').all(part_is_plain)
}

/// Whether this is the full hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

/// Whether this consists of the digits that hashes are written with.
pub(super) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_outside_are_known() {
        for name in ["model.gguf", "Q4_K_M/model-00001-of-00002.gguf", "1_Pooling/config.json", "..a", "a b.gguf", "ä"]
        {
            assert!(is_inside(name), "{name}");
        }
        let long = "x".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a/../../b",
            "../b",
            "a//b",
            "a/",
            "./a",
            "a\\..\\b",
            "C:/x",
            "a\0b",
            "a\nb",
            &long,
        ] {
            assert!(!is_inside(name), "{name:?}");
        }
    }

    #[test]
    fn folders_are_named_both_ways() {
        let name = RepoName { owner: "o.w-n_er".to_owned(), repo: "Repo-1.5B".to_owned() };
        assert_eq!(RepoName::of_folder(&name.folder()), Some(name));
        for folder in ["models--gpt2", "datasets--a--b", "models--a--b--c", "models----b", "x"] {
            assert_eq!(RepoName::of_folder(folder), None, "{folder}");
        }
    }
}
