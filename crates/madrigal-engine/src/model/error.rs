//! Why a model cannot be opened.

use std::path::{Path, PathBuf};

use crate::gguf::GgufError;
use crate::hyperparameters::HyperparameterError;
use crate::template::TemplateError;
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;

/// Why a model cannot be opened. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The GGUF cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The shape is missing or cannot be.
    #[error(transparent)]
    Hyperparameters(#[from] HyperparameterError),
    /// The tensors do not serve.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An architecture that is not computed here.
    #[error(
        "open `{}`: the architecture `{architecture}` is not supported; {prepare}serve it with `llama-server -m {served} --port 8080` and use the chat model `compat:http://127.0.0.1:8080/v1#{model}` instead",
        path.display()
    )]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// The architecture's name.
        architecture: String,
        /// What must be done before it can be served; empty or ends with a space.
        prepare: String,
        /// The file to serve, quoted for a shell.
        served: String,
        /// The name that the server's clients use.
        model: String,
    },
    /// Tokenizer and weights do not belong together.
    #[error(
        "open `{}`: the tokenizer has {tokens} tokens, the embedding only {rows} rows; they do not belong together",
        path.display()
    )]
    Vocabulary {
        /// The file or folder.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
}

impl OpenError {
    pub(super) fn unsupported(path: &Path, architecture: &str) -> Self {
        let model = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let (prepare, served) = if path.is_dir() {
            let served = quoted(&format!("{model}.gguf"));
            let folder = quoted(&path.to_string_lossy());
            let prepare = format!("convert it with llama.cpp's `convert_hf_to_gguf.py {folder} --outfile {served}`, ");
            (prepare, served)
        } else {
            (String::new(), quoted(&path.to_string_lossy()))
        };
        let (path, architecture) = (path.to_owned(), architecture.to_owned());
        Self::Unsupported { path, architecture, prepare, served, model }
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
