//! Why a text has no embedding.

use std::path::PathBuf;

use madrigal_engine::tokenizer::{EncodeError, TokenizerError};

/// Why a text has no embedding. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A file cannot be read.
    #[error("read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of settings is not what it should be.
    #[error("read {path}: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Something that is not supported.
    #[error("use the encoder {path}: {what}", path = path.display())]
    Unsupported {
        /// The folder.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The weights do not fit the configuration, or are damaged.
    #[error("load the weights {path}: {source}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<candle_core::Error>,
    },
    /// The text has no tokens.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The forward pass failed.
    #[error("compute the embedding: {source}")]
    Compute {
        /// What is wrong.
        source: Box<candle_core::Error>,
    },
    /// The model computed no number.
    #[error("compute the embedding: it is not finite, or has no direction; the weights are damaged")]
    NotFinite,
}
