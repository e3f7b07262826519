//! Why a template could not be read or rendered.

use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::tokenizer::TokenizerError;

/// Why a chat template could not be read or rendered. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("read the chat template of `{}`: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The source is no template.
    #[error("read the chat template, line {line}: {problem}")]
    Syntax {
        /// The line of the template, from 1; 0 where it is not known.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The template itself refuses the messages (`raise_exception`).
    #[error("render the chat template: it refuses the messages: {message}")]
    Refused {
        /// What the template says.
        message: String,
    },
    /// The template does something that cannot be done with these messages.
    #[error("render the chat template, line {line}: {problem}")]
    Render {
        /// The line of the template, from 1; 0 where it is not known.
        line: usize,
        /// What failed.
        problem: String,
    },
    /// The template does not come to an end, or makes too much text on the way.
    #[error("render the chat template: it exceeds the limit of {limit}; it loops, or the messages are too long for it")]
    Limit {
        /// Which limit.
        limit: &'static str,
    },
    /// The GGUF file cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The configuration that holds the template cannot be read.
    #[error(transparent)]
    Configuration(#[from] TokenizerError),
}
