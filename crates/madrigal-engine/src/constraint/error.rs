//! Why a text cannot be constrained.

/// Why a text cannot be constrained. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// There is nothing to choose from.
    #[error("constrain the text to a choice: there is nothing to choose from")]
    NoChoice,
    /// A choice without text, which no token says.
    #[error("constrain the text to a choice: choice {number} is empty; leave it out")]
    EmptyChoice {
        /// Which one, from 1.
        number: usize,
    },
    /// More text than is read.
    #[error("constrain the text: the constraint has {bytes} bytes, more than {most}; make it smaller")]
    Long {
        /// Its length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// A regular expression that is none.
    #[error("read the regular expression: at character {column}, line {line}: {message}")]
    RegexSyntax {
        /// From 1.
        line: usize,
        /// From 1, in characters of the line.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A regular expression that cannot be kept while a text grows.
    #[error("constrain the text to the regular expression: {message}")]
    Regex {
        /// What is wrong.
        message: String,
    },
    /// A schema that is none, or that cannot be kept while a text grows.
    #[error("constrain the text to the JSON schema: at `{pointer}`: {message}")]
    Schema {
        /// Where, as a JSON pointer with `#` before it.
        pointer: String,
        /// What is wrong.
        message: String,
    },
    /// No text fits.
    #[error("constrain the text: nothing that this model can say fits the constraint{detail}")]
    Nothing {
        /// What is known of the reason, after a colon; may be empty.
        detail: String,
    },
    /// The limits were passed while a text grew.
    #[error("keep the text within its constraint: {message}; make the constraint simpler")]
    Stuck {
        /// What stopped.
        message: String,
    },
    /// The model stopped before it said anything.
    #[error("keep the text to its constraint: the model ended its turn without saying anything aloud")]
    Unsaid,
    /// A grammar of another vocabulary.
    #[error("constrain the text: the grammar was built for another model; build it with the engine that generates")]
    OtherVocabulary,
}
