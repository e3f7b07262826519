//! Why a tokenizer could not be read, and why a text could not be encoded.

use std::path::PathBuf;

use crate::gguf::GgufError;

/// Why a tokenizer could not be read. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be opened or read.
    #[error("open the tokenizer `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file contradicts itself or its format.
    #[error("read the tokenizer of `{}`: {problem}; the file is damaged: download or convert it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// The file describes something that this program does not have.
    #[error("read the tokenizer of `{}`: {what} is not supported; run the model with another engine and name it `compat:URL#MODEL`", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// The GGUF file cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

/// Why a text could not be encoded. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The vocabulary has no token for a part of the text.
    #[error("encode the text: the vocabulary has no token for a part of `{piece}`")]
    NoToken {
        /// The word that holds the part.
        piece: String,
    },
    /// White space beyond what the word patterns can be matched with.
    #[error("encode the text: it has {length} white-space characters in a row, {limit} are possible; shorten it")]
    WhiteSpace {
        /// How many there are.
        length: usize,
        /// How many are possible.
        limit: usize,
    },
    /// The tokenizer's own rules failed on the text.
    #[error("encode the text: {problem}")]
    Rules {
        /// What failed.
        problem: String,
    },
}
